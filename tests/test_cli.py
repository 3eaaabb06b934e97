"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from afli import __version__, claims, cli, experiments

runner = CliRunner()
FIG8 = len(experiments.grid("fig8", "smoke"))


def afli(*arguments: object) -> tuple[int, str]:
    """Exit code and everything printed."""
    result = runner.invoke(cli.app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_version():
    assert afli("--version") == (0, __version__ + "\n")
    ran = subprocess.run([sys.executable, "-m", "afli", "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == __version__


@pytest.mark.parametrize("command", ["check", "run", "kernel", "show", "merge"])
def test_every_option_has_a_help_text(command):
    import typer.main

    parameters = typer.main.get_command(cli.app).commands[command].params
    assert all(getattr(parameter, "help", None) for parameter in parameters if parameter.name != "help")
    code, text = afli(command, "--help")
    assert code == 0
    assert "Usage" in text


def test_check_shows_the_evidence_of_one_claim():
    code, text = afli("check", "lemma-3.3")
    assert code == 0
    assert "Lemma 3.3" in text
    assert "margin" in text


def test_check_without_a_claim_lists_them():
    code, text = afli("check")
    assert code == 0
    assert "lemma-3.3: " in text
    assert "$" not in text  # formulas are plain in a terminal


@pytest.mark.slow
@pytest.mark.parametrize("written", ["LEMMA-3.3", "Lemma 3.3", "eq-3", "EQ-21"])
def test_a_claim_is_found_in_capitals_with_a_space_and_by_its_former_id(written):
    code, text = afli("check", written)
    assert code == 0
    assert claims.LEDGER[written.lower().replace(" ", "-")].id in text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("arguments", [["check", "lemma-a.1"], ["show", "results/fig7-laptop-digits"]])
def test_a_full_disk_behind_the_output_is_one_line(arguments):
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "afli", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ran.returncode == cli.Exit.FAILED
    assert "No space left on device" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_check_all_fails_if_one_claim_is_refuted(monkeypatch):
    from afli import claims
    from afli.claims import comparisons, ledger

    ledger_of_two = ledger.Ledger()
    monkeypatch.setattr(claims, "LEDGER", ledger_of_two)
    monkeypatch.setattr(ledger, "LEDGER", ledger_of_two)
    claim = claims.on("none", "nowhere")
    claim("true-1", "It is.")(lambda: comparisons.at_most(1, 2, domain="one point"))
    code, text = afli("check", "--all")
    assert code == 0
    assert "true-1: holds" in text
    assert "1 claims, 0 refuted" in text
    claim("false-1", "It is.")(lambda: comparisons.at_most(3, 2, domain="one point"))
    code, text = afli("check", "--all")
    assert code == 1
    assert "false-1: REFUTED" in text
    assert "2 claims, 1 refuted, 0 not checked" in text
    code, text = afli("check", "false-1")
    assert code == 1
    assert "error: false-1" in text


@pytest.fixture
def without(monkeypatch):
    """Hides packages, and the modules of afli that were loaded with them."""

    def hide(*names):
        for loaded in list(sys.modules):
            if loaded.startswith("afli.experiments.") and loaded.rpartition(".")[2] not in ("presets", "spec"):
                monkeypatch.delitem(sys.modules, loaded)
                monkeypatch.delattr(experiments, loaded.rpartition(".")[2], raising=False)
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return hide


def ledger_of(monkeypatch, *ids):
    """The ledger cut down to a few claims, and one of them that trains a network."""
    from afli import claims

    few = {id: claims.LEDGER[id] for id in ids}
    monkeypatch.setattr(claims, "LEDGER", few)


def test_without_pandas_claims_about_tables_are_not_checked_and_the_others_are(monkeypatch, without):
    ledger_of(monkeypatch, "lemma-3.3", "section-4.2.ridge")
    without("pandas")
    code, text = afli("check", "--all")
    assert code == cli.Exit.FAILED
    assert "lemma-3.3: holds" in text
    assert "section-4.2.ridge: NOT CHECKED: " in text
    assert "2 claims, 0 refuted, 1 not checked" in text
    code, text = afli("check", "section-4.2.ridge")
    assert code == cli.Exit.FAILED
    assert "error: " in text
    assert "pandas" in text
    assert "pip install -e '.[networks]'" in text


def test_without_the_repository_s_tables_the_message_says_so(monkeypatch, tmp_path):
    from afli.experiments import statistics

    monkeypatch.setattr(statistics.load, "__defaults__", (tmp_path / "results",))
    ledger_of(monkeypatch, "section-4.2.ridge")
    for arguments in ("check", "section-4.2.ridge"), ("check", "--all"):
        code, text = afli(*arguments)
        assert code == cli.Exit.FAILED
        assert "tables are in the repository, not in an installed package" in text


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [(["run", "fig7"], "torch"), (["show", "."], "pandas"), (["merge", "one", "--out", "two"], "pandas")],
)
def test_without_the_extra_the_experiments_say_what_to_install(monkeypatch, tmp_path, without, arguments, missing):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.parquet").touch()
    without(missing)
    code, text = afli(*arguments)
    assert code == cli.Exit.FAILED
    assert "error: " in text
    assert missing in text
    assert "'.[networks]'" in text


def test_an_unknown_claim_is_an_error_that_names_the_known_ones():
    code, text = afli("check", "lemma-9.9")
    assert code == 1
    assert "lemma-3.3" in text


def test_run_to_the_end_show_and_run_again(tmp_path):
    code, text = afli("run", "fig8", "--profile", "smoke", "--out", tmp_path, "--device", "cpu")
    assert code == cli.Exit.DONE
    assert f"fig8-smoke-digits: {FIG8} experiments, 0 done, {FIG8} to do on cpu" in text
    assert "ensembles, about" in text
    assert (tmp_path / "fig8-smoke-digits.parquet").exists()
    code, text = afli("run", "fig8", "--out", tmp_path)
    assert code == cli.Exit.DONE
    assert f"{FIG8} done, 0 to do" in text
    code, text = afli("show", tmp_path)
    assert code == 0
    assert f"fig8-smoke-digits: {FIG8} done, 0 missing, 0 diverged; digits, float32" in text
    assert "10 to 2 in 2 epochs" in text


def test_run_and_show_leave_the_tables_of_the_book_alone(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert afli("run", "fig8", "--limit", 1)[0] == cli.Exit.STOPPED_EARLY
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    code, text = afli("show")
    assert code == 0
    assert f"fig8-smoke-digits: 1 done, {FIG8 - 1} missing" in text


def test_the_help_of_run_names_every_preset_and_profile():
    text = " ".join(afli("run", "--help")[1].split())
    assert ", ".join(experiments.PRESETS) in text
    assert ", ".join(experiments.PROFILES) in text


def test_run_stopped_early_has_its_own_exit_code_and_goes_on(tmp_path):
    code, text = afli("run", "fig7", "--out", tmp_path, "--limit", 3)
    assert code == cli.Exit.STOPPED_EARLY == 3
    assert "15 still missing" in text
    assert "the limit is reached" in text
    code, text = afli("run", "fig7", "--out", tmp_path, "--budget", "0s")
    assert code == cli.Exit.STOPPED_EARLY
    assert "the budget is used up" in text
    code, text = afli("show", tmp_path / "fig7-smoke-digits.parquet")
    assert code == 0
    assert "3 done, 15 missing" in text
    assert afli("run", "fig7", "--out", tmp_path, "--budget", "1h30m")[0] == cli.Exit.DONE


def test_shards_are_merged(tmp_path, edit_manifest):
    tables = []
    for index in (1, 2):
        assert afli("run", "fig8", "--out", tmp_path / str(index), "--shard", f"{index}/2")[0] == 0
        tables.append(tmp_path / str(index) / "fig8-smoke-digits.parquet")
    code, text = afli("merge", *tables, "--out", tmp_path / "fig8-smoke-digits.parquet")
    assert code == 0
    assert f"{FIG8} experiments of {FIG8}" in text
    code, text = afli("merge", *tables[:1], "--out", tmp_path / "fig8-smoke-digits.parquet")
    assert code == 1
    assert f"has {FIG8} experiments that would be lost" in text
    edit_manifest(tables[1].with_suffix(".json"), lambda manifest: manifest.update(code="other"))
    code, text = afli("merge", *tables, "--out", tmp_path / "refused.parquet")
    assert code == 1
    assert "its code is 'other'" in text
    assert not (tmp_path / "refused.parquet").exists()


def test_a_user_without_a_home_needs_none(tmp_path, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("AFLI_DATA", "")
    monkeypatch.delenv("AFLI_DATA")
    monkeypatch.setattr(Path, "home", no_home)
    assert afli("run", "fig8", "--out", tmp_path, "--limit", 1)[0] == cli.Exit.STOPPED_EARLY


def test_another_dataset_makes_another_table(tmp_path):
    assert afli("run", "fig8", "--out", tmp_path, "--data", "digit-parity")[0] == 0
    assert set(experiments.Table(tmp_path / "fig8-smoke-digit-parity").frame["dataset"]) == {"digit-parity"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "fig9"], "preset must be one of fig7, fig8"),
        (["run", "fig7", "--profile", "huge"], "profile must be one of smoke"),
        (["run", "fig7", "--budget", "soon"], "budget must look like"),
        (["run", "fig7", "--shard", "3"], "shard must look like 1/3"),
        (["run", "fig7", "--shard", "4/3"], "index must be in 1..3"),
        (["run", "fig7", "--data", "svhn"], "name must be one of digits"),
        (["run", "fig7", "--data", "npz:nowhere.npz"], "there is no file"),
        (["run", "fig7", "--device", "cpu", "--arithmetic", "tf32"], "tf32 needs a CUDA device"),
        (["run", "fig7", "--device", "foo"], "device must be cpu, cuda, cuda:N or auto, got 'foo'"),
        (["show", "nowhere"], "there is no table"),
        (["check", "Lemma 3.33"], "did you mean lemma-3.3"),
        (["check", "theorem"], "no claim 'theorem'"),
        (["gain", "shtanh:a"], "activation must look like gelu or shtanh:a=2, got 'shtanh:a'"),
        (["gain", "shtanh:a=x"], "a must be a number, got 'x'"),
        (["gain", "tanh", "--sigma-b2", "x"], "sigma_b2 must be a number, got 'x'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_one(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, text = afli(*arguments)
    assert code == cli.Exit.FAILED
    assert "error: " in text
    assert message in text


def test_wrong_options_are_the_shells_exit_code_two():
    assert afli("run", "fig7", "--sped", "fast")[0] == 2
    assert afli("run", "fig7", "--limit", -1)[0] == 2


@pytest.mark.parametrize(
    ("text", "seconds"), [("", None), ("90s", 90), ("90", 90), ("30m", 1800), ("1h30m", 5400), ("2h", 7200)]
)
def test_budgets(text, seconds):
    assert cli._seconds(text) == seconds

"""Experiments: equal settings give equal numbers, however the work is cut up, interrupted or killed."""

from __future__ import annotations

import ast
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from afli import data, errors, experiments
from afli import meanfield as mf
from afli.experiments import (
    Experiment,
    Grid,
    LinearSchedule,
    Table,
    TableError,
    checkpoints,
    files,
    planning,
    provenance,
    runner,
    spec,
    training,
)


def small(**settings) -> Experiment:
    """A network that trains in hundredths of a second."""
    chosen = {"depth": 3, "width": 16, "activation": "shtanh", "parameters": (("a", 5.0),), "sigma_b2": 1.0}
    chosen |= {"learning_rate": 0.01, "epochs": 2} | settings
    if chosen["activation"] != "shtanh" and "parameters" not in settings:
        chosen["parameters"] = ()
    return Experiment(**chosen)


def small_grid(**settings) -> Grid:
    cells = product(range(2), ("orthogonal", "gaussian"), (2.0, 5.0, 10.0), (1.0, 0.01))
    return Grid("test", "small", tuple(
        small(trial=trial, weights=weights, parameters=(("a", a),), sigma_b2=sigma_b2, **settings)
        for trial, weights, a, sigma_b2 in cells
    ))  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def quiet(grid, out, **options):
    return experiments.run(grid, out, echo=lambda line: None, **options)


# --- What an experiment is ---


def test_equal_settings_have_equal_keys_and_every_setting_changes_the_key():
    base = small()
    assert base == small()
    assert base.key == small().key
    assert hash(base) == hash(small())
    changes = {
        "dataset": "digit-parity", "normalisation": "authors", "depth": 4, "width": 17, "activation": "ssine",
        "sigma_b2": 0.5, "weights": "gaussian", "head_variance": 0.1, "batch": 32, "learning_rate": 0.02,
        "epochs": 3, "trial": 1, "parameters": (("a", 6.0),), "schedule": LinearSchedule(5.0, 2.0, 2),
        "record": (0, 1, 2), "sigma_w2": 1.5, "optimiser": "adam", "split": 1, "validation": 0.2,
    }  # fmt: skip
    keys = {replace(base, **{name: value}).key for name, value in changes.items()}
    assert len(keys | {base.key}) == len(changes) + 1 == len(base.__dataclass_fields__) + 1


def test_a_setting_at_its_default_takes_no_part_in_the_key():
    """What was trained before a setting existed keeps its key."""
    base = small()
    values = {field.name: getattr(base, field.name) for field in fields(Experiment)}
    spelled = {name: values[name] for name in ("record", "schedule") if values[name] is not None}
    chosen = {"depth": 3, "width": 16, "activation": "shtanh", "parameters": (("a", 5.0),), "sigma_b2": 1.0,
              "learning_rate": 0.01, "epochs": 2}  # fmt: skip
    expected = hashlib.sha256(json.dumps(chosen | spelled, sort_keys=True).encode()).hexdigest()[:16]
    assert base.key == expected


def test_one_setting_has_one_key_however_it_is_written():
    assert small(sigma_b2=1, parameters=(("a", 5),)).key == small(sigma_b2=1.0, parameters=(("a", 5.0),)).key
    assert small(epochs=3, record=(2, 0)).key == small(epochs=3, record=(0, 2, 3)).key


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"weights": "uniform"}, "weights must be 'gaussian' or 'orthogonal', got 'uniform'"),
        ({"normalisation": "cube"}, "normalisation must be 'sphere' or 'sphere-uncentred' or 'authors', got 'cube'"),
        ({"learning_rate": 0.0}, "learning_rate must be finite and > 0, got 0.0"),
        ({"learning_rate": float("inf")}, "learning_rate must be finite and > 0, got inf"),
        ({"head_variance": float("nan")}, "head_variance must be finite and > 0, got nan"),
        ({"sigma_b2": -1.0}, r"sigma_b2 must be finite and >= 0, got -1\.0"),
        ({"trial": -1}, "trial must be at least 0, got -1"),
        ({"record": (5,)}, "every epoch in record must be at most 2, got 5"),
        ({"record": (-1,)}, "every epoch in record must be at least 0, got -1"),
        ({"schedule": LinearSchedule(10.0, 2.0, 2)}, "must start at the initial a"),
        ({"activation": "shtan"}, "activation must be one of .*, or a name of register_activation, got 'shtan'"),
        ({"optimiser": "rmsprop"}, "optimiser must be 'sgd' or 'momentum' or 'adam', got 'rmsprop'"),
        ({"split": -1}, "split must be at least 0, got -1"),
        ({"validation": 1.0}, r"validation must be in \[0, 0\.9\], got 1\.0"),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        small(**settings)


@pytest.mark.parametrize("settings", [{"depth": 2.5}, {"epochs": 2.0}, {"width": True}, {"trial": 1.5}], ids=str)
def test_what_must_be_an_integer_is_one(settings):
    with pytest.raises(TypeError, match=f"{next(iter(settings))} must be an integer"):
        small(**settings)


def test_a_linear_schedule_starts_at_start_and_stays_at_stop():
    schedule = LinearSchedule(10.0, 2.0, 4)
    assert [schedule(epoch) for epoch in range(1, 8)] == [10, 8, 6, 4, 2, 2, 2]


def test_the_last_epoch_is_always_recorded():
    assert small(epochs=7, record=(0, 2)).record == (0, 2, 7)


@pytest.mark.slow
@pytest.mark.parametrize("profile", experiments.PROFILES)
@pytest.mark.parametrize("preset", experiments.PRESETS)
def test_presets_are_grids_of_different_networks_that_all_have_an_edge_of_chaos(preset, profile):
    grid = experiments.grid(preset, profile)
    assert len({e.key for e in grid}) == len(grid) > 3
    for net in {e.mean_field for e in grid}:
        assert mf.chi1(net.phi, net.q, sigma_w2=net.sigma_w2) == pytest.approx(1, abs=1e-9)
        assert mf.variance_map(net.phi, net.q, sigma_w2=net.sigma_w2, sigma_b2=net.sigma_b2) == pytest.approx(
            net.q, rel=1e-9
        )


def test_paper_profile_of_figure_7_is_section_4_1():
    grid = experiments.grid("fig7", "paper")
    assert len(grid) == 8 * 5 * 4 * 2 * 10
    assert {e.depth for e in grid} == {20, 50, 100, 200}
    assert {(e.dataset, e.width, e.epochs, e.batch, e.learning_rate) for e in grid} == {("cifar10", 300, 100, 64, 1e-4)}
    first = grid.experiments[:12]
    assert {(e.depth, e.weights, e.trial) for e in first} == {(20, "orthogonal", 0)}
    assert {(dict(e.parameters)["a"], e.sigma_b2) for e in first} == set(product((1, 3, 8, 30), (1, 0.01, 1e-4)))


def test_shards_are_a_partition():
    grid = small_grid()
    parts = [grid.shard(index, 3).experiments for index in (1, 2, 3)]
    assert sorted(e.key for part in parts for e in part) == sorted(e.key for e in grid)
    with pytest.raises(ValueError, match=r"index must be in 1\.\.3, got 4"):
        grid.shard(4, 3)


@pytest.mark.slow
def test_listing_presets_needs_neither_torch_nor_pandas():
    code = (
        "import sys; from afli import experiments; experiments.grid('fig7', 'paper');"
        "print({'torch', 'pandas'} & set(sys.modules))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "set()"
    )


# --- Training ---


def test_a_network_learns_and_its_row_says_so(digits):
    (row,) = experiments.train([small(epochs=6, record=())], digits).to_dict("records")
    assert row["epoch"] == 6
    assert row["test_accuracy"] > 0.85
    assert not row["diverged"]
    assert row["diverged_step"] == -1
    assert row["train_loss"] < np.log(10)
    assert row["test_loss"] < np.log(10)
    assert (row["a"], row["phi"], row["device"], row["arithmetic"]) == (5.0, "shtanh(a=5)", "cpu", "float32")


@pytest.mark.slow
def test_rows_are_a_function_of_the_settings_whatever_the_chunk(digits):
    grid = small_grid(record=(0, 1, 2))
    together = experiments.train(grid.experiments, digits)
    alone = pd.concat([experiments.train([e], digits) for e in grid])
    assert experiments.same_rows(together, alone)
    assert together["epoch"].tolist() == [0, 1, 2] * len(grid)


@pytest.mark.parametrize("settings", [{"validation": 0.2}, {"split": 3}, {"optimiser": "adam", "learning_rate": 1e-3}])
def test_a_run_knows_the_settings_that_came_later(tmp_path, settings, digits):
    report = quiet(Grid("test", "later", (small(record=(0, 1), **settings), small(trial=1, **settings))), tmp_path)
    rows = Table(report.table).frame
    assert (report.finished, report.missing) == (2, 0)
    for name, value in settings.items():
        assert (rows[name] == value).all()
    assert rows["validation_accuracy"].notna().all() == ("validation" in settings)
    plain = experiments.train([small(record=(0, 1))], digits)["test_loss"].tolist()
    assert rows.loc[rows["trial"] == 0, "test_loss"].tolist() != plain


def test_another_trial_gives_other_numbers(digits):
    rows = experiments.train([small(), small(trial=1)], digits)
    assert rows.groupby("experiment")["test_loss"].last().nunique() == 2


def test_trials_pair_up_batch_order_depends_on_trial_and_epoch_alone():
    first = training.batch_order(3, 1, 100, 8)
    assert first.shape == (12, 8)
    assert len(set(first.ravel().tolist())) == 96
    assert torch.equal(first, training.batch_order(3, 1, 100, 8))
    assert not torch.equal(first, training.batch_order(3, 2, 100, 8))
    assert not torch.equal(first, training.batch_order(4, 1, 100, 8))


def test_a_schedule_that_stays_constant_changes_nothing_and_one_that_moves_does(digits):
    fixed, still, moving = (
        small(epochs=3, record=(1, 3), schedule=s)
        for s in (None, LinearSchedule(5.0, 5.0, 2), LinearSchedule(5.0, 1.0, 2))
    )
    rows = experiments.train([fixed, still, moving], digits).set_index(["experiment", "epoch"])["test_loss"]
    assert rows[fixed.key].tolist() == rows[still.key].tolist()
    assert rows[fixed.key, 1] == rows[moving.key, 1]
    assert rows[fixed.key, 3] != rows[moving.key, 3]


def test_a_divergence_is_recorded_with_its_step_and_its_numbers_are_missing_after_it(digits):
    wild, tame = (
        small(activation="relu", sigma_b2=0.0, learning_rate=1e4, record=(0, 2)),
        small(activation="relu", sigma_b2=0.0),
    )
    rows = experiments.train([wild, replace(tame, record=(0, 2))], digits).set_index(["experiment", "epoch"])
    assert not rows.loc[(wild.key, 0), "diverged"]
    assert np.isfinite(rows.loc[(wild.key, 0), "test_loss"])
    assert rows.loc[(wild.key, 2), "diverged"]
    assert 0 < rows.loc[(wild.key, 2), "diverged_step"] < 44
    assert rows.loc[(wild.key, 2), ["test_accuracy", "test_loss", "train_loss"]].isna().all()
    assert not rows.loc[(tame.key, 2), "diverged"]


def test_what_cannot_be_trained_together_or_on_this_device_is_refused(digits):
    with pytest.raises(ValueError, match="of one shape"):
        experiments.train([small(), small(depth=4)], digits)
    with pytest.raises(ValueError, match="tf32 needs a CUDA device"):
        experiments.Setup("cpu", "tf32")
    with pytest.raises(ValueError, match="arithmetic must be one of"):
        experiments.Setup("cpu", "bfloat16")


# --- Packing ---


def test_packing_keeps_order_fills_chunks_and_never_mixes_shapes():
    grid = Grid("test", "mixed", tuple(small(depth=2 + i % 2, trial=i) for i in range(11)))
    chunks = planning.pack(grid, lambda e: 3)
    assert sorted(e.key for chunk in chunks for e in chunk) == sorted(e.key for e in grid)
    assert all(len({e.shape for e in chunk}) == 1 for chunk in chunks)
    assert [[e.trial for e in chunk] for chunk in chunks] == [[0, 2, 4], [1, 3, 5], [6, 8, 10], [7, 9]]


def test_packing_puts_what_was_begun_together_first():
    grid = Grid("test", "begun", tuple(small(trial=i) for i in range(6)))
    begun = {grid.experiments[i].key for i in (1, 4)}
    chunks = planning.pack(grid, lambda e: 3, [begun, {"finished long ago"}])
    assert [[e.trial for e in chunk] for chunk in chunks] == [[1, 4], [0, 2, 3], [5]]


def test_an_estimate_grows_with_the_work(digits):
    one, many = [small()], [small(trial=i, epochs=20) for i in range(8)]
    assert (
        0
        < planning.estimate_seconds(one, digits, training.Setup())
        < planning.estimate_seconds(many, digits, training.Setup())
    )


# --- Running, resuming ---


def test_a_second_run_finds_nothing_to_do(tmp_path):
    grid = small_grid()
    first, second = quiet(grid, tmp_path), quiet(grid, tmp_path)
    assert (first.finished, first.missing, first.stopped) == (24, 0, "")
    assert (second.finished, second.missing, second.stopped) == (0, 0, "")
    table = Table(tmp_path / "test-small-digits")
    assert table.frame["experiment"].drop_duplicates().tolist() == [e.key for e in grid]
    assert not list(tmp_path.glob("*.checkpoints/*"))


@pytest.mark.slow
def test_a_limited_run_and_its_continuation_equal_one_run(tmp_path):
    grid = small_grid()
    report = quiet(grid, tmp_path / "parts", limit=5)
    assert (report.finished, report.missing, report.stopped) == (5, 19, "the limit is reached")
    quiet(grid, tmp_path / "parts", limit=9)
    quiet(grid, tmp_path / "parts")
    quiet(grid, tmp_path / "whole")
    assert Table(tmp_path / "parts/test-small-digits").frame["experiment"].nunique() == 24
    assert_same_tables(tmp_path / "parts", tmp_path / "whole")


def assert_same_tables(one: Path, other: Path, name: str = "test-small-digits") -> None:
    """The same rows in the same order, time columns aside."""
    frames = [Table(folder / name).frame.drop(columns="train_seconds") for folder in (one, other)]
    pd.testing.assert_frame_equal(*frames)


class CountedTests:
    """The epochs at which a run tests its networks."""

    def __init__(self, test):
        self.test, self.epochs = test, []

    def __get__(self, run, owner):
        def counted(train_loss, train_accuracy):
            self.epochs.append(run.progress.epoch)
            return self.test(run, train_loss, train_accuracy)

        return counted


@pytest.mark.parametrize("how", ["budget", signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("signals_of_a_shell")
def test_a_stop_in_the_middle_of_a_chunk_is_clean_and_resumed(tmp_path, monkeypatch, how):
    grid = Grid("test", "small", tuple(small(trial=i, epochs=4, record=(0, 1, 2, 3)) for i in range(8)))
    quiet(grid, tmp_path / "whole")
    advance, steps = training._Run._advance, []

    def stop_soon(run):
        steps.append(1)
        if len(steps) == 5 and how != "budget":
            os.kill(os.getpid(), how)
        return advance(run)

    with monkeypatch.context() as patch:
        patch.setattr(training._Run, "_advance", stop_soon)
        if how == "budget":
            clock = time.monotonic
            patch.setattr(time, "monotonic", lambda: clock() + (1000 if len(steps) >= 5 else 0))
        report = quiet(grid, tmp_path / "parts", budget=500.0)
    assert (report.finished, report.missing) == (0, 8)
    assert report.stopped == ("the budget is used up" if how == "budget" else f"{how.name} came")
    assert len(list(tmp_path.glob("parts/*.checkpoints/*.pt"))) == 1
    assert len(steps) == 5
    assert quiet(grid, tmp_path / "parts", limit=0).missing == 8
    with monkeypatch.context() as patch:
        patch.setattr(training._Run, "_test", count_tests := CountedTests(training._Run._test))
        assert quiet(grid, tmp_path / "parts").finished == 8
    assert count_tests.epochs == [2, 3, 4]  # those before the stop were not trained again
    assert_same_tables(tmp_path / "parts", tmp_path / "whole")
    assert not list(tmp_path.glob("parts/*.checkpoints/*.pt"))


def test_a_checkpoint_of_other_work_is_not_used(tmp_path):
    progress = checkpoints.Progress(
        epoch=3, records=[{"epoch": 0, "test_loss": [1.0, float("nan")]}], state={"w": torch.ones(2)}
    )
    checkpoints.CheckpointFile(tmp_path / "c.pt", {"experiments": ["a"], "code": "1"}).save(progress)
    mine = checkpoints.CheckpointFile(tmp_path / "c.pt", {"experiments": ["a"], "code": "1"}).load()
    assert mine.epoch == 3
    assert torch.equal(mine.state["w"], torch.ones(2))
    assert mine.records[0]["test_loss"][0] == 1.0
    assert checkpoints.CheckpointFile(tmp_path / "c.pt", {"experiments": ["a"], "code": "2"}).load() is None


def killed_grid() -> Grid:
    """About ten seconds of work in six chunks."""
    return Grid("test", "killed", tuple(
        small(trial=trial, depth=20, width=48, epochs=24, learning_rate=1e-3, record=(0, 5, 10, 15, 20))
        for trial in range(48)
    ))  # fmt: skip


def run_killed_grid(out: Path, started) -> None:
    """In a process of its own; saves its progress every 50 ms, so that kills meet half-written files too."""
    torch.set_num_threads(1)
    checkpoints.CheckpointFile.is_due = lambda self: time.monotonic() - self.saved_at >= 0.05
    experiments.run(killed_grid(), out, echo=lambda line: started.set())


@pytest.mark.cluster
def test_ten_kills_at_random_moments_leave_the_table_of_an_uninterrupted_run(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["afli.experiments.runner", "sklearn.datasets"])
    generator = np.random.default_rng()
    kills = 0
    for _ in range(10):
        started = context.Event()
        process = context.Process(target=run_killed_grid, args=(tmp_path / "killed", started))
        process.start()
        assert started.wait(60)
        process.join(generator.uniform(0.05, 0.5))
        kills += process.is_alive()
        process.kill()
        process.join()
        for table in (tmp_path / "killed").glob("*.parquet"):
            assert set(pd.read_parquet(table).groupby("experiment").size()) == {6}  # whole experiments only
    assert kills == 10
    quiet(killed_grid(), tmp_path / "killed")
    quiet(killed_grid(), tmp_path / "whole")
    assert_same_tables(tmp_path / "killed", tmp_path / "whole", "test-killed-digits")


def test_only_one_process_writes_a_table(tmp_path, monkeypatch):
    from afli.experiments import table
    from afli.experiments.table import exclusive

    monkeypatch.setattr(table, "SECONDS_TO_WAIT", 0.1)
    with (
        exclusive(tmp_path / "test-small-digits.parquet"),
        pytest.raises(TableError, match="another process is writing"),
    ):
        quiet(small_grid(), tmp_path)
    assert quiet(small_grid(), tmp_path, limit=1).finished == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"budget": "30m"}, TypeError, "budget must be a real number"),
        ({"budget": -1}, ValueError, "budget must be"),
        ({"limit": -1}, ValueError, "limit must be at least 0, got -1"),
        ({"limit": 1.5}, TypeError, "limit must be an integer, got 1.5"),
        ({"device": "foo"}, ValueError, "device must be cpu, cuda, cuda:N or auto, got 'foo'"),
        ({"device": "mps"}, ValueError, "device must be cpu, cuda, cuda:N or auto, got 'mps'"),
        ({"device": "cuda:x"}, ValueError, "device must be cpu, cuda, cuda:N or auto, got 'cuda:x'"),
        ({"device": "cuda:99"}, ValueError, "device must be .*got 'cuda:99'"),
    ],
)
def test_a_wrong_option_stops_the_run_before_it_begins(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        quiet(small_grid(), tmp_path, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("gpus", "name", "chosen"), [(0, "auto", "cpu"), (2, "auto", "cuda"), (2, "cuda", "cuda"), (2, "cuda:1", "cuda:1")]
)
def test_devices_by_name(monkeypatch, gpus, name, chosen):
    from afli.experiments import runner

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert runner._device(name) == chosen
    with pytest.raises(ValueError, match="got 'cuda:2'"):
        runner._device("cuda:2")


def test_an_experiment_without_an_edge_of_chaos_stops_the_run_before_it_begins(tmp_path):
    hopeless = Grid("test", "hopeless", (small(), small(activation="relu", sigma_b2=0.1)))
    with pytest.raises(errors.NoFixedPointError):
        quiet(hopeless, tmp_path)
    assert not list(tmp_path.iterdir())


# --- Tables and manifests ---


def test_the_manifest_says_where_the_numbers_come_from(tmp_path, monkeypatch, digits):
    monkeypatch.setenv("AFLI_COMMIT", "0123abc")
    quiet(small_grid(), tmp_path)
    manifest = json.loads((tmp_path / "test-small-digits.json").read_text())
    assert (manifest["preset"], manifest["profile"], manifest["experiments"], manifest["finished"]) == (
        "test",
        "small",
        24,
        24,
    )
    assert manifest["dataset"]["sha256"] == digits.sha256
    assert manifest["dataset"]["name"] == "digits"
    assert manifest["settings"]["a"] == [2.0, 5.0, 10.0]
    assert manifest["settings"]["trial"] == [0, 1]
    assert manifest["arithmetic"] == "float32"
    assert len(manifest["code"]) == 16
    (run,) = manifest["runs"]
    assert run["versions"]["torch"] == torch.__version__
    assert run["commit"] == "0123abc"
    assert run["code"] == provenance.code_hash()
    assert run["device"] == "cpu"
    assert run["seconds"] > 0
    assert run["finished"] == 24
    assert run["machine"]


@pytest.fixture
def copy_of_afli(tmp_path):
    copy = tmp_path / "afli"
    shutil.copytree(provenance.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.mark.slow
def test_variables_of_a_hook_of_another_repository_are_not_followed(tmp_path, monkeypatch):
    def git(*arguments: str) -> str:
        return provenance.git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *arguments)

    git("init", "--quiet")
    (tmp_path / "__init__.py").touch()
    git("add", ".")
    git("commit", "--quiet", "--message", "theirs")
    monkeypatch.delenv("AFLI_COMMIT", raising=False)
    before = provenance.commit()
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    assert provenance.commit() == before
    assert git("rev-parse", "HEAD") not in before


def test_the_code_hash_is_of_what_the_training_imports():
    modules = provenance.result_modules()
    imported = subprocess.run(
        [sys.executable, "-c", "import sys, afli.experiments.training; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert set(modules) <= set(imported)
    for name, module in modules.items():  # and nothing that one of them imports is left out
        followed = {other for other in provenance._imported(module) if other.startswith(provenance.FOLLOWED)}
        assert {other for other in followed if other in imported} <= {*modules, "afli.data"}, name


@pytest.mark.slow
@pytest.mark.parametrize("module", provenance.result_modules())
def test_the_code_hash_is_of_meaning(copy_of_afli, module):
    before = provenance._hash(provenance.result_modules(copy_of_afli))
    assert before == provenance.code_hash()
    path = copy_of_afli.joinpath(*module.split(".")[1:]).with_suffix(".py")
    source = path.read_text()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and provenance._has_docstring(node):
            node.body[0].value.value = "Another docstring."
    path.write_text(f"{ast.unparse(tree)}\n# and a comment\n")
    assert provenance._hash(provenance.result_modules(copy_of_afli)) == before
    path.write_text(f"{source}\nCHANGED = 1\n")
    assert provenance._hash(provenance.result_modules(copy_of_afli)) != before


def test_code_that_has_no_part_in_training_is_not_in_the_hash(copy_of_afli):
    before = provenance._hash(provenance.result_modules(copy_of_afli))
    for name in ("cli.py", "meanfield.py", "experiments/presets.py", "experiments/table.py", "figures.py"):
        (copy_of_afli / name).write_text("CHANGED = 1\n")
    assert provenance._hash(provenance.result_modules(copy_of_afli)) == before


@pytest.mark.parametrize("change", ["code", "arithmetic", "dataset"])
def test_a_table_of_other_code_arithmetic_or_data_is_not_continued(tmp_path, change):
    quiet(small_grid(), tmp_path, limit=8)
    path = tmp_path / "test-small-digits.json"
    before = Table(path.with_suffix(".parquet")).frame
    manifest = json.loads(path.read_text())
    manifest[change] = manifest[change] | {"sha256": "other"} if change == "dataset" else "other"
    path.write_text(json.dumps(manifest))
    with pytest.raises(TableError, match=f"cannot be continued.*its {change} is .*'other'"):
        quiet(small_grid(), tmp_path)
    if change == "code":  # until it is known to give the same numbers
        manifest["verified"] = [{"code": provenance.code_hash()}]
        path.write_text(json.dumps(manifest))
        quiet(small_grid(), tmp_path, limit=0)
    assert Table(path.with_suffix(".parquet")).frame.equals(before)


@pytest.mark.parametrize("name", ["q", "sigma_w2"])
def test_a_table_of_another_theory_is_not_continued(tmp_path, monkeypatch, name):
    quiet(small_grid(), tmp_path, limit=8)
    edge = spec.edge_of_chaos

    def wrong(phi, sigma_b2):
        return WrongNet(edge(phi, sigma_b2), name)

    monkeypatch.setattr(spec, "edge_of_chaos", wrong)
    with pytest.raises(TableError, match=f"has {name} = .*the theory now gives"):
        quiet(small_grid(), tmp_path)


class WrongNet:
    """A network of which the theory says something wrong by a hundred-millionth."""

    def __init__(self, net, name):
        self._net = net
        setattr(self, name, getattr(net, name) * (1 + 1e-8))

    def __getattr__(self, name):
        return getattr(self._net, name)


def test_stages_of_an_unfinished_network_are_kept_and_then_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(runner._Stages, "seconds", 0.0, raising=False)
    monkeypatch.setattr(runner._Stages, "__init__", lambda self, write: vars(self).update(write=write, written=0.0))
    grid = Grid("test", "stages", (small(epochs=4, record=(0, 1, 2, 3)),))
    advance, steps = training._Run._advance, []

    def stop_soon(run):
        steps.append(1)
        if len(steps) == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return advance(run)

    with monkeypatch.context() as patch:
        patch.setattr(training._Run, "_advance", stop_soon)
        assert quiet(grid, tmp_path / "parts").missing == 1
    table = Table(tmp_path / "parts/test-stages-digits")
    assert table.frame["epoch"].tolist() == [0, 1, 2]
    assert table.done == set()
    assert quiet(grid, tmp_path / "parts").finished == 1
    quiet(grid, tmp_path / "whole")
    assert_same_tables(tmp_path / "parts", tmp_path / "whole", "test-stages-digits")


def test_a_table_without_a_manifest_is_not_continued(tmp_path):
    quiet(small_grid(), tmp_path, limit=8)
    (tmp_path / "test-small-digits.json").unlink()
    with pytest.raises(TableError, match="has no manifest"):
        quiet(small_grid(), tmp_path)


@pytest.mark.slow
def test_merging_shards_gives_the_table_of_one_machine(tmp_path):
    grid = experiments.grid("fig7", "smoke")
    for index in (1, 2):
        quiet(grid.shard(index, 2), tmp_path / str(index))
    quiet(grid, tmp_path / "whole")
    name = "fig7-smoke-digits"
    merged = experiments.merge([tmp_path / "1" / name, tmp_path / "2" / name], tmp_path / "merged" / name)
    assert_same_tables(tmp_path / "merged", tmp_path / "whole", name)
    assert merged.manifest["experiments"] == merged.manifest["finished"] == len(grid)
    assert len(merged.manifest["runs"]) == len(
        {run["started"] for shard in "12" for run in Table(tmp_path / shard / name).manifest["runs"]}
    )
    assert quiet(grid, tmp_path / "merged").finished == 0


def test_merging_refuses_conflicts_and_writes_nothing(tmp_path):
    grid, name = experiments.grid("fig8", "smoke"), "fig8-smoke-digits"
    for folder in ("a", "b"):
        quiet(grid, tmp_path / folder, limit=3)
    assert len(experiments.merge([tmp_path / "a" / name, tmp_path / "b" / name], tmp_path / "ok" / name).done) == 3
    frame = Table(tmp_path / "b" / name).frame
    frame.loc[3, "test_loss"] += 1e-7
    frame.to_parquet(tmp_path / "b" / f"{name}.parquet")
    with pytest.raises(TableError, match="gives other numbers"):
        experiments.merge([tmp_path / "a" / name, tmp_path / "b" / name], tmp_path / "out" / name)
    manifest = json.loads((tmp_path / "b" / f"{name}.json").read_text())
    (tmp_path / "b" / f"{name}.json").write_text(json.dumps(manifest | {"code": "other"}))
    with pytest.raises(TableError, match="its code is 'other'"):
        experiments.merge([tmp_path / "a" / name, tmp_path / "b" / name], tmp_path / "out" / name)
    with pytest.raises(TableError, match="must be a table with rows"):
        experiments.merge([tmp_path / "nowhere"], tmp_path / "out" / name)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_merging_never_loses_a_table_that_is_there_already(tmp_path):
    name = "fig8-smoke-digits"
    grid = experiments.grid("fig8", "smoke")
    quiet(grid, tmp_path / "full")
    for index in (1, 2):
        quiet(grid.shard(index, 3), tmp_path / str(index))
    parts = [tmp_path / "1" / name, tmp_path / "2" / name]
    kept = {path: path.read_bytes() for path in (tmp_path / "full").iterdir()}
    with pytest.raises(TableError, match=f"has {len(grid)} experiments that would be lost"):
        experiments.merge(parts, tmp_path / "full" / name)
    assert {path: path.read_bytes() for path in (tmp_path / "full").iterdir()} == kept
    for table in (tmp_path / "full" / name, parts[0]):  # one of the inputs, under another spelling
        merged = experiments.merge([*parts, table], tmp_path / "1" / ".." / table.parent.name / name)
        assert merged.done == Table(table).done
    assert len(Table(parts[0]).done) == len(grid.shard(1, 3)) + len(grid.shard(2, 3))


def test_merging_waits_for_no_other_writer_for_long(tmp_path, monkeypatch):
    from afli.experiments import table
    from afli.experiments.table import exclusive

    monkeypatch.setattr(table, "SECONDS_TO_WAIT", 0.1)
    name = "fig8-smoke-digits"
    quiet(experiments.grid("fig8", "smoke"), tmp_path, limit=2)
    before = (tmp_path / f"{name}.parquet").read_bytes()
    with (
        exclusive(tmp_path / f"{name}.parquet"),
        pytest.raises(TableError, match="another process is writing"),
    ):
        experiments.merge([tmp_path / name], tmp_path / name)
    assert (tmp_path / f"{name}.parquet").read_bytes() == before


@pytest.mark.slow
def test_shards_in_one_folder_make_the_table_of_one_run(tmp_path):
    grid, name = experiments.grid("fig7", "smoke"), "fig7-smoke-digits"
    reports = [quiet(grid.shard(index, 2), tmp_path / "shared") for index in (2, 1)]
    assert [(report.finished, report.missing) for report in reports] == [(9, 0), (9, 0)]
    quiet(grid, tmp_path / "whole")
    assert_same_tables(tmp_path / "shared", tmp_path / "whole", name)
    shared, one_run = (Table(tmp_path / folder / name).manifest for folder in ("shared", "whole"))
    assert (shared["experiments"], shared["finished"]) == (18, 18)
    assert shared["settings"] == one_run["settings"]


def test_a_table_goes_on_when_its_preset_has_grown(tmp_path, monkeypatch):
    from afli.experiments import presets

    grid = experiments.grid("fig8", "smoke")
    monkeypatch.setitem(presets.PRESETS, "fig8", lambda profile: list(grid.experiments[1:]))
    quiet(experiments.grid("fig8", "smoke"), tmp_path)
    assert Table(tmp_path / "fig8-smoke-digits").manifest["experiments"] == len(grid) - 1
    monkeypatch.setitem(presets.PRESETS, "fig8", lambda profile: list(grid.experiments))
    assert quiet(experiments.grid("fig8", "smoke"), tmp_path).finished == 1
    table = Table(tmp_path / "fig8-smoke-digits")
    assert table.manifest["experiments"] == table.manifest["finished"] == len(grid)
    assert table.frame["experiment"].drop_duplicates().tolist() == [e.key for e in grid]


def test_the_summary_counts_trials_and_divergences(tmp_path):
    grid = small_grid()
    quiet(grid, tmp_path)
    cells = experiments.summary(Table(tmp_path / "test-small-digits").frame)
    frame = Table(tmp_path / "test-small-digits").frame
    last = frame.loc[(frame["epoch"] == 2) & (frame["trial"] == 0)].index[0]
    frame.loc[last, "test_loss"] = 1000.0
    assert experiments.summary(frame)["worse"].tolist() == [1] + 11 * [0]
    assert len(cells) == 12
    assert set(cells["trials"]) == {2}
    assert set(cells["diverged"]) == {0}
    assert cells["mean"].between(0, 1).all()


def test_a_dataset_of_ones_own_carries_its_name(tmp_path):
    rng = np.random.default_rng(0)
    own = data.Dataset(
        "Two blobs",
        rng.random((64, 6), np.float32),
        np.arange(64) % 2,
        rng.random((8, 6), np.float32),
        np.arange(8) % 2,
        "made here",
    )
    grid = Grid("test", "small", (small(batch=16),))
    report = quiet(grid, tmp_path, dataset=own)
    assert report.table.name == "test-small-two-blobs.parquet"
    assert set(Table(report.table).frame["dataset"]) == {"Two blobs"}


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "table"
    files.replace_file(path, lambda stream: stream.write(b"old"))

    def fail(stream):
        stream.write(b"half of the n")
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        files.replace_file(path, fail)
    assert path.read_bytes() == b"old"


# --- The tables in results/ ---

RESULTS = Path(__file__).parents[1] / "results"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.parquet")), ids=lambda path: path.stem)
def test_a_committed_table_is_of_this_code_and_of_committed_code(path):
    from afli.experiments.provenance import code_hash
    from afli.experiments.table import accepted_codes

    table = Table(path)
    assert code_hash() in accepted_codes(table.manifest)
    assert not any(run["commit"].endswith(("dirty", "unknown")) for run in table.manifest["runs"])
    assert table.manifest["finished"] == len(table.done) <= table.manifest["experiments"]
    assert sum(run["finished"] for run in table.manifest["runs"]) == len(table.done)
    sound = table.frame[~table.frame["diverged"]]
    assert sound["test_accuracy"].between(0, 1).all()
    assert np.isfinite(sound["test_loss"]).all()

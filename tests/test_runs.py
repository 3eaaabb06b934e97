"""What can go wrong around a run: damaged files, full disks, killed processes, several at once, other versions."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from afli import activations as act
from afli import cli, data, errors, experiments
from afli.experiments import Experiment, Grid, Table, TableError, checkpoints, executors, files, presets, runner, table
from afli.experiments.progress import Progress

SETTINGS = {"depth": 3, "width": 16, "activation": "shtanh", "parameters": (("a", 5.0),), "sigma_b2": 1.0}
small = partial(Experiment, **SETTINGS, learning_rate=0.01, epochs=2)


def grid(count: int = 6, **settings) -> Grid:
    return Grid("test", "runs", tuple(replace(small(trial=trial), **settings) for trial in range(count)))


def quiet(grid, out, **options):
    return experiments.run(grid, out, echo=options.pop("echo", lambda line: None), **options)


def afli(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def numbers(path) -> pd.DataFrame:
    return Table(path).frame.drop(columns="train_seconds")


NAME = "test-runs-digits"


# --- Checkpoints ---


def interrupted(out, monkeypatch) -> Grid:
    """A grid whose only chunk was stopped in the middle of its first epoch."""
    chunk = grid(epochs=4)
    looks = []
    with monkeypatch.context() as patch:
        patch.setattr(runner._Stop, "__call__", lambda self: looks.append(1) or len(looks) > 3)
        assert quiet(chunk, out).missing == len(chunk)
    return chunk


@pytest.mark.slow
@pytest.mark.parametrize("how", ["empty", "half", "altered", "garbage", "other content", "not a dictionary"])
def test_a_damaged_checkpoint_is_dropped_with_a_word_and_the_run_goes_on(tmp_path, monkeypatch, how):
    chunk = interrupted(tmp_path / "parts", monkeypatch)
    (path,) = tmp_path.rglob("*.pt")
    content = path.read_bytes()
    match how:
        case "empty":
            path.write_bytes(b"")
        case "half":
            path.write_bytes(content[: len(content) // 2])
        case "altered":
            path.write_bytes(bytes(b ^ 0x55 if i % 997 == 0 else b for i, b in enumerate(content)))
        case "garbage":
            path.write_bytes(b"version https://git-lfs.github.com/spec/v1")
        case "other content":
            saved = torch.load(path, weights_only=True)
            saved["state"]["weights 0"][0, 0, 0] = float("nan")
            torch.save(saved, path)
        case _:
            torch.save([1, 2], path)
    said: list[str] = []
    assert quiet(chunk, tmp_path / "parts", echo=said.append).missing == 0
    assert any(str(path) in line and "damaged" in line for line in said)
    quiet(chunk, tmp_path / "whole")
    pd.testing.assert_frame_equal(numbers(tmp_path / "parts" / NAME), numbers(tmp_path / "whole" / NAME))


def test_no_flipped_bit_of_a_checkpoint_is_read_as_other_progress(tmp_path):
    state = {"w": torch.arange(12.0).reshape(3, 4), "steps": torch.tensor(7)}
    progress = Progress(
        epoch=3, step=20, seconds=1.5, records=[{"epoch": 0, "test_loss": [0.5, float("nan")]}], state=state
    )
    identity = {"experiments": ["a"], "code": "1"}
    path, said = tmp_path / "c.pt", []
    file = checkpoints.CheckpointFile(path, identity, echo=said.append)
    file.save(progress)
    whole, generator = path.read_bytes(), np.random.default_rng(0)
    for bit in generator.integers(0, 8 * len(whole), 300):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        read = file.load()
        if read is not None:
            assert repr(read.records) == repr(progress.records)
            assert (read.epoch, read.step, read.seconds) == (3, 20, 1.5)
            assert all(torch.equal(read.state[name], tensor) for name, tensor in state.items())
    assert len(said) > 50
    assert all(str(path) in line for line in said)


def test_a_checkpoint_from_before_there_were_checksums_is_loaded(tmp_path):
    identity = {"experiments": ["a"], "code": "1"}
    torch.save(vars(Progress(epoch=2, state={"w": torch.ones(2)})) | {"identity": identity}, tmp_path / "c.pt")
    assert checkpoints.CheckpointFile(tmp_path / "c.pt", identity).load().epoch == 2


class FullDisk:
    """A stream on which nothing more can be written after some bytes."""

    def __init__(self, stream, room: int) -> None:
        self.stream, self.room = stream, room

    def write(self, content) -> int:
        self.room -= len(content)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.stream.write(content)

    def flush(self) -> None:
        self.stream.flush()


def test_a_full_disk_is_one_line_and_leaves_no_draft(tmp_path):
    weights = {"w": torch.ones(10_000)}
    for path, write in (
        (tmp_path / "c.pt", lambda stream: torch.save(weights, FullDisk(stream, 20_000))),
        (tmp_path / "t.json", lambda stream: FullDisk(stream, 3).write(b"much")),
    ):
        with pytest.raises(OSError, match=f"{path} cannot be written: No space left on device"):
            files.replace_file(path, write)
    assert not list(tmp_path.iterdir())


# --- Tables ---


@pytest.mark.slow
def test_no_flipped_bit_of_a_table_is_read_as_other_numbers(tmp_path):
    quiet(grid(), tmp_path)
    path = tmp_path / f"{NAME}.parquet"
    whole, sound, refused = path.read_bytes(), Table(path).frame, 0
    for bit in np.random.default_rng(1).integers(0, 8 * len(whole), 150):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            frame = Table(path).frame
        except TableError as error:
            refused += path.name in str(error)
        else:
            pd.testing.assert_frame_equal(frame, sound)
    assert refused > 75


def test_a_table_without_checksums_and_versions_is_read_and_continued(tmp_path):
    quiet(grid(), tmp_path, limit=2)
    path = tmp_path / f"{NAME}.parquet"
    Table(path).frame.drop(columns="versions").to_parquet(path, index=False)
    manifest = json.loads(path.with_suffix(".json").read_text())
    del manifest["runs"][0]["id"]
    manifest["runs"][0]["versions"]["torch"] = "1.0"
    path.with_suffix(".json").write_text(json.dumps(manifest))
    said: list[str] = []
    assert quiet(grid(), tmp_path, echo=said.append).missing == 0
    frame = Table(path).frame
    now = table.in_words(Table(path).manifest["runs"][1]["versions"])
    assert frame["versions"].tolist() == ["", "", "", ""] + 8 * [now]
    assert f"torch {torch.__version__}" in now
    assert any("torch 1.0" in line and now in line for line in said)
    assert [run["finished"] for run in Table(path).manifest["runs"]] == [2, 4]


@pytest.mark.parametrize("write", range(1, 8))
def test_no_entry_of_the_manifest_is_lost_whichever_write_is_the_last(tmp_path, killed_after, write):
    chosen = {"chunk": 2}
    with killed_after(table, write):
        quiet(grid(), tmp_path, **chosen)
    found = Table(tmp_path / NAME)
    assert sum(run["finished"] for run in found.manifest["runs"]) == len(found.done)
    quiet(grid(), tmp_path, **chosen)
    found = Table(tmp_path / NAME)
    assert sum(run["finished"] for run in found.manifest["runs"]) == len(found.done) == 6
    assert not any("adding" in run for run in json.loads(found.manifest_path.read_text())["runs"][1:])


@pytest.mark.parametrize("with_ids", [True, False])
def test_merging_keeps_every_entry_even_of_one_millisecond_and_the_newer_of_two_copies(tmp_path, with_ids):
    whole = experiments.grid("fig7", "smoke")
    name = "fig7-smoke-digits"
    for folder, part in (("1", whole.shard(1, 2)), ("2", whole.shard(2, 2))):
        quiet(part, tmp_path / folder)
        manifest = json.loads((tmp_path / folder / f"{name}.json").read_text())
        manifest["runs"][0]["started"] = "2026-01-01T00:00:00.000+00:00"
        if not with_ids:
            del manifest["runs"][0]["id"]
        (tmp_path / folder / f"{name}.json").write_text(json.dumps(manifest))
    old = Table(tmp_path / "1" / name)
    (tmp_path / "old").mkdir()
    first = sorted(old.done)[:4]
    old.frame[old.frame["experiment"].isin(first)].to_parquet(tmp_path / "old" / f"{name}.parquet")
    old.manifest["runs"][0]["finished"] = 4
    (tmp_path / "old" / f"{name}.json").write_text(json.dumps(old.manifest))
    merged = experiments.merge([tmp_path / f / name for f in ("1", "2", "old")], tmp_path / "merged" / name)
    assert [run["finished"] for run in merged.manifest["runs"]] == [9, 9]
    assert len(merged.done) == 18


def test_shards_of_a_grid_of_ones_own_are_merged(tmp_path):
    for index in (1, 2):
        quiet(grid().shard(index, 2), tmp_path / str(index))
    merged = experiments.merge([tmp_path / i / NAME for i in "12"], tmp_path / "merged" / NAME)
    assert merged.manifest["experiments"] == merged.manifest["finished"] == 6
    assert merged.manifest["settings"]["trial"] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is damaged"),
        ('{"preset": "test"', "is damaged"),
        pytest.param("[" * 100_000, "is damaged", id="nested too deeply"),
        ("[]", "is no manifest of such a table, or damaged: it is []"),
        ("{}", "is no manifest of such a table, or damaged: it has no preset, profile"),
    ],
)
def test_a_broken_manifest_is_named(tmp_path, content, message):
    quiet(grid(), tmp_path, limit=2)
    path = tmp_path / f"{NAME}.json"
    path.write_text(content)
    for arguments in (["show", tmp_path], ["merge", path.with_suffix(".parquet"), "--out", tmp_path / "out"]):
        code, text = afli(*arguments)
        assert code == cli.Exit.FAILED
        assert f"error: {path} {message}" in text


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda manifest: manifest.update(runs=None), "runs is None"),
        (lambda manifest: manifest.update(runs=[{}]), "runs 1 has no started, finished, machine, versions"),
        (lambda manifest: manifest["runs"][0].update(finished="2"), "runs 1 finished is '2'"),
        (lambda manifest: manifest.update(dataset="digits"), "dataset is 'digits'"),
        (lambda manifest: manifest["dataset"].pop("sha256"), "dataset has no sha256"),
        (lambda manifest: manifest.update(experiments=None), "experiments is None"),
        (lambda manifest: manifest.update(verified=[{}]), "verified 1 has no code"),
        (lambda manifest: manifest.update(activations=[]), "activations is []"),
    ],
)
def test_an_edited_manifest_is_named_with_what_is_wrong_in_it(tmp_path, change, problem):
    quiet(grid(), tmp_path, limit=2)
    path = tmp_path / f"{NAME}.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    message = re.escape(f"{path} is no manifest of such a table, or damaged: {problem}")
    for use in (lambda: Table(path), lambda: quiet(grid(), tmp_path), lambda: experiments.verify(path)):
        with pytest.raises(TableError, match=message):
            use()


@pytest.mark.parametrize("column", ["diverged", "epochs", "experiment", "phi", "test_accuracy"])
def test_a_table_that_lacks_a_column_is_named_and_so_is_the_column(tmp_path, column):
    quiet(grid(), tmp_path, limit=2)
    path = tmp_path / f"{NAME}.parquet"
    pd.read_parquet(path).rename(columns={column: "renamed"}).to_parquet(path, index=False)
    for arguments in (["show", tmp_path], ["verify", tmp_path], ["merge", path, "--out", tmp_path / "out"]):
        code, text = afli(*arguments)
        assert code == cli.Exit.FAILED
        assert f"{path} is no table, or damaged: it has no column {column}" in text
    with pytest.raises(TableError, match=f"it has no column {column}"):
        quiet(grid(), tmp_path)


def test_rows_that_are_there_twice_are_refused(tmp_path):
    quiet(grid(), tmp_path, limit=2)
    path = tmp_path / f"{NAME}.parquet"
    rows = pd.read_parquet(path)
    pd.concat([rows, rows]).to_parquet(path, index=False)
    with pytest.raises(TableError, match="holds a row twice"):
        quiet(grid(), tmp_path)


@pytest.mark.parametrize(("column", "value"), [("depth", 4), ("sigma_b2", 0.5), ("weights", "gaussian")])
def test_settings_that_contradict_their_key_are_refused(tmp_path, column, value):
    quiet(grid(), tmp_path, limit=2)
    path = tmp_path / f"{NAME}.parquet"
    pd.read_parquet(path).assign(**{column: value}).to_parquet(path, index=False)
    with pytest.raises(TableError, match=f"{path} says other settings than its preset in {column}"):
        quiet(grid(), tmp_path)
    pd.read_parquet(path).assign(epochs="two").to_parquet(path, index=False)
    with pytest.raises(TableError, match="it has no numbers in epochs"):
        quiet(grid(), tmp_path)


def test_a_table_that_has_stages_only_is_shown(tmp_path):
    quiet(grid(), tmp_path)
    path = tmp_path / f"{NAME}.parquet"
    frame = pd.read_parquet(path)
    frame[frame["epoch"] == 0].to_parquet(path, index=False)
    code, text = afli("show", path)
    assert code == 0
    assert "0 done, 6 missing" in text


def test_runs_whose_rows_are_gone_are_forgotten(tmp_path):
    quiet(grid(), tmp_path)
    (tmp_path / f"{NAME}.parquet").unlink()
    quiet(grid(), tmp_path, limit=2)
    found = Table(tmp_path / NAME)
    assert [run["finished"] for run in found.manifest["runs"]] == [2] == [len(found.done)]


def test_a_table_made_before_later_settings_is_merged_with_one_made_now(tmp_path):
    for index in (1, 2):
        quiet(grid().shard(index, 2), tmp_path / str(index))
    paths = [tmp_path / index / f"{NAME}.parquet" for index in "12"]
    later = ["split", "validation", "optimiser", "versions"]
    pd.read_parquet(paths[0]).drop(columns=later).to_parquet(paths[0], index=False)
    merged = experiments.merge(paths, tmp_path / "merged").frame
    assert not merged[["split", "validation", "optimiser"]].isna().any(axis=None)
    assert merged["split"].dtype == "int64"
    quiet(grid(), tmp_path / "whole")
    assert experiments.same_rows(merged, Table(tmp_path / "whole" / NAME).frame)


def test_the_order_of_columns_is_no_other_number(tmp_path):
    quiet(grid(), tmp_path)
    frame = Table(tmp_path / NAME).frame
    assert experiments.same_rows(frame, frame[list(frame)[::-1]])


def test_a_merge_that_is_killed_leaves_no_rows_without_a_manifest(tmp_path, monkeypatch):
    for index in (1, 2):
        quiet(grid().shard(index, 2), tmp_path / str(index))
    paths = [tmp_path / index / f"{NAME}.parquet" for index in "12"]

    def dies(path, content):
        if path.suffix == ".parquet":
            files.replace_file(path, content)
            raise KeyboardInterrupt
        files.replace_file(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(table, "replace_file", dies)
        with pytest.raises(KeyboardInterrupt):
            experiments.merge(paths, tmp_path / "merged")
    found = Table(tmp_path / "merged")
    assert sum(run["finished"] for run in found.manifest["runs"]) == len(found.done) == 6
    with pytest.raises(TableError, match="there must be a table to merge"):
        experiments.merge([], tmp_path / "merged")


def test_a_folder_is_no_table(tmp_path):
    quiet(grid(), tmp_path, limit=2)
    code, text = afli("merge", tmp_path, "--out", tmp_path / "out")
    assert code == cli.Exit.FAILED
    assert f"error: {tmp_path} is a folder: name the table in it" in text


def test_show_goes_on_after_a_table_that_is_damaged(tmp_path):
    quiet(grid(), tmp_path, limit=2)
    (tmp_path / "aa.parquet").write_bytes(b"no table")
    code, text = afli("show", tmp_path)
    assert code == cli.Exit.FAILED
    assert "aa.parquet is no table" in text
    assert f"{NAME}: 2 done, 4 missing" in text


def test_a_grid_of_ones_own_that_changes_counts_what_was_done_before(tmp_path):
    quiet(grid(4), tmp_path)
    quiet(grid(2, learning_rate=0.02), tmp_path, limit=1)
    text = afli("show", tmp_path)[1]
    assert "5 done, 1 missing" in text
    assert Table(tmp_path / NAME).manifest["settings"]["learning_rate"] == [0.01, 0.02]
    quiet(grid(1), tmp_path)
    assert "5 done, 0 missing" in afli("show", tmp_path)[1]


def test_parameters_that_differ_in_the_seventh_digit_are_not_pooled(tmp_path):
    near = [small(trial=trial, parameters=(("a", a),)) for trial in (0, 1) for a in (5.0, 5.0000001)]
    quiet(Grid("test", "runs", tuple(near)), tmp_path)
    assert experiments.summary(Table(tmp_path / NAME).frame)["trials"].tolist() == [1, 1, 1, 1]


def test_show_has_a_line_for_every_combination_that_varies(tmp_path):
    varied = [{"width": 16}, {"width": 24}, {"head_variance": 0.1}, {"normalisation": "authors"}, {"batch": 32}]
    varied += [{"optimiser": "adam"}, {"epochs": 3}, {"split": 1}, {"sigma_w2": 1.5}, {"validation": 0.2}]
    made = tuple(replace(small(trial=trial), **change) for change in varied for trial in range(2))
    quiet(Grid("test", "runs", made), tmp_path)
    cells = experiments.summary(Table(tmp_path / NAME).frame)
    assert cells["trials"].tolist() == [2] * len(varied)
    code, text = afli("show", tmp_path / f"{NAME}.json")
    assert code == 0
    for column in ("width", "head_variance", "normalisation", "batch", "optimiser", "epochs", "split", "sigma_w2"):
        assert column in text
    assert "schedule" not in text


# --- Several processes, signals, limits ---


@pytest.mark.slow
def test_shards_in_one_folder_at_the_same_time(tmp_path):
    command = [sys.executable, "-m", "afli", "run", "fig7", "--out", str(tmp_path / "shared"), "--shard"]
    started = [
        subprocess.Popen([*command, f"{i}/3"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for i in (1, 2, 3)
    ]
    errors_ = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], errors_
    name = "fig7-smoke-digits"
    quiet(experiments.grid("fig7", "smoke"), tmp_path / "whole")
    pd.testing.assert_frame_equal(numbers(tmp_path / "shared" / name), numbers(tmp_path / "whole" / name))
    manifest = Table(tmp_path / "shared" / name).manifest
    assert [run["finished"] for run in manifest["runs"]] == [6, 6, 6]


def test_an_experiment_that_two_runs_train_at_once_belongs_to_the_first(tmp_path):
    """The whole grid and a shard of it in one folder: other experiments, so neither waits for the other."""
    seen = []

    def the_shard_overtakes(line):
        if "ensembles" in line and not seen:
            seen.append(line)
            quiet(grid().shard(1, 2), tmp_path, chunk=1)

    quiet(grid(), tmp_path, chunk=1, echo=the_shard_overtakes)
    found = Table(tmp_path / NAME)
    assert [run["finished"] for run in found.manifest["runs"]] == [3, 3]
    assert len(found.done) == 6
    quiet(grid(), tmp_path / "whole")
    pd.testing.assert_frame_equal(numbers(tmp_path / NAME), numbers(tmp_path / "whole" / NAME))


def test_one_grid_is_trained_by_one_process(tmp_path):
    with (
        table.alone(grid(), tmp_path / f"{NAME}.checkpoints"),
        pytest.raises(TableError, match="another process is training these 6 experiments of test-runs-digits"),
    ):
        quiet(grid(), tmp_path)
    assert quiet(grid(), tmp_path).missing == 0


def test_a_handler_that_is_not_pythons_is_left_alone(monkeypatch):
    """As in a program that embeds Python; such a handler cannot be put back."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    with runner._Stop(None, time.monotonic()) as stop:
        assert stop.before == {}
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has none")
@pytest.mark.usefixtures("signals_of_a_shell")
def test_a_closed_terminal_stops_a_run_unless_it_was_started_with_nohup():
    stop = runner._Stop(None, time.monotonic())
    with stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop()
    assert stop.reason == "SIGHUP came"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = runner._Stop(None, time.monotonic())
        with stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_size_of_a_chunk_is_an_option_and_changes_no_number(tmp_path):
    said: list[str] = []
    quiet(grid(), tmp_path / "whole")
    quiet(grid(), tmp_path / "parts", chunk=2, echo=said.append)
    assert any("3 ensembles" in line for line in said)
    pd.testing.assert_frame_equal(numbers(tmp_path / "parts" / NAME), numbers(tmp_path / "whole" / NAME))


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        (grid(0), {}, "grid must have at least one experiment"),
        (grid(1, batch=2000), {}, "batch must be at most 1437, the number of training images, got 2000"),
        (grid(1, validation=0.2, batch=1300), {}, "batch must be at most 1150, the number of training images"),
        (grid(1, validation=1e-5), {}, "share must leave images on both sides"),
        (Grid("test", "runs", grid(2).experiments * 2), {}, "grid must have every experiment once"),
        (replace(grid(1), preset="../up"), {}, "preset and profile of a grid name its files, got '../up'"),
        ("fig7", {}, "grid must be a Grid, as .* makes one, got 'fig7'"),
        (grid(1).experiments, {}, "grid must be a Grid"),
        (grid(1), {"dataset": 5}, "dataset must be a Dataset or a name, got 5"),
        (grid(1), {"chunk": 0}, "chunk must be at least 1"),
        (grid(1), {"device": "cuda", "executor": "dask://nowhere:1"}, "chunk must say how many networks fit a GPU"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_written(tmp_path, monkeypatch, changed, options, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises((ValueError, TypeError), match=message):
        quiet(changed, tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_worker_with_other_code_or_data_trains_nothing(tmp_path):
    work = executors.Work("digits", data.load("digits").sha256, experiments.Setup(), tmp_path)
    rows, place = executors._train_there(grid().experiments, work, tmp_path / "stop")
    assert len(rows) == 12
    assert place == executors.Place.here("cpu")
    with pytest.raises(experiments.WorkerError, match=r"has the code .*, not 0123"):
        executors._train_there(grid().experiments, replace(work, code="0123"), tmp_path / "stop")
    with pytest.raises(data.DataError, match="digits is another dataset on this worker"):
        executors._train_there(grid().experiments, replace(work, sha256="0123"), tmp_path / "stop")


def test_rows_of_a_worker_with_another_theory_are_refused(tmp_path):
    chunk = grid(1).experiments
    rows, place = experiments.train(chunk, data.load("digits")), executors.Place("another machine", {})
    future = SimpleNamespace(status="finished", result=lambda timeout: (rows, place))
    assert executors._result(future, chunk) == (rows, place)
    rows["q"] *= 1.3
    with pytest.raises(TableError, match=r"a worker on another machine has q = .* the theory now gives"):
        executors._result(future, chunk)


def test_progress_made_with_other_versions_is_dropped_with_a_word(tmp_path, monkeypatch):
    chunk = interrupted(tmp_path, monkeypatch)
    said: list[str] = []
    monkeypatch.setattr(executors, "VERSIONS", "torch 1.0")
    assert quiet(chunk, tmp_path, echo=said.append).missing == 0
    assert any("the progress of 6 networks is dropped: it is of other code, images, versions" in line for line in said)


def test_progress_of_another_shard_is_left_to_it(tmp_path, monkeypatch):
    """That of a machine with a GPU, say, is of another device."""
    interrupted(tmp_path, monkeypatch)
    (path,) = tmp_path.rglob("*.pt")
    monkeypatch.setattr(executors, "VERSIONS", "torch 1.0")
    said: list[str] = []
    quiet(grid(2, epochs=1, record=(0,)), tmp_path, echo=said.append)
    assert path.exists()
    assert not any("dropped" in line for line in said)


def test_a_file_of_images_that_changed_between_runs_is_read_again(tmp_path):
    images, file = np.arange(80 * 9, dtype=np.uint8).reshape(80, 9), tmp_path / "images.npz"
    for shift in (0, 1):
        np.savez(file, x_train=images + shift, y_train=np.arange(80) % 2, x_test=images, y_test=np.arange(80) % 2)
        sha256 = data.load(f"npz:{file}").sha256
        work = executors.Work(f"npz:{file}", sha256, experiments.Setup(), tmp_path)
        rows, _ = executors._train_there(grid(1, batch=16).experiments, work, tmp_path / "stop")
        assert len(rows) == 2


def test_a_worker_that_is_told_to_stop_saves_and_the_next_goes_on(tmp_path):
    work = executors.Work("digits", data.load("digits").sha256, experiments.Setup(), tmp_path)
    stop = tmp_path / "stop"
    stop.touch()
    chunk = grid(epochs=4).experiments
    assert executors._train_there(chunk, work, stop)[0] is None
    assert work.checkpoint(chunk).load().step > 0
    stop.unlink()
    rows, _ = executors._train_there(chunk, work, stop)
    assert experiments.same_rows(rows, experiments.train(chunk, data.load("digits")))


# --- Own activations, presets, points off the edge ---


@pytest.fixture
def bent():
    """A registered activation with one parameter, and how to register another function under its name."""

    def register(power: float = 1.0):
        def make(c: float) -> act.Activation:
            return act.from_callable(lambda z: power * np.arcsinh(c * z), lambda z: power * c / np.hypot(1, c * z))

        experiments.register_activation("bent", make)

    register()
    yield register
    del experiments.spec.OWN_ACTIVATIONS["bent"]


def own(c: float, **settings) -> Experiment:
    return small(**({"activation": "bent", "parameters": (("c", c),), "sigma_b2": 0.1} | settings))


@pytest.mark.slow
def test_an_own_activation_is_trained_by_name_and_known_by_its_values(tmp_path, bent):
    mine = Grid("test", "runs", tuple(own(c, trial=trial) for c in (1.0, 2.0) for trial in (0, 1)))
    quiet(mine, tmp_path, limit=3)
    found = Table(tmp_path / NAME)
    assert set(found.manifest["activations"]) == {"bent(c=1)", "bent(c=2)"}
    assert set(found.frame["phi"]) == {"bent(c=1)", "bent(c=2)"}
    bent()  # the same function, made again
    assert quiet(mine, tmp_path).missing == 0
    bent(1.001)
    with pytest.raises(TableError, match=r"its activation bent\(c=1\) is another function"):
        quiet(mine, tmp_path)
    alone = experiments.train([own(2.0)], data.load("digits"))
    assert alone["q"].nunique() == 1


def test_names_of_own_activations_and_presets_are_words_that_are_free(bent):
    for name in ("tanh", "two words", "", "1st"):
        with pytest.raises(ValueError, match="name must be a word"):
            experiments.register_activation(name, act.tanh)
    for name in ("fig7", "two words", "../up"):
        with pytest.raises(ValueError, match="name must be of letters"):
            experiments.register_preset(name, lambda profile: [])
    with pytest.raises(ValueError, match=r"schedule moves the a of shtanh, .* for activation 'bent'"):
        own(1.0, schedule=experiments.LinearSchedule(1.0, 2.0, 2))


def test_a_preset_that_makes_no_experiments_is_named(monkeypatch):
    for made in (None, [{}], "text"):
        monkeypatch.setitem(presets.PRESETS, "mine", lambda profile, made=made: made)
        code, text = afli("run", "mine")
        assert code == cli.Exit.FAILED
        assert "error: the preset 'mine' must return experiments, got" in text
    for name, make, message in ((5, list, "name must be of letters"), ("mine", 5, "experiments must be callable")):
        with pytest.raises((TypeError, ValueError), match=message):
            experiments.register_preset(name, make)


def test_a_point_off_the_edge_of_chaos(tmp_path):
    edge = small()
    off = replace(edge, sigma_w2=1.2)
    assert off.key != edge.key
    assert off.mean_field.sigma_w2 == 1.2
    assert off.mean_field.chi1 != pytest.approx(1, abs=1e-3)
    rows = experiments.train([edge, off], data.load("digits"))
    assert rows.groupby("experiment")["sigma_w2"].first()[off.key] == 1.2
    assert rows.groupby("experiment")["test_loss"].last().nunique() == 2
    quiet(Grid("test", "runs", (edge, off)), tmp_path)
    assert quiet(Grid("test", "runs", (edge, off)), tmp_path).finished == 0  # the theory of the rows is theirs
    with pytest.raises(errors.NoFixedPointError):
        _ = replace(edge, sigma_w2=0.01, sigma_b2=0.0).mean_field


LOADED = """
from afli import experiments

def widths(profile):
    return [
        profile.experiment("shtanh", parameters=(("a", 5.0),), depth=3, width=width, sigma_b2=1.0, trial=trial)
        for trial in range(2) for width in (8, 16)
    ]

experiments.register_preset("my-widths", widths)
"""


def test_the_command_line_finds_a_preset_of_ones_own(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(LOADED)
    try:
        for index in (1, 2):
            code, text = afli(
                "--load", file, "run", "my-widths", "--out", tmp_path / str(index), "--shard", f"{index}/2"
            )
            assert code == 0, text
        tables = [tmp_path / i / "my-widths-smoke-digits.parquet" for i in "12"]
        code, text = afli("--load", file, "merge", *tables, "--out", tmp_path)
        assert code == 0
        assert "my-widths-smoke-digits.parquet: 4 experiments of 4" in text
        code, text = afli("show", tmp_path)
        assert code == 0
        assert "width" in text
    finally:
        presets.PRESETS.pop("my-widths", None)
    code, text = afli("--load", tmp_path / "nowhere.py", "run", "my-widths")
    assert code == cli.Exit.FAILED
    assert "there is no file" in text
    code, text = afli("run", "my-widths", "--out", tmp_path)
    assert code == cli.Exit.FAILED
    assert "preset must be one of" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n\nfoo\n", ", line 3: NameError: name 'foo' is not defined"),
        ("import afli\ndef x(:\n", ": SyntaxError: "),
        ("import nosuchpackage\n", ", line 1: ModuleNotFoundError: No module named 'nosuchpackage'"),
        (
            "from afli import experiments\nexperiments.register_preset('fig7', list)\n",
            ", line 2: ValueError: name must be",
        ),
    ],
)
def test_what_goes_wrong_in_a_loaded_file_is_one_line_that_names_it(tmp_path, content, message):
    file = tmp_path / "mine.py"
    file.write_text(content)
    code, text = afli("--load", file, "check")
    assert code == cli.Exit.FAILED
    assert f"error: {file}{message}" in text
    assert "pip install" not in text


def test_a_loaded_file_finds_its_neighbours(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "neighbour.py").write_text("RATE = 0.01\n")
    (tmp_path / "mine.py").write_text("import neighbour\nassert neighbour.RATE == 0.01\n")
    assert afli("--load", tmp_path / "mine.py", "--version")[0] == 0


# --- Messages ---


@pytest.mark.slow
def test_streams_that_are_closed_or_lack_a_letter_do_not_end_a_run(tmp_path):
    """A job without standard error, and a console that knows no umlaut."""
    (tmp_path / "mine.py").write_text(
        "from afli import experiments as e\n"
        "e.register_preset('mine', lambda p: [p.experiment('tanh', depth=2, width=8, sigma_b2=0.1, epochs=1)])\n"
    )
    images, labels = np.arange(80 * 9, dtype=np.uint8).reshape(80, 9), np.arange(80) % 2
    file = tmp_path / "images.npz"
    np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels, name=np.array("Größe 学"))
    run = f"{sys.executable} -m afli --load {tmp_path}/mine.py run mine --out {tmp_path}"
    for command, environment in (
        (f"{run}/closed >&- 2>&-", {}),
        (f"{run}/letters --data npz:{file}", {"PYTHONIOENCODING": "ascii"}),
    ):
        ran = subprocess.run(["bash", "-c", command], env=os.environ | environment, capture_output=True, check=False)
        assert ran.returncode == 0, ran.stderr


def test_more_shards_than_experiments_is_no_error(tmp_path):
    code, text = afli("run", "fig7", "--out", tmp_path, "--shard", "19/19")
    assert code == cli.Exit.DONE
    assert "shard 19/19 has no experiment" in text


def test_the_case_of_a_claim_does_not_matter_and_one_claim_is_not_all(monkeypatch):
    from afli import claims

    asked: list[str] = []
    monkeypatch.setattr(claims, "verify", lambda id: asked.append(id) or "it holds")
    assert afli("check", "Lemma-3.3")[0] == cli.Exit.DONE
    assert asked == ["lemma-3.3"]
    assert afli("check", "--all", "lemma-3.3")[0] == 2


def test_a_budget_of_centuries_is_not_a_traceback(tmp_path):
    code, text = afli("run", "fig7", "--out", tmp_path, "--budget", "9" * 400)
    assert code == cli.Exit.FAILED
    assert "budget must look like" in text


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_ends_the_command_without_a_word(tmp_path):
    quiet(grid(1), tmp_path)
    show = f"{sys.executable} -m afli show {tmp_path} | true"
    ran = subprocess.run(["bash", "-c", show], capture_output=True, text=True, check=False)
    assert "Broken pipe" not in ran.stderr
    assert "Traceback" not in ran.stderr


def test_networks_of_an_earlier_run_do_not_count_as_fast(capsys):
    with runner._Bar(10) as bar:
        bar.bar.start_t -= 3600.0  # an hour ago
        bar.bar.mininterval = 0.0
        bar.advance(6.0, earlier=True)
        for _ in range(10):
            bar.advance(0.2)
    shown = capsys.readouterr().err.split("\r")
    assert "8.0/10 networks, 2 networks/h" in shown[-1]
    assert sum("networks/h" in line for line in shown) >= 10  # it moves at every step, however small

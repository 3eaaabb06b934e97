"""The map at infinite width: what a row says, how the ridge is chosen, and that a table goes on where it stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from afli import activations as act
from afli import cli, data, kernels
from afli import meanfield as mf
from afli.experiments import kernel_maps
from afli.experiments.table import TableError

DIGITS = data.load("digits")
SMALL = kernel_maps.Settings(images=200, width=64, rate=1e-3)
KEY = (20, 0.1, 3.0, "ntk")


@pytest.fixture(scope="module")
def images() -> kernel_maps.Images:
    return kernel_maps.Images(DIGITS, SMALL.images)


def test_a_row_is_ridge_regression_at_the_best_left_out_error(images: kernel_maps.Images) -> None:
    row = kernel_maps.cell(images, SMALL, *KEY)
    net = mf.edge_of_chaos(act.shtanh(a=3.0), sigma_b2=0.1)
    gram, cross = (kernels.ntk(net, rho, 20, width=64, in_features=64) for rho in (images.gram, images.cross))
    ridges = row["diagonal"] * kernel_maps.RIDGES
    errors = ((kernels.KernelRegression(gram).leave_one_out(images.targets, ridges) - images.targets) ** 2).sum(-1)
    errors = errors.mean(axis=1)
    assert row["ridge"] == kernel_maps.RIDGES[np.argmin(errors)]
    assert row["left_out_error"] == pytest.approx(errors.min(), rel=1e-6)
    ridge = row["ridge"] * row["diagonal"]
    outputs = cross @ np.linalg.solve(gram + ridge * np.eye(len(gram)), images.targets)
    assert row["test_accuracy"] == pytest.approx(np.mean(outputs.argmax(axis=1) == images.y_test))
    assert row["stable_rate"] == pytest.approx(2 * len(gram) / np.linalg.eigvalsh(gram)[-1], rel=1e-6)


def test_stages_are_gradient_descent(images: kernel_maps.Images) -> None:
    row = kernel_maps.cell(images, SMALL, *KEY)
    net = mf.edge_of_chaos(act.shtanh(a=3.0), sigma_b2=0.1)
    gram, cross = (kernels.ntk(net, rho, 20, width=64, in_features=64) for rho in (images.gram, images.cross))
    assert row["stable_rate"] > 2e-3, "or the row is gradient flow, in smaller steps"
    steps = [epoch * (1437 // 64) for epoch in kernel_maps.EPOCHS]
    stages = kernels.after_steps(gram, cross, images.targets, rate=1e-3, steps=steps)
    for epoch, outputs in zip(kernel_maps.EPOCHS, stages, strict=True):
        assert row[f"epoch_{epoch}"] == pytest.approx(np.mean(outputs.argmax(axis=1) == images.y_test), abs=0.003)
    assert np.isnan(kernel_maps.cell(images, SMALL, *KEY[:3], "nngp")["epoch_1"])


def test_the_linear_row_is_linear_regression(images: kernel_maps.Images) -> None:
    row = kernel_maps.cell(images, SMALL, *kernel_maps.LINEAR)
    gram = images.gram + row["ridge"] * np.eye(len(images.gram))
    outputs = images.cross @ np.linalg.solve(gram, images.targets)
    assert row["test_accuracy"] == pytest.approx(np.mean(outputs.argmax(axis=1) == images.y_test))


def test_images_are_a_fixed_shuffle_of_centred_inputs(images: kernel_maps.Images) -> None:
    more = kernel_maps.Images(DIGITS, 300)
    np.testing.assert_allclose(more.gram[:200, :200], images.gram, atol=1e-12)
    assert len(set(images.y_train)) == 10
    assert abs(images.targets.sum(axis=1)).max() < 1e-12
    with pytest.raises(ValueError, match="images must be at most 1437"):
        kernel_maps.Images(DIGITS, 1438)


@pytest.mark.slow
def test_a_stopped_table_goes_on_and_another_one_is_refused(tmp_path) -> None:
    settings = kernel_maps.Settings(images=60)
    path, missing = kernel_maps.run(DIGITS, settings, tmp_path, depths=[2], budget=0)
    assert (missing, path.exists()) == (81, False)
    path, missing = kernel_maps.run(DIGITS, settings, tmp_path, depths=[2], echo=lambda line: None)
    rows, manifest = kernel_maps.load(path)
    assert (missing, len(rows), manifest["rows"]) == (0, 81, 81)
    assert manifest["dataset"]["sha256"] == DIGITS.sha256
    assert manifest["settings"] == {"images": 60, "width": 300, "rate": None}
    rows.iloc[:50].to_parquet(path)  # as if it had been stopped there
    kernel_maps.run(DIGITS, settings, tmp_path, depths=[2], echo=lambda line: None)
    again, manifest = kernel_maps.load(path)
    numbers = [column for column in rows if column != "cell_seconds"]
    assert again[numbers].equals(rows[numbers])
    assert [entry["finished"] for entry in manifest["runs"]] == [81, 31]
    manifest["dataset"]["sha256"] = "another"
    path.with_suffix(".json").write_text(json.dumps(manifest))
    with pytest.raises(TableError, match="cannot be continued: its dataset"):
        kernel_maps.run(DIGITS, settings, tmp_path, depths=[2])
    path.with_suffix(".json").unlink()
    with pytest.raises(TableError, match=r"has no manifest .*: put it back, or delete the rows"):
        kernel_maps.load(path)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    settings, folder = kernel_maps.Settings(images=30), tmp_path_factory.mktemp("maps")
    return kernel_maps.run(DIGITS, settings, folder, depths=[3], echo=lambda line: None)[0]


@pytest.fixture
def copied(table, tmp_path) -> Path:
    for suffix in (".parquet", ".json"):
        shutil.copy(table.with_suffix(suffix), tmp_path)
    return tmp_path / table.name


@pytest.mark.slow
@pytest.mark.parametrize("column", ["q", "sigma_w2", "diagonal"])
def test_a_row_that_the_theory_does_not_give_is_refused(column, copied) -> None:
    rows, _ = kernel_maps.load(copied)
    rows.loc[7, column] *= 1 + 1e-6
    rows.to_parquet(copied)
    with pytest.raises(TableError, match=f"has {column} = .*; the theory now gives"):
        kernel_maps.load(copied)


@pytest.mark.slow
def test_a_damaged_table_is_refused_and_never_read_as_other_numbers(copied) -> None:
    rows, _ = kernel_maps.load(copied)
    whole, refused = copied.read_bytes(), 0
    for place in np.linspace(8, len(whole) - 1, 30).astype(int):
        copied.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            read, _ = kernel_maps.load(copied)
            assert read.equals(rows), f"one bit of byte {place} was read as other numbers"
        except TableError:
            refused += 1
    assert refused >= 15
    copied.write_bytes(whole)
    copied.with_suffix(".json").write_text("{}")
    with pytest.raises(TableError, match="no manifest of such a table, or damaged: it has no dataset, settings, runs"):
        kernel_maps.load(copied)


FEW = [kernel_maps.LINEAR, (3, 1.0, 1.0, "nngp"), (3, 1.0, 3.0, "nngp")]


@pytest.mark.parametrize("write", range(6))
def test_whichever_write_is_the_last_the_run_goes_on_and_every_row_has_an_entry(
    tmp_path, monkeypatch, killed_after, write
) -> None:
    monkeypatch.setattr(kernel_maps, "cells", lambda depths: FEW)
    settings = kernel_maps.Settings(images=30)
    with killed_after(kernel_maps, write):
        kernel_maps.run(DIGITS, settings, tmp_path, echo=lambda line: None)
    path, missing = kernel_maps.run(DIGITS, settings, tmp_path, echo=lambda line: None)
    rows, manifest = kernel_maps.load(path)
    assert (missing, len(rows)) == (0, 3)
    assert sum(entry["finished"] for entry in manifest["runs"]) == 3


def test_a_depth_that_is_named_twice_is_one(monkeypatch) -> None:
    assert kernel_maps.cells([3, 5, 3]) == kernel_maps.cells([3, 5])


@pytest.mark.parametrize(
    "wrong", [{"images": 7}, {"width": 0}, {"rate": 0.0}, {"rate": float("nan")}, {"rate": np.inf}]
)
def test_settings_that_cannot_be_meant_are_named(wrong) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        kernel_maps.Settings(**{"images": 30} | wrong)


@pytest.mark.slow
@pytest.mark.parametrize("content", [b'{"dataset": "\xff"}', b"[]", b'{"settings": {"images": 30, "width": 300}}'])
def test_a_damaged_manifest_or_a_renamed_column_is_named(copied, content) -> None:
    rows, _ = kernel_maps.load(copied)
    rows.rename(columns={"kind": "renamed"}).to_parquet(copied)
    with pytest.raises(TableError, match=f"{copied} is no table, or damaged: it has no column kind"):
        kernel_maps.load(copied)
    copied.with_suffix(".json").write_bytes(content)
    with pytest.raises(TableError, match=f"{copied.with_suffix('.json')} is .*damaged"):
        kernel_maps.load(copied)


@pytest.mark.slow
def test_the_command_says_what_it_did(tmp_path) -> None:
    arguments = ["kernel", "--images", "40", "--depths", "1", "--out", str(tmp_path)]
    runner = CliRunner()
    stopped = runner.invoke(cli.app, [*arguments, "--budget", "0s"])
    assert (stopped.exit_code, "81 cells missing" in stopped.output) == (cli.Exit.STOPPED_EARLY, True)
    done = runner.invoke(cli.app, arguments)
    assert (done.exit_code, "0 cells missing" in done.output) == (0, True)
    assert (tmp_path / "kernel-40-width-300-digits.parquet").exists()
    for wrong in (["--depths", "a"], ["--images", "5000"], ["--data", "nothing"], ["--depths", "0"]):
        refused = runner.invoke(cli.app, [*arguments, *wrong])
        assert (refused.exit_code, "error: " in refused.output) == (cli.Exit.FAILED, True)

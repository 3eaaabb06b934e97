"""`afli verify`: code that gives a table's numbers is accepted, code that does not is refused."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from afli import experiments
from afli.experiments import Experiment, Grid, Table, TableError, executors, presets, provenance, verification
from afli.networks import products


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A small table of a preset of its own, made by this code on this machine."""
    cells = [(a, weights, rate) for rate in (3e-3, 1e-2) for weights in presets.WEIGHTS for a in (3.0, 12.0)]
    made = [
        Experiment(
            depth=3, width=16, activation="shtanh", parameters=(("a", a),), sigma_b2=1.0, weights=weights,
            learning_rate=rate, epochs=3, record=(0, 1, 2),
        )
        for a, weights, rate in cells
    ]  # fmt: skip
    monkeypatch.setitem(presets.PRESETS, "verified", lambda profile: made)
    grid = Grid("verified", "smoke", tuple(made))
    return experiments.run(grid, tmp_path, echo=lambda line: None).table


@pytest.fixture
def change_manifest(edit_manifest):
    return lambda path, **changes: edit_manifest(path.with_suffix(".json"), lambda manifest: manifest.update(changes))


@pytest.fixture
def on_another_machine(change_manifest):
    """Call it to say that a table was made elsewhere."""
    return lambda path: change_manifest(
        path, runs=[run | {"machine": "another"} for run in Table(path).manifest["runs"]]
    )


def test_unchanged_code_gives_the_same_numbers_bit_for_bit(table):
    found = experiments.verify(table)
    assert (found.networks, found.exact, found.agreeing) == (4, 4, 4)
    (entry,) = Table(table).manifest["verified"]
    assert entry["code"] == provenance.code_hash()
    assert entry["exact"] == entry["networks"] == 4
    experiments.verify(table)
    assert len(Table(table).manifest["verified"]) == 1  # the same code on the same machine is said once


def test_changed_code_with_the_same_numbers_is_accepted_after_verification(table, change_manifest):
    change_manifest(table, code="0" * 16)
    grid = experiments.grid("verified", "smoke")
    with pytest.raises(TableError, match="afli verify"):
        experiments.run(grid, table.parent, echo=lambda line: None)
    experiments.verify(table)
    assert experiments.run(grid, table.parent, echo=lambda line: None).missing == 0
    assert Table(table).manifest["code"] == "0" * 16


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_step_size_that_is_half_as_large_again_is_refused(table, monkeypatch, on_another_machine, elsewhere):
    if elsewhere:
        on_another_machine(table)
    update = products.Products.update
    monkeypatch.setattr(products.Products, "update", lambda self, w, z, delta: update(self, w, z, 1.5 * delta))
    with pytest.raises(TableError, match="is not what the code now gives"):
        experiments.verify(table)
    assert "verified" not in Table(table).manifest or not Table(table).manifest["verified"]


@pytest.mark.slow
def test_another_machine_may_round_differently_and_this_one_may_not(table, on_another_machine):
    frame = pd.read_parquet(table)
    frame.loc[frame["epoch"] > 0, "test_loss"] *= 1 + 1e-6
    frame.to_parquet(table)
    with pytest.raises(TableError, match="on the machine type that made it"):
        experiments.verify(table)
    on_another_machine(table)
    found = experiments.verify(table)
    assert (found.exact, found.agreeing) == (0, 4)
    frame.loc[frame["epoch"] == 2, "test_accuracy"] -= 0.02
    frame.to_parquet(table)
    with pytest.raises(TableError, match=r"the closest differs by 0\.02"):
        experiments.verify(table)


def test_other_images_are_refused(table, change_manifest):
    change_manifest(table, dataset=Table(table).manifest["dataset"] | {"sha256": "0" * 64})
    with pytest.raises(TableError, match="is on digits, sha256 000"):
        experiments.verify(table)


def test_golden_networks_are_of_every_kind_and_the_calmest(table):
    kept = Table(table)
    strata = verification.golden(experiments.grid("verified", "smoke"), kept.frame, 4)
    assert [{e.weights for e in stratum} for stratum in strata] == [{"orthogonal"}, {"gaussian"}]
    assert {e.learning_rate for stratum in strata for e in stratum} == {3e-3}


def test_a_table_of_which_nothing_can_be_trained_again_is_not_accepted(table, monkeypatch, change_manifest):
    change_manifest(table, code="0" * 16)
    made = experiments.grid("verified", "smoke").experiments
    with monkeypatch.context() as patch:
        patch.setitem(presets.PRESETS, "verified", lambda profile: [replace(each, depth=4) for each in made])
        with pytest.raises(
            TableError, match="cannot be verified: of its experiments there are 8 that its preset has not"
        ):
            experiments.verify(table)
    frame = pd.read_parquet(table)
    frame[frame["epoch"] == 0].to_parquet(table, index=False)
    with pytest.raises(TableError, match="none that has been trained"):
        experiments.verify(table)
    assert not Table(table).manifest["verified"]


def test_rows_that_contradict_their_keys_are_neither_verified_nor_merged(table, tmp_path):
    pd.read_parquet(table).assign(depth=4).to_parquet(table, index=False)
    for use in (lambda: experiments.verify(table), lambda: experiments.merge([table], tmp_path / "merged")):
        with pytest.raises(TableError, match="says other settings than its preset in depth"):
            use()


def test_images_without_a_name_to_load_them_by_are_asked_for(table, change_manifest):
    change_manifest(table, dataset=Table(table).manifest["dataset"] | {"label": "mine"})
    with pytest.raises(TableError, match="is on mine: say where these images are, with --data npz:FILE"):
        experiments.verify(table)


def test_the_code_that_is_accepted_is_the_code_that_ran(table, monkeypatch):
    """Not that of files which were edited after they were imported."""
    monkeypatch.setattr(provenance, "_hash", lambda modules: "f" * 16)
    provenance.code_hash.cache_clear()
    try:
        experiments.verify(table)
    finally:
        provenance.code_hash.cache_clear()
    assert [entry["code"] for entry in Table(table).manifest["verified"]] == [executors.CODE]

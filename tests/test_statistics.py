"""Means, intervals and pairs, and the refusal of tables that are not what they say."""

import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from afli import meanfield
from afli.claims import ClaimRefuted
from afli.claims.tables import level
from afli.experiments import Table, TableError, spec, statistics

NAME = "fig7-laptop-digits"


def row(trial, accuracy, **settings):
    fixed = {
        "dataset": "digits", "depth": 20, "width": 64, "normalisation": "sphere", "weights": "orthogonal",
        "phi": "x", "optimiser": "sgd", "schedule": "", "sigma_b2": 1.0, "a": 1.0,
        "learning_rate": 1e-3, "epoch": 10, "epochs": 10, "diverged": False,
    }  # fmt: skip
    return fixed | {"trial": trial, "test_accuracy": accuracy} | settings


def test_interval_of_a_known_sample():
    found = statistics.mean_interval([1.0, 2.0, 3.0])
    assert (found.mean, found.n) == (2.0, 3)
    assert found.half_width == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    assert found.half_width == pytest.approx(2 - stats.ttest_1samp([1, 2, 3], 0).confidence_interval().low)


def test_interval_covers_the_mean_of_95_in_100_samples():
    samples = np.random.default_rng(1).normal(3.0, 2.0, size=(2000, 4))
    found = [statistics.mean_interval(sample) for sample in samples]
    assert np.mean([i.low <= 3.0 <= i.high for i in found]) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("values", [[], [1.0, np.nan]])
def test_no_interval_without_numbers(values):
    with pytest.raises(ValueError, match="values must be"):
        statistics.mean_interval(values)


def test_pairing_removes_what_trials_share():
    noise = np.random.default_rng(0).normal(size=5)
    left = pd.DataFrame([row(t, noise[t] + 0.1 + 0.001 * t) for t in range(5)])
    right = pd.DataFrame([row(t, noise[t]) for t in reversed(range(5))])
    found = statistics.paired_difference(left, right)
    assert found.mean == pytest.approx(0.102)
    assert found.half_width < 0.003 < statistics.mean_interval(left["test_accuracy"]).half_width


def test_unpaired_trials_are_refused():
    with pytest.raises(ValueError, match="trials must pair up"):
        statistics.paired_difference(pd.DataFrame([row(0, 1.0)]), pd.DataFrame([row(1, 1.0)]))


def test_a_diverged_run_counts_as_guessing_and_incomplete_trials_are_left_out():
    rows = [row(0, np.nan, diverged=True), row(1, 0.9), row(0, 0.8, sigma_b2=0.1), row(0, 0.3, epoch=5)]
    assert sorted(statistics.final(pd.DataFrame(rows))["test_accuracy"]) == [0.1, 0.8]


def test_best_rate_is_that_of_the_highest_mean_not_of_the_best_trial():
    rows = [row(0, 0.2, learning_rate=1.0), row(1, 0.9, learning_rate=1.0), row(0, 0.6), row(1, 0.6)]
    assert set(statistics.at_best_rate(pd.DataFrame(rows))["learning_rate"]) == {1e-3}


@pytest.mark.parametrize(
    ("right", "left", "found"),
    [
        ((0.1, 0.11), (0.2, 0.21), (True, True, True)),
        ((0.1, -0.05), (0.2, 0.21), (False, True, False)),  # not clear on the right
        ((0.1, 0.11), (0.2, -0.15), (True, False, False)),  # not clear on the left
        ((-0.1, -0.11), (0.2, 0.21), (False, True, False)),  # best at the right end
        ((0.1, 0.11), (-0.1, -0.11), (True, False, False)),  # best at the left end
    ],
)
def test_a_ridge_is_a_clear_lead_over_both_ends(right, left, found):
    rows = [row(t, 0.5, a=5.0) for t in (0, 1)]
    rows += [row(t, 0.5 - right[t], a=30.0) for t in (0, 1)] + [row(t, 0.5 - left[t], a=1.0) for t in (0, 1)]
    (judged,) = statistics.ridges(pd.DataFrame(rows)).to_dict("records")
    assert (judged["right_flank"], judged["left_flank"], judged["ridge"]) == found


def map_of(accuracy, trials=5, rows=5):
    rng = np.random.default_rng(3)
    shared = rng.normal(0, 0.01, size=(trials, 8))  # rows share their draws
    return pd.DataFrame([
        row(t, accuracy(a) + shared[t, i] + rng.normal(0, 0.002), a=float(a), sigma_b2=10.0**-v)
        for v in range(rows) for t in range(trials) for i, a in enumerate((1, 2, 3, 5, 8, 12, 20, 30))
    ])  # fmt: skip


def test_a_map_with_a_ridge_is_no_chance():
    with_ridge = map_of(lambda a: 0.1 * (3 <= a <= 12))
    assert statistics.ridges(with_ridge)["ridge"].all()
    assert statistics.chance_of_ridges(with_ridge, draws=99) <= 0.03


@pytest.mark.slow
def test_rows_that_share_draws_are_judged_together():
    """Without an effect, like rows show many ridges about as often as one: the product rule would not say so."""
    rng = np.random.default_rng(0)
    p = []
    for _ in range(40):
        shared = rng.normal(0, 0.01, size=(5, 8))
        rows = [
            row(t, shared[t, i], a=float(a), sigma_b2=10.0**-v)
            for v in range(3) for t in range(5) for i, a in enumerate((1, 2, 3, 5, 8, 12, 20, 30))
        ]  # fmt: skip
        p.append(statistics.chance_of_ridges(pd.DataFrame(rows), "right_flank", draws=60))
    assert np.mean(np.array(p) <= 0.1) <= 0.25


def test_level_is_more_than_unresolved():
    assert level([statistics.Interval(0.001, 0.004, 5)], 0.01, domain="").margin > 0
    for unresolved in (statistics.Interval(0.001, 0.02, 5), statistics.Interval(-0.02, 0.004, 5)):
        with pytest.raises(ClaimRefuted):
            level([unresolved], 0.01, domain="")


@pytest.fixture
def copy(tmp_path):
    for suffix in (".json", ".parquet"):
        shutil.copy(statistics.RESULTS / f"{NAME}{suffix}", tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_table_as_committed_is_loaded(copy):
    assert len(statistics.load(NAME, copy)) == 4000


def test_a_table_of_other_code_is_refused(copy, edit_manifest):
    edit_manifest(copy / f"{NAME}.json", lambda manifest: manifest.update(code="0" * 16, verified=[]))
    with pytest.raises(TableError, match="made by code 0000000000000000"):
        statistics.load(NAME, copy)


@pytest.mark.parametrize(("column", "value"), [("sigma_b2", 0.5), ("trial", 77), ("weights", "gaussian")])
def test_a_table_whose_rows_say_other_settings_is_refused(copy, column, value):
    frame = Table(copy / NAME).frame
    frame.loc[0, column] = value
    frame.to_parquet(copy / f"{NAME}.parquet")
    with pytest.raises(TableError, match=f"other settings than its preset in {column}"):
        statistics.load(NAME, copy)


def test_settings_that_no_experiment_has_are_refused(copy):
    frame = Table(copy / NAME).frame
    frame.loc[0, ["experiment", "sigma_b2"]] = ["0" * 16, 0.5]
    frame.to_parquet(copy / f"{NAME}.parquet")
    with pytest.raises(TableError, match="holds 1 experiments with other settings than its preset"):
        statistics.load(NAME, copy)


def test_keys_follow_from_the_settings_so_that_old_tables_keep_their_rows(copy):
    frame = Table(copy / NAME).frame
    known = frame["experiment"].copy()
    frame["experiment"] = "an older key " + frame["experiment"]
    frame.to_parquet(copy / f"{NAME}.parquet")
    assert statistics.load(NAME, copy)["experiment"].tolist() == known.tolist()


@pytest.mark.parametrize("column", ["q", "sigma_w2"])
def test_a_table_of_another_theory_is_refused(copy, column):
    frame = Table(copy / NAME).frame
    frame.loc[frame["experiment"] == frame["experiment"].iloc[7], column] *= 1.1
    frame.to_parquet(copy / f"{NAME}.parquet")
    with pytest.raises(TableError, match=f"has {column} = .*the theory now gives"):
        statistics.load(NAME, copy)


def test_a_wrong_theory_is_refused_by_every_table(copy, monkeypatch):
    """q* ten per cent too large, where it is computed."""
    right = meanfield.critical_variance
    monkeypatch.setattr(meanfield, "critical_variance", lambda *args, **options: 1.1 * right(*args, **options))
    spec.edge_of_chaos.cache_clear()
    with pytest.raises(TableError, match=r"has q = .*the theory now gives"):
        statistics.load(NAME, copy)
    monkeypatch.undo()
    spec.edge_of_chaos.cache_clear()


@pytest.mark.slow
def test_an_incomplete_table_is_refused_unless_the_part_is_named(copy):
    frame = Table(copy / NAME).frame
    gone = (frame["trial"] == 4) & (frame["depth"] == 50) & (frame["a"] == 30.0)
    frame[~gone].to_parquet(copy / f"{NAME}.parquet")
    with pytest.raises(TableError, match="has 790 of 800 experiments: say which part"):
        statistics.load(NAME, copy)
    assert set(statistics.load(NAME, copy, part={"depth": 20})["depth"]) == {20}
    assert len(statistics.load(NAME, copy, part={"trial": range(4)})) == 3200
    with pytest.raises(TableError, match="has 390 of 400 experiments of the part"):
        statistics.load(NAME, copy, part={"depth": 50})
    with pytest.raises(TableError, match="part must name settings, got depths"):
        statistics.load(NAME, copy, part={"depths": 50})


def test_stages_of_unfinished_experiments_are_a_part(copy):
    frame = Table(copy / NAME).frame
    late = (frame["trial"] == 4) & (frame["epoch"] > 2)
    frame[~late].to_parquet(copy / f"{NAME}.parquet")
    early = statistics.load(NAME, copy, part={"trial": 4, "epoch": [0, 1, 2]})
    assert len(early) == 160 * 3
    with pytest.raises(TableError, match="has 0 of 160"):
        statistics.load(NAME, copy, part={"trial": 4, "epoch": [0, 5]})


@pytest.mark.slow
def test_reading_a_table_loads_no_torch():
    code = (
        "import sys; from afli.experiments import statistics; statistics.load('fig8-laptop-digits');"
        "print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_rates_are_chosen_on_the_validation_part_where_there_is_one():
    rows = [
        row(0, 0.9, learning_rate=1.0, validation_accuracy=0.5), row(0, 0.6, validation_accuracy=0.7),
    ]  # fmt: skip
    assert set(statistics.at_best_rate(pd.DataFrame(rows))["learning_rate"]) == {1e-3}


def test_an_absent_table_is_refused(tmp_path):
    with pytest.raises(TableError, match="there is no table"):
        statistics.load(NAME, tmp_path)


def test_without_the_repository_the_message_says_where_tables_are(tmp_path):
    with pytest.raises(TableError, match="tables are in the repository, not in an installed package"):
        statistics.load(NAME, tmp_path / "results")


@pytest.mark.slow
def test_a_stored_row_can_be_trained_again_and_a_false_one_is_found_out(copy):
    cell = {"depth": 20, "a": 12.0, "sigma_b2": 1.0}
    compared = statistics.train_again(NAME, folder=copy, **cell)
    assert compared["epoch"].tolist() == [0, 1, 2]
    assert (compared["stored"] - compared["again"]).abs().max() <= 0.01
    frame = Table(copy / NAME).frame
    frame.loc[frame["epoch"] == 2, "test_accuracy"] -= 0.03
    frame.to_parquet(copy / f"{NAME}.parquet")
    with pytest.raises(TableError, match=r"cannot be reproduced here: test accuracy differs by 0\.0[23]"):
        statistics.train_again(NAME, folder=copy, **cell)


def test_a_cell_that_is_not_in_the_table_is_named(copy):
    with pytest.raises(TableError, match="has no experiment with"):
        statistics.train_again(NAME, folder=copy, depth=21)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: pd.concat([rows, rows.tail(1)]), "holds a row twice"),
        (lambda rows: rows.assign(test_accuracy=rows["test_accuracy"].where(rows.index != 3, 1.5)), "above 1"),
        (lambda rows: rows.drop(index=rows.index[rows["epoch"] == 2][0]), "lacks a stage of training of 1 exp"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(tmp_path, change, message):
    name = "fig8-laptop-digits"
    for ending in ("json", "parquet"):
        shutil.copy(statistics.RESULTS / f"{name}.{ending}", tmp_path)
    change(pd.read_parquet(tmp_path / f"{name}.parquet")).to_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(TableError, match=message):
        statistics.load(name, tmp_path)

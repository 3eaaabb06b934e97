"""What the pages of Section 4 compute from tables, on rows made by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from afli.experiments import analysis, statistics


def rows(curves: dict[str, list[float]], *, trials: int = 1, **settings) -> pd.DataFrame:
    """A row per curve, trial and epoch, with these accuracies of epochs 0, 1, ...; trial t is t / 1000 better."""
    fixed = {
        "depth": 20, "sigma_b2": 1.0, "schedule": "", "learning_rate": 1e-3, "weights": "orthogonal", "width": 64,
        "normalisation": "sphere", "optimiser": "sgd", "phi": "shtanh", "dataset": "digits", "diverged": False,
    }  # fmt: skip
    return pd.DataFrame([
        fixed | settings | {
            "experiment": f"{name}-{trial}", "a": float(name), "trial": trial, "epoch": epoch,
            "epochs": len(accuracies) - 1, "test_accuracy": accuracy + trial / 1000, "train_accuracy": accuracy,
        }
        for name, accuracies in curves.items() for trial in range(trials) for epoch, accuracy in enumerate(accuracies)
    ])  # fmt: skip


def test_the_first_stage_is_the_first_at_the_level_and_infinite_if_never():
    table = rows({"1": [0.1, 0.3, 0.5, 0.45], "3": [0.1, 0.2, 0.3, 0.39]})
    found = analysis.first_stage(table, 0.4)
    assert found["1-0"] == 2
    assert found["3-0"] == math.inf
    assert analysis.first_stage(table, 0.3)["3-0"] == 2  # reached, not only passed


def test_a_report_of_single_networks_keeps_the_order_of_the_radii():
    table = rows({"3": [0.1, 0.5], "8": [0.1, 0.3], "30": [0.1, 0.2]})
    report = analysis.paper_report(table)
    assert list(report.index.get_level_values("network")) == ["a = 3", "a = 8", "a = 30"]
    assert list(report["epochs to 40% in training"]) == ["1", "-", "-"]
    assert list(report["test accuracy"]) == [50.0, 30.0, 20.0]


def test_leads_are_over_the_curve_that_is_named():
    last = statistics.final(rows({"10": [0.1, 0.9], "5": [0.1, 0.88], "2": [0.1, 0.5]}, trials=3))
    over_ten = analysis.fall_leads(last).set_index("curve")["lead"]
    assert over_ten["a = 5"].mean == pytest.approx(0.02)
    assert over_ten["a = 10"].mean == 0
    assert analysis.fall_leads(last, over="a = 2").set_index("curve")["lead"]["a = 10"].mean == pytest.approx(-0.4)


def test_training_time_in_a_report_is_that_of_the_mean_over_trials():
    table = rows({"10": [0.1, 0.6, 0.995, 1.0], "2": [0.1, 0.2, 0.3, 0.4]}, trials=3)
    report = analysis.fall_report(analysis.fall_leads(statistics.final(table)), table)
    found = report["epochs to 99% in training"].droplevel(["depth", "bias variance"])
    assert (found["a = 10"], found["a = 2"]) == ("2", "-")


def test_flanks_of_a_map_are_counted():
    ridge = rows({"1": [0.1, 0.5], "8": [0.1, 0.9], "30": [0.1, 0.6]}, trials=3)
    slope = rows({"1": [0.1, 0.9], "8": [0.1, 0.8], "30": [0.1, 0.6]}, trials=3, sigma_b2=0.01)
    noise = np.random.default_rng(0).normal(0, 1e-3, size=18)
    last = statistics.final(pd.concat([ridge, slope], ignore_index=True))
    found = analysis.flank_counts(last.assign(test_accuracy=last["test_accuracy"] + noise))
    assert (found["right"], found["left"], found["both"]) == (2, 1, 1)
    assert found["best a, by falling bias variance"] == "8, 1"


def test_a_report_of_a_race_points_to_rates_that_were_not_tried_and_counts_epochs_over_trials():
    def contestant(rate: float, epochs: list[float]) -> pd.DataFrame:
        return pd.DataFrame({
            "learning_rate": rate, "rates": [[0.1, 0.3, 1.0]] * len(epochs), "epochs_to_90": epochs,
            "test_accuracy": 0.9, "train_accuracy": 1.0, "diverged_runs": 2, "all_runs": 9,
        })  # fmt: skip

    keys = [("sgd", "tanh", 0.1), ("sgd", "elu", 0.1), ("adam", "tanh", 0.1)]
    found = [contestant(0.1, [5, 2, 5]), contestant(1.0, [math.inf, 10, 20, 20]), contestant(0.3, [math.inf] * 4)]
    report = analysis.race_report(dict(zip(keys, found, strict=True)))
    assert list(report["rate"]) == ["0.1 ↓", "1 ↑", "0.3"]
    assert list(report["epochs to 90%"]) == ["2, 5", "10 to never", "never"]
    assert list(report["diverged"]) == ["2 of 9"] * 3
    assert list(report.index) == keys

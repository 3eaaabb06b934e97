"""The grids that ask the questions of Section 4."""

import numpy as np
import pytest

from afli import experiments


def cells(grid):
    return {(dict(e.parameters)["a"], e.sigma_b2) for e in grid}


def test_the_learning_rate_test_covers_the_map_of_figure_7():
    assert cells(experiments.grid("learning-rate", "laptop")) == cells(experiments.grid("fig7", "laptop"))
    assert len(cells(experiments.grid("learning-rate", "laptop"))) == 8 * 5


@pytest.mark.parametrize("preset", ["learning-rate", "activations", "normalisation"])
def test_every_competitor_gets_the_same_number_of_rates_and_trials(preset):
    grid = experiments.grid(preset, "laptop")
    budgets = {}
    for e in grid:
        budgets.setdefault((e.depth, e.phi.name, e.sigma_b2, e.normalisation), set()).add((e.learning_rate, e.trial))
    for depth in {key[0] for key in budgets}:
        assert len({frozenset(budget) for key, budget in budgets.items() if key[0] == depth}) == 1
    assert len({rate for rate, _ in next(iter(budgets.values()))}) >= 3


def test_the_scaled_rate_times_q_is_one_of_three_constants():
    products = [e.learning_rate * e.mean_field.q for e in experiments.grid("scaled-rate", "laptop")]
    constants = np.array([0.01, 0.03, 0.1])
    relative = np.abs(np.array(products)[:, None] / constants - 1)
    assert relative.min(axis=1).max() < 1e-5
    assert set(relative.argmin(axis=1)) == {0, 1, 2}


@pytest.mark.parametrize(("profile", "ends"), [("laptop", {2, 5, 32}), ("paper", {5, 80})])
def test_figure_8_reads_the_first_few_epochs_in_every_way(profile, ends):
    grid = experiments.grid("fig8", profile)
    assert {e.schedule.epochs for e in grid if e.schedule and e.schedule.stop == 2.0} == ends
    assert {dict(e.parameters)["a"] for e in grid if e.schedule is None} == {2.0, 5.0, 10.0}


def test_depth_over_width_spans_a_factor_of_ten():
    ratios = [e.depth / e.width for e in experiments.grid("width", "laptop")]
    assert max(ratios) / min(ratios) > 10


def test_one_trial_of_the_map_is_finished_before_the_next_begins():
    for preset in ("learning-rate", "scaled-rate", "width", "normalisation"):
        trials = [e.trial for e in experiments.grid(preset, "laptop")]
        assert trials == sorted(trials)


def test_an_experiment_of_other_epochs_is_tested_at_their_stages():
    smoke = experiments.PROFILES["smoke"]
    assert smoke.experiment("tanh", depth=2, sigma_b2=0.1, epochs=1).record == (0, 1)
    assert smoke.experiment("tanh", depth=2, sigma_b2=0.1, epochs=30).record == (0, 1, 2, 5, 10, 20, 30)

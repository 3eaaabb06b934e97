"""The activations of the article's recipe (Part I), from the table that `afli run choose` wrote."""

from __future__ import annotations

import pandas as pd

from afli.experiments import presets, statistics


def chosen() -> pd.DataFrame:
    """From the table that `afli run choose` wrote, a row per activation, sigma_b2 and depth, at the best of its rates.

    accuracy: mean and 95% interval over the trials; a diverged run counts as guessing. diverged: runs, at all rates.
    R(0), attracts: of the start that theory gives; attracts says whether V'(q*) < 1.
    """
    table = statistics.load("choose-laptop-digits")
    last = statistics.final(table)
    cell = ["phi", "sigma_b2", "depth"]
    groups = statistics.at_best_rate(last).groupby(cell)
    rows = groups.agg(learning_rate=("learning_rate", "first")).join(last.groupby(cell)["diverged"].sum())
    rows["accuracy"] = groups["test_accuracy"].apply(statistics.mean_interval)
    starts = {(e.phi.name, e.sigma_b2): e.mean_field for e in presets.grid("choose", "laptop")}
    rows = rows.reset_index()
    nets = [starts[key] for key in zip(rows["phi"], rows["sigma_b2"], strict=True)]
    rows["R(0)"] = [round(float(net.correlation_map(0.0)), 4) for net in nets]
    return rows.assign(attracts=[net.variance_slope < 1 - 1e-9 for net in nets])

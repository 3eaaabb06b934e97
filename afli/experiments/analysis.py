"""What the pages of Section 4 compute from the tables, each function once: pages show it, claims check it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from afli import activations as act
from afli import isometry
from afli.experiments import statistics
from afli.experiments.spec import edge_of_chaos

__all__ = [
    "PAPER_CELLS", "PAPER_FALLS", "PAPER_MARGIN", "at_rate", "axes_of", "bias_leads", "cells", "curve_names",
    "fall_leads", "fall_report", "family_maps", "family_maps_of_photographs", "final_rows", "first_stage",
    "flank_counts", "flank_counts_by_rate", "long_race", "only", "orthogonal_leads", "paper_cells", "paper_falls",
    "paper_report", "predictions", "race", "race_report", "ridge_report", "scaled_rows", "stages",
]  # fmt: skip


def only(frame: pd.DataFrame, **settings: Any) -> pd.DataFrame:
    """The rows with these settings."""
    for column, value in settings.items():
        frame = frame[frame[column] == value]
    return frame


def final_rows(name: str, *, part: Mapping[str, object] | None = None, **settings: Any) -> pd.DataFrame:
    """The rows of a committed table, or of a part of it, after its last epoch, with these settings."""
    return only(statistics.final(statistics.load(name, part=part)), **settings)


def at_rate(last: pd.DataFrame, rate: float | None) -> pd.DataFrame:
    """The rows at one learning rate; None: at the best of each cell, see `statistics.at_best_rate`."""
    return statistics.at_best_rate(last) if rate is None else only(last, learning_rate=rate)


def scaled_rows(name: str) -> pd.DataFrame:
    """The rows of a `scaled-rate` table after the last epoch, with c = learning rate times q* as a column."""
    last = final_rows(name)
    c = [float(f"{rate * q:.3g}") for rate, q in zip(last["learning_rate"], last["q"], strict=True)]
    return last.assign(c=c)


def bias_leads(rows: pd.DataFrame, other: float) -> dict[tuple[int, str], statistics.Interval]:
    """Per map (depth, weights): the lead of sigma_b2 = 0.01 over another, accuracy averaged over a, trials paired."""
    leads = {}
    for key, cells in rows.groupby(["depth", "weights"]):
        means = cells.groupby(["sigma_b2", "trial"])["test_accuracy"].mean().reset_index()
        leads[key] = statistics.paired_difference(only(means, sigma_b2=0.01), only(means, sigma_b2=other))
    return leads


def curve_names(rows: pd.DataFrame) -> list[str]:
    """What the curve of each row of a Figure 8 table is called: "a = 10", or how its a falls."""
    return [fall or f"a = {a:g}" for a, fall in zip(rows["a"], rows["schedule"], strict=True)]


def fall_leads(last: pd.DataFrame, over: str = "a = 10") -> pd.DataFrame:
    """How far one curve of Figure 8 ends above every other, trial by trial, each at the rates that `last` has.

    last: rows after the last epoch, one rate per curve. Returns a row per depth, sigma_b2 and curve: accuracy and lead,
    both intervals, and the curve's learning rate.
    """
    rows = []
    for (depth, sigma_b2), group in last.assign(curve=curve_names(last)).groupby(["depth", "sigma_b2"]):
        reference = only(group, curve=over)
        for curve, own in group.groupby("curve"):
            accuracy = statistics.mean_interval(own["test_accuracy"])
            lead = statistics.paired_difference(reference, own)
            rate = own["learning_rate"].iloc[0]
            rows.append({"depth": depth, "sigma_b2": sigma_b2, "curve": curve, "accuracy": accuracy, "lead": lead,
                         "learning_rate": rate})  # fmt: skip
    return pd.DataFrame(rows)


def fall_report(leads: pd.DataFrame, rows: pd.DataFrame | None = None, level: float = 0.99) -> pd.DataFrame:
    """The outcome of `fall_leads` over a = 10 in percent, for reading.

    rows: all stages of the same networks; with them, the first stage at which the mean training accuracy is `level`.
    """
    columns = {
        "depth": leads["depth"], "bias variance": leads["sigma_b2"], "curve": leads["curve"],
        "rate": [f"{rate:g}" for rate in leads["learning_rate"]],
        "accuracy": [_percent(found) for found in leads["accuracy"]],
        "lead of a = 10": [
            "" if curve == "a = 10" else _percent(found)
            for curve, found in zip(leads["curve"], leads["lead"], strict=True)
        ],
    }  # fmt: skip
    report = pd.DataFrame(columns).set_index(["depth", "bias variance", "curve"])
    if rows is None:
        return report
    settings = ["depth", "sigma_b2", "curve"]
    means = rows.assign(curve=curve_names(rows)).groupby([*settings, "epoch"])["train_accuracy"].mean().reset_index()
    epochs = means[means["train_accuracy"] >= level].groupby(settings)["epoch"].min()
    shown = epochs.reindex(report.index).map(lambda epoch: "-" if pd.isna(epoch) else f"{epoch:.0f}")
    return report.assign(**{f"epochs to {100 * level:.0f}% in training": shown})


def race(depth: int) -> dict[tuple[str, float], pd.DataFrame]:
    """Per activation and sigma_b2, three trials, 220 steps: the rows at its best rate (chosen on the test images).

    Rows are those after the last epoch, with epochs_to_90: the first tested epoch at 90% test accuracy or more,
    infinite if there is none.
    """
    return _at_their_best(only(statistics.load("activations-laptop-digits"), depth=depth), ["phi", "sigma_b2"])


def long_race(**settings: Any) -> dict[tuple[str, str, float], pd.DataFrame]:
    """Per optimiser, activation and sigma_b2, depth 200, ten splits: the rows at the validated rate, as in `race`."""
    table = only(statistics.load("activations-splits-digits"), **settings)
    return _at_their_best(table, ["optimiser", "phi", "sigma_b2"])


def _at_their_best(table: pd.DataFrame, keys: list[str]) -> dict[Any, pd.DataFrame]:
    last = statistics.final(table)
    best = statistics.at_best_rate(last)
    runs = last.groupby(keys)["diverged"]
    best = best.assign(
        epochs_to_90=best["experiment"].map(first_stage(table, 0.9, "test_accuracy")),
        rates=best.set_index(keys).index.map(last.groupby(keys)["learning_rate"].unique()),
        diverged_runs=best.set_index(keys).index.map(runs.sum()), all_runs=best.set_index(keys).index.map(runs.size()),
    )  # fmt: skip
    return dict(list(best.groupby(keys)))


def race_report(found: Mapping[Any, pd.DataFrame]) -> pd.DataFrame:
    """The outcome of `race` or `long_race`, for reading: each contestant at its own rate, accuracies in percent.

    A rate at an end of those that were tried has an arrow towards what was not tried. Epochs are the distinct ones of
    the runs, or their range.
    """
    rows = []
    for runs in found.values():
        first = runs.iloc[0]
        epochs = [f"{e:.0f}" if e < float("inf") else "never" for e in runs["epochs_to_90"].sort_values()]
        distinct = list(dict.fromkeys(epochs))
        ends = dict.fromkeys((epochs[0], epochs[-1]))
        fitted = (  # the first tables did not record the training accuracy
            {"training (%)": _percent(statistics.mean_interval(runs["train_accuracy"]))}
            if "train_accuracy" in runs
            else {"training loss": round(float(runs["train_loss"].mean()), 2)}
        )
        rows.append({
            "rate": _rate(first["learning_rate"], first["rates"]),
            "test (%)": _percent(statistics.mean_interval(runs["test_accuracy"])),
            **fitted,
            "epochs to 90%": ", ".join(distinct) if len(epochs) < 4 else " to ".join(ends),
            "diverged": f"{first['diverged_runs']} of {first['all_runs']}",
        })  # fmt: skip
    names = ["optimiser", "activation", "bias variance"]
    index = pd.MultiIndex.from_tuples(list(found), names=names[-len(next(iter(found))) :])
    return pd.DataFrame(rows, index=index)


def _rate(rate: float, tried: Any) -> str:
    return f"{rate:g}" + (" ↓" if rate == min(tried) else " ↑" if rate == max(tried) else "")


def _percent(found: statistics.Interval) -> str:
    return f"{100 * found.mean:.1f} ± {100 * found.half_width:.1f}"


def orthogonal_leads(last: pd.DataFrame) -> pd.DataFrame:
    """Per depth and width: L / n, and the lead of orthogonal over Gaussian weights with its half-width.

    last: rows after the last epoch, one rate for each depth, width and kind of weights.
    """
    rows = []
    for (depth, width), group in last.groupby(["depth", "width"]):
        lead = statistics.paired_difference(only(group, weights="orthogonal"), only(group, weights="gaussian"))
        ratio = depth / width
        rows.append({"depth": depth, "width": width, "ratio": ratio, "lead": lead.mean, "half_width": lead.half_width})
    return pd.DataFrame(rows).sort_values("ratio", ignore_index=True)


def predictions(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per cell: its mean test accuracy, and what theory says of it before training.

    q: the fixed point. depth_scale: q / (sigma_b2 L), the layers that move a correlation by 1 at the pace of Lemma 3.3,
    over the depth. correlation: where correlation 0 is after L layers. jacobian: the variance of eq. (13).
    """
    cells = rows.groupby(["depth", "weights", "a", "sigma_b2"])["test_accuracy"].mean().reset_index()
    nets = [edge_of_chaos(act.shtanh(a=a), v) for a, v in zip(cells["a"], cells["sigma_b2"], strict=True)]
    kinds = list(zip(nets, cells["depth"], cells["weights"], strict=True))
    return cells.assign(
        q=[net.q for net in nets],
        depth_scale=[net.q / (net.sigma_b2 * depth) for net, depth, _ in kinds],
        correlation=[float(net.correlation_trajectory(0.0, int(depth))[-1]) for net, depth, _ in kinds],
        jacobian=[isometry.jacobian_variance(net, int(depth), weights=weights) for net, depth, weights in kinds],
    )


def axes_of(table: pd.DataFrame) -> tuple[list[float], list[float]]:
    """The linear radii of a map, rising, and its bias variances, falling: as Figure 7 draws them."""
    return sorted(table["a"].unique()), sorted(table["sigma_b2"].unique(), reverse=True)


def cells(rows: pd.DataFrame, column: str = "test_accuracy") -> list[list[list[float]]]:
    """Mean and half-width of every cell of a map, each as rows of sigma_b2 by columns of a."""
    radii, variances = axes_of(rows)
    found = {key: statistics.mean_interval(group[column]) for key, group in rows.groupby(["sigma_b2", "a"])}
    return [[[getattr(found[v, a], part) for a in radii] for v in variances] for part in ("mean", "half_width")]


def family_maps(depth: int) -> dict[str, pd.DataFrame]:
    """The last rows of the map of each family, by its name: digits, orthogonal weights, depth 20 or 50."""
    shtanh = final_rows("fig7-laptop-digits", depth=depth, weights="orthogonal")
    others = final_rows("families-laptop-digits", depth=depth)
    return {"Shtanh": shtanh} | {name.capitalize(): rows for name, rows in others.groupby("activation")}


def family_maps_of_photographs() -> dict[str, pd.DataFrame]:
    """The same on CIFAR-10 (JPEG copy), width 100, depth 20, one epoch, two trials."""
    shtanh = final_rows("fig7-small-cifar-10-jpeg-copy", weights="orthogonal")
    shtanh = shtanh[shtanh["trial"].isin((0, 1))]
    others = final_rows("families-small-cifar-10-jpeg-copy", part={"trial": [0, 1]})
    return {"Shtanh": shtanh} | {name.capitalize(): rows for name, rows in others.groupby("activation")}


# The cells of Figure 7 that are trained at the paper's protocol.
PAPER_CELLS = {
    "depth": 20, "weights": "orthogonal", "trial": 0, "sigma_b2": [1.0, 0.01, 1e-4], "a": [1.0, 3.0, 8.0, 30.0],
}  # fmt: skip


def paper_cells(**settings: Any) -> pd.DataFrame:
    """The stages of training of PAPER_CELLS: CIFAR-10 (JPEG copy), width 300, rate 1e-4, batches of 64, 100 epochs."""
    return only(statistics.load("fig7-paper-cifar-10-jpeg-copy", part=PAPER_CELLS), **settings)


# The curves of Figure 8 that are trained at the paper's protocol. Criterion, written down while the second of the seven
# networks was training: a fall *helps* if it ends above the best constant a by more than 1.96 standard errors of the
# difference of two accuracies on 10,000 images each (1.4 points), and *harms* if it ends so far below it. There is one
# trial, so that the spread between networks is not in it.
PAPER_FALLS = {"depth": 20, "sigma_b2": 1.0, "trial": 0}
PAPER_MARGIN = 0.014


def paper_falls() -> pd.DataFrame:
    """The stages of training of PAPER_FALLS, as `paper_cells`, with the name of the curve as a column."""
    rows = statistics.load("fig8-paper-cifar-10-jpeg-copy", part=PAPER_FALLS)
    return rows.assign(curve=curve_names(rows))


def stages(rows: pd.DataFrame, column: str = "test_accuracy", across: str | list[str] = "a") -> pd.DataFrame:
    """Accuracies in percent, stages of training down and another setting across; the mean, where there are trials."""
    return (100 * rows.pivot_table(index="epoch", columns=across, values=column)).round(1)


def first_stage(rows: pd.DataFrame, level: float, column: str = "train_accuracy") -> pd.Series:
    """Per experiment: the first recorded epoch with an accuracy of at least `level`, infinite if there is none."""
    reached = rows[rows[column] >= level].groupby("experiment")["epoch"].min()
    return reached.reindex(rows["experiment"].unique()).fillna(float("inf"))


def paper_report(rows: pd.DataFrame, level: float = 0.4) -> pd.DataFrame:
    """What single networks reached, for reading: accuracies in percent at the end, and how soon they trained."""
    last = rows[rows["epoch"] == rows["epochs"]].sort_values("sigma_b2", ascending=False, kind="stable")
    epochs = first_stage(rows, level).loc[last["experiment"]]
    columns = {
        "bias variance": last["sigma_b2"], "network": curve_names(last),
        "test accuracy": (100 * last["test_accuracy"]).round(1),
        "training accuracy": (100 * last["train_accuracy"]).round(1),
        f"epochs to {100 * level:.0f}% in training": [f"{n:.0f}" if n < float("inf") else "-" for n in epochs],
    }  # fmt: skip
    return pd.DataFrame(columns).set_index(["bias variance", "network"])


def ridge_report(found: pd.DataFrame) -> pd.DataFrame:
    """The outcome of `statistics.ridges` in percentage points, for reading."""

    def points(side: str) -> list[str]:
        pairs = zip(found[side], found[f"{side}_half"], found["n"], strict=True)
        return [_percent(statistics.Interval(*pair)) for pair in pairs]

    verdict = {(True, True): "ridge", (True, False): "right flank", (False, True): "left flank"}
    judged = [verdict.get(pair, "neither") for pair in zip(found["right_flank"], found["left_flank"], strict=True)]
    columns = {"best a": found["best_a"], "lead over largest a": points("right"), "lead over a = 1": points("left")}
    extra = {name: found[name].round(1) for name in found if name.startswith("a /")}
    return pd.DataFrame(columns | extra | {"verdict": judged}).set_index(found["sigma_b2"].rename("bias variance"))


def flank_counts(rows: pd.DataFrame) -> dict[str, object]:
    """Of one map, one rate per cell: its rows with a right flank, a left flank, and both, and the best a of each."""
    found = statistics.ridges(rows)
    return {
        "mean accuracy": f"{100 * rows['test_accuracy'].mean():.1f}",
        "right": found["right_flank"].sum(), "left": found["left_flank"].sum(), "both": found["ridge"].sum(),
        "best a, by falling bias variance": ", ".join(f"{a:g}" for a in found["best_a"]),
    }  # fmt: skip


def flank_counts_by_rate(scans: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Per dataset the `flank_counts` at each rate, and at the best rate per cell."""
    rows = []
    for name, scan in scans.items():
        groups = {f"{rate:g}": group for rate, group in scan.groupby("learning_rate")}
        groups["best per cell"] = statistics.at_best_rate(scan)
        rows += [{"data": name, "rate": rate} | flank_counts(group) for rate, group in groups.items()]
    return pd.DataFrame(rows).set_index(["data", "rate"])

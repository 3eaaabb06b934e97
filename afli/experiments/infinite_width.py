"""Part III: the infinitely wide network. What its maps say, and what trained networks say of them.

The criteria were written down before the committed tables were begun; a first look at 2,000 images, and seven cells,
had been seen. Before the map of 5,000 images was begun that of 2,000 had been seen, by the same criteria. They are:

* Two accuracies on the same test images differ *clearly* if they differ by more than 1.96 standard errors, taken as
  those of two independent samples (which is larger than the paired one). The crest at (depth, sigma_b2) is *inside the
  grid* if the best a beats both ends of the grid clearly. Two-sided: a map that only falls, or only rises, has none.
* The *place* of a crest is the top of the parabola through the best a and its two neighbours, in log a.
* The crest *never moves left* if its place falls by no more than 15% from one value of depth, or sigma_b2, to the next
  larger; 15% is less than half a step of the grid. (Added when depths 20 and 50 were there: a row whose best a does
  not clearly beat a = 30 is flat; it has no crest, and takes no part.)
* A combination of a, sigma_b2 and depth is *kept* along the crests inside the grid if it stays within a factor of 2 of
  its geometric mean while a itself changes by 5 or more. Asked first: sigma_b2 L / a^2, which the first look suggests.
  (The tables do not meet it: a changes 4.2 times. And q* was first that of the best a on the grid; it is now that of
  the crest's place, as a is.)
* The NNGP kernel's crest lies *left* of the tangent kernel's if its place is the smaller one wherever both kernels have
  a crest inside the grid at one depth and sigma_b2. (Written down before the NNGP map of 5,000 images was begun.)
* A crest *keeps its place* with more training images if its place changes by at most 15% where both tables have a
  crest inside the grid. (Written down before the map of 10,000 images, depth 50, was seen.)
* A network at a = 30 *is linear* if its accuracy is within one point of linear regression on the same images.
* Trained networks *follow the limit* if the 95% interval of the rank correlation between their mean accuracies and the
  limit's, over the cells of the map, lies above 0. The interval is Fisher's, with Bonett and Wright's standard error
  for ranks; it takes cells as independent, which neighbours on a map are not, so it is narrower than it should be.
* The predicted stable rate *explains* the best rates if the rank correlation between them has such an interval above
  0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import spearmanr

from afli import activations as act
from afli import meanfield as mf
from afli.experiments import kernel_maps, statistics
from afli.experiments.analysis import final_rows, only, paper_cells

__all__ = [
    "RATE_TABLES", "RankCorrelation", "along_the_crest", "clear_difference", "collapses", "crests",
    "crests_by_images", "crests_of_both_kernels", "images", "linear_accuracy", "map_crests", "map_rows",
    "order_at_one_radius", "paper_stages_beside_limit", "rank_correlation", "rates_beside_limit", "stages_beside_limit",
    "trained_beside_limit", "whole",
]  # fmt: skip

CIFAR = "kernel-5000-width-300-cifar-10-jpeg-copy"
TWICE = "kernel-10000-width-300-cifar-10-jpeg-copy"
NARROW = "kernel-1000-width-100-cifar-10-jpeg-copy"
PAPER_STAGES = "kernel-2000-width-300-stages-cifar-10-jpeg-copy"
DIGITS = "kernel-1437-width-64-stages-digits"


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of n pairs, with its 95% interval."""

    value: float
    low: float
    high: float
    n: int

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def rank_correlation(x: ArrayLike, y: ArrayLike) -> RankCorrelation:
    """Spearman's rank correlation with Fisher's interval, standard error sqrt((1 + r^2 / 2) / (n - 3)) in atanh r."""
    n, r = len(np.asarray(x)), float(spearmanr(x, y)[0])
    if n < 4:
        raise ValueError(f"x must have at least 4 entries for an interval, got {n}")
    half = 1.96 * np.sqrt((1 + r * r / 2) / (n - 3))
    centre = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12))
    return RankCorrelation(r, float(np.tanh(centre - half)), float(np.tanh(centre + half)), n)


def clear_difference(p: ArrayLike, other: ArrayLike, images: ArrayLike) -> np.ndarray:
    """1.96 standard errors of the difference of two accuracies on so many images each, taken as independent."""
    p, other = np.asarray(p, dtype=float), np.asarray(other, dtype=float)
    return np.asarray(1.96 * np.sqrt((p * (1 - p) + other * (1 - other)) / np.asarray(images)))


def map_rows(name: str = CIFAR, kind: str = "ntk") -> pd.DataFrame:
    """The rows of a committed map at infinite width with this kernel, without the linear one."""
    rows, _ = kernel_maps.load(statistics.RESULTS / "kernels" / name)
    return rows[(rows["kind"] == kind) & np.isfinite(rows["a"])]


def crests(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per depth and sigma_b2: best_a, its accuracy, place, leads over both ends of the grid, and inside.

    The crest is inside the grid if its accuracy leads by more than what is needed over both ends.
    """
    found = []
    for (depth, sigma_b2), group in rows.groupby(["depth", "sigma_b2"]):
        line = group.sort_values("a").reset_index(drop=True)
        accuracy, a = line["test_accuracy"].to_numpy(), line["a"].to_numpy()
        best = int(np.argmax(accuracy))
        ends = accuracy[[0, -1]]
        lead = accuracy[best] - ends
        needed = clear_difference(accuracy[best], ends, line["test_images"].iloc[0])
        found.append({
            "depth": depth, "sigma_b2": sigma_b2, "best_a": a[best], "accuracy": accuracy[best],
            "place": _top(np.log(a), accuracy, best), "left_lead": lead[0], "right_lead": lead[1],
            "left_needed": needed[0], "right_needed": needed[1],
            "inside": bool(0 < best < len(a) - 1 and (lead > needed).all()),
        })  # fmt: skip
    return pd.DataFrame(found).sort_values(["depth", "sigma_b2"], ascending=[True, False]).reset_index(drop=True)


def map_crests(name: str = CIFAR, kind: str = "ntk") -> pd.DataFrame:
    """The crests of those depths of a committed map that are whole."""
    return crests(whole(map_rows(name, kind)))


def crests_of_both_kernels() -> pd.DataFrame:
    """Per depth and sigma_b2 at which both kernels have a crest inside the grid: its place for each, nngp and ntk."""
    places = {}
    for kind in kernel_maps.KINDS:
        found = map_crests(kind=kind)
        places[kind] = found[found["inside"]].set_index(["depth", "sigma_b2"])["place"]
    return pd.DataFrame(places).dropna().reset_index()


def crests_by_images(kind: str = "ntk") -> pd.DataFrame:
    """The crests of a kernel at depth 50 in both large maps: rows as in `crests`, with their images."""
    found = [map_crests(name, kind).query("depth == 50").assign(images=images(name)) for name in (CIFAR, TWICE)]
    return pd.concat(found, ignore_index=True)


def _top(log_a: np.ndarray, accuracy: np.ndarray, best: int) -> float:
    """The a at the top of the parabola through the best point and its neighbours; at an end of the grid, that end."""
    if best in (0, len(log_a) - 1):
        return float(np.exp(log_a[best]))
    near = slice(best - 1, best + 2)
    c2, c1, _ = np.polyfit(log_a[near] - log_a[best], accuracy[near], 2)
    return float(np.exp(log_a[best] - (c1 / (2 * c2) if c2 < 0 else 0.0)))


def trained_beside_limit(trained: pd.DataFrame, limit: pd.DataFrame, column: str = "test_accuracy") -> pd.DataFrame:
    """One row per cell of both: a, sigma_b2, the mean test accuracy of the trained networks, and the limit's column.

    trained: rows of one depth, width, kind of weights and epoch. limit: rows of that depth and one kernel.
    """
    means = trained.groupby(["sigma_b2", "a"])["test_accuracy"].mean().rename("trained").reset_index()
    return means.merge(limit[["sigma_b2", "a", column, "stable_rate"]], on=["sigma_b2", "a"]).rename(
        columns={column: "limit"}
    )


def collapses(table: str, limit: pd.DataFrame, guessing: float) -> pd.DataFrame:
    """Per cell and rate of a `learning-rate` table: rate over the predicted stable rate, mean accuracy, collapsed.

    Collapsed: the mean accuracy after the last epoch is below one and a half times that of guessing, and was not at
    some smaller rate. A bounded activation keeps the loss finite there, so that no run counts as diverged.
    """
    means = final_rows(table).groupby(["sigma_b2", "a", "learning_rate"])["test_accuracy"].mean().reset_index()
    found = means.merge(limit[["sigma_b2", "a", "stable_rate"]], on=["sigma_b2", "a"])
    found["ratio"] = found["learning_rate"] / found["stable_rate"]
    best_below = found.groupby(["sigma_b2", "a"])["test_accuracy"].cummax()  # rates rise within a cell
    return found.assign(collapsed=(found["test_accuracy"] < 1.5 * guessing) & (best_below >= 1.5 * guessing))


def images(name: str = CIFAR) -> int:
    """Training images of a committed map."""
    _, manifest = kernel_maps.load(statistics.RESULTS / "kernels" / name)
    return int(manifest["settings"]["images"])


def linear_accuracy(name: str = CIFAR) -> float:
    """Test accuracy of linear regression on the images of a committed map."""
    rows, _ = kernel_maps.load(statistics.RESULTS / "kernels" / name)
    return float(rows.loc[np.isinf(rows["a"]), "test_accuracy"].iloc[0])


def whole(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of those depths of which every cell is there: a table may have been stopped on its way."""
    return rows[rows.groupby("depth")["a"].transform("size") == 40]


def along_the_crest(inside: pd.DataFrame) -> pd.Series:
    """Largest over smallest along the crests inside the grid: of a, and of combinations with sigma_b2, depth and q*."""
    biases, place = inside["sigma_b2"] * inside["depth"], inside["place"]
    q = np.array([
        mf.edge_of_chaos(act.shtanh(a=a), sigma_b2=sigma_b2).q
        for a, sigma_b2 in zip(place, inside["sigma_b2"], strict=True)
    ])  # fmt: skip
    numbers = {
        "a": place,
        "sigma_b2 L / a^2": biases / place**2,
        "sigma_b2 L / q*": biases / q,
        "a / sqrt(q*)": place / q**0.5,
    }
    return pd.Series({name: float(values.max() / values.min()) for name, values in numbers.items()})


# Per dataset: the trained table at six rates, the limit at its width, and what its cells are.
RATE_TABLES = {
    "digits": ("learning-rate-laptop-digits", DIGITS, "digits, depth 20, width 64, ten epochs"),
    "CIFAR-10 (JPEG copy)": (
        "learning-rate-small-cifar-10-jpeg-copy",
        NARROW,
        "CIFAR-10 (JPEG copy), depth 20, width 100, one epoch",
    ),
}


def rates_beside_limit(dataset: str) -> pd.DataFrame:
    """Per cell: best_rate of six, the trained accuracy there, and of the limit its stable_rate and limit_accuracy."""
    table, limit_table, _ = RATE_TABLES[dataset]
    limit = map_rows(limit_table).query("depth == 20").rename(columns={"test_accuracy": "limit_accuracy"})
    cells = statistics.at_best_rate(final_rows(table)).groupby(["sigma_b2", "a"])
    best = cells.agg(best_rate=("learning_rate", "first"), test_accuracy=("test_accuracy", "mean")).reset_index()
    return best.merge(limit[["sigma_b2", "a", "stable_rate", "limit_accuracy"]], on=["sigma_b2", "a"])


def stages_beside_limit(depth: int, epoch: int) -> pd.DataFrame:
    """Per cell on digits: the accuracy of trained networks after an epoch at rate 0.001, and the predicted one."""
    trained = only(statistics.load("fig7-laptop-digits"), depth=depth, weights="orthogonal", epoch=epoch)
    return trained_beside_limit(trained, map_rows(DIGITS).query("depth == @depth"), f"epoch_{epoch}")


def order_at_one_radius(rows: pd.DataFrame) -> float:
    """Of `stages_beside_limit`: rank correlation of trained and predicted over the bias variances, mean over a."""
    return float(np.mean([spearmanr(cells["trained"], cells["limit"])[0] for _, cells in rows.groupby("a")]))


def paper_stages_beside_limit(epoch: int) -> pd.DataFrame:
    """Per cell of Figure 7 trained at the paper's protocol: its accuracy after an epoch, and the predicted one.

    The prediction learns from 2,000 of the 50,000 images, over as many steps as the network makes.
    """
    limit = map_rows(PAPER_STAGES).query("depth == 20")
    return trained_beside_limit(paper_cells(epoch=epoch), limit, f"epoch_{epoch}")

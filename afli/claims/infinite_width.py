"""Part III: the infinitely wide network. What its maps say, and what trained networks say of them.

The criteria were written down before the table of 5,000 training images was begun; a first look at 2,000 images had
been seen. They are:

* Two accuracies on the same test images differ *clearly* if they differ by more than 1.96 standard errors, taken as
  those of two independent samples (which is larger than the paired one). The crest at (depth, sigma_b2) is *inside the
  grid* if the best a beats both ends of the grid clearly. Two-sided: a map that only falls, or only rises, has none.
* The *place* of a crest is the top of the parabola through the best a and its two neighbours, in log a.
* The crest *never moves left* if its place falls by no more than 15% from one value of depth, or sigma_b2, to the next
  larger; 15% is less than half a step of the grid.
* A combination of a, sigma_b2 and depth is *kept* along the crests inside the grid if it stays within a factor of 2 of
  its geometric mean while a itself changes by 5 or more. Asked first: sigma_b2 L / a^2, which the first look suggests.
* A network at a = 30 *is linear* if its accuracy is within one point of linear regression on the same images.
* Trained networks *follow the limit* if the 95% interval of the rank correlation between their mean accuracies and the
  limit's, over the cells of the map, lies above 0. The interval is Fisher's, with Bonett and Wright's standard error
  for ranks; it takes cells as independent, which neighbours on a map are not, so it is narrower than it should be.
* The predicted stable rate *explains* the best rates if the rank correlation between them has such an interval above
  0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import pandas as pd

    from afli.meanfield import MeanField

__all__ = ["RankCorrelation", "clear_difference", "crests", "map_rows", "rank_correlation"]

CIFAR = "kernel-5000-width-300-cifar-10-jpeg-copy"


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
    from scipy.stats import spearmanr

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
    from afli.experiments import kernel_maps, statistics

    rows, _ = kernel_maps.load(statistics.RESULTS / "kernels" / name)
    return rows[(rows["kind"] == kind) & np.isfinite(rows["a"])]


def crests(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per depth and sigma_b2: best_a, its accuracy, place, leads over both ends of the grid, and inside."""
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
            "place": _top(np.log(a), accuracy, best), "q": line["q"].iloc[best], "left_lead": lead[0],
            "right_lead": lead[1], "left_needed": needed[0], "right_needed": needed[1],
            "inside": bool(0 < best < len(a) - 1 and (lead > needed).all()),
        })  # fmt: skip
    import pandas as pd

    return pd.DataFrame(found).sort_values(["depth", "sigma_b2"], ascending=[True, False]).reset_index(drop=True)


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


def best_rates(table: str) -> pd.DataFrame:
    """Per cell of a `learning-rate` table: the rate with the best mean accuracy, and the accuracy there, after all."""
    from afli.claims.tables import final_rows
    from afli.experiments import statistics

    best = statistics.at_best_rate(final_rows(table))
    return best.groupby(["sigma_b2", "a"]).agg(
        best_rate=("learning_rate", "first"), test_accuracy=("test_accuracy", "mean")
    ).reset_index()  # fmt: skip


def collapses(table: str, limit: pd.DataFrame, guessing: float) -> pd.DataFrame:
    """Per cell and rate of a `learning-rate` table: rate over the predicted stable rate, mean accuracy, collapsed.

    Collapsed: the mean accuracy after the last epoch is below one and a half times that of guessing. A bounded
    activation keeps the loss finite there, so that no run counts as diverged.
    """
    from afli.claims.tables import final_rows

    means = final_rows(table).groupby(["sigma_b2", "a", "learning_rate"])["test_accuracy"].mean().reset_index()
    found = means.merge(limit[["sigma_b2", "a", "stable_rate"]], on=["sigma_b2", "a"])
    ratio = found["learning_rate"] / found["stable_rate"]
    return found.assign(ratio=ratio, collapsed=found["test_accuracy"] < 1.5 * guessing)


def descents(
    factors: tuple[float, ...], *, loss: str = "squared", batch: int | None = None, width: int = 128, depth: int = 8
) -> dict[float, list[float]]:
    """Losses of one small network trained at multiples of the predicted stable rate, 25 steps each.

    64 digits, Shtanh with a = 3 at sigma_b2 = 0.1, orthogonal weights; the same network and batches every time.
    """
    import torch

    from afli import data, kernels
    from afli.networks import tangent

    digits = data.normalised(data.load("digits"))
    found = {}
    for factor in factors:
        model, net, inputs = small_network(width, depth, images=64)
        theta = kernels.ntk(net, kernels.cosines(digits.x_train[:64]), depth, width=width, in_features=64)
        targets = torch.nn.functional.one_hot(torch.tensor(digits.y_train[:64]), 10).float()
        found[factor] = tangent.descend(
            model, inputs, targets - (0.1 if loss == "squared" else 0.0), rate=factor * kernels.stable_rate(theta),
            steps=25, loss=loss, batch=batch, generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
    return found


def small_network(width: int, depth: int, *, images: int, seed: int = 0) -> tuple[Any, MeanField, Any]:
    """A network of Shtanh, a = 3, sigma_b2 = 0.1, orthogonal; its theory; and so many digits as its inputs."""
    import torch

    from afli import activations as act
    from afli import data
    from afli.networks import init, modules

    digits, phi = data.normalised(data.load("digits")), act.shtanh(a=3.0)
    model = modules.mlp(depth, width, in_features=64, out_features=10, activation=phi)
    net = init.edge_of_chaos_(model, phi, sigma_b2=0.1, generator=torch.Generator().manual_seed(seed))
    scale = data.input_scale("sphere", q=net.q, sigma_w2=net.sigma_w2, sigma_b2=net.sigma_b2)
    return model, net, scale * torch.tensor(digits.x_train[:images])


def movement(width: int, *, depth: int = 5, images: int = 48, trials: int = 2) -> tuple[float, float]:
    """How far the tangent kernel of a small network is from its limit at the start, and how far training moves it.

    Both relative, in the Frobenius norm, mean over trials; training: softmax, full batch, 150 steps at a quarter of the
    stable rate, after which the training loss is small.
    """
    import torch

    from afli import data, kernels
    from afli.networks import tangent

    digits = data.normalised(data.load("digits"))
    targets = torch.nn.functional.one_hot(torch.tensor(digits.y_train[:images]), 10).float()
    limit_distance, moved = [], []
    for seed in range(trials):
        model, net, inputs = small_network(width, depth, images=images, seed=seed)
        limit = kernels.ntk(net, kernels.cosines(digits.x_train[:images]), depth, width=width, in_features=64)
        before = tangent.tangent_kernel(model, inputs).numpy()
        tangent.descend(model, inputs, targets, rate=2 * kernels.stable_rate(limit), steps=150, loss="softmax")
        after = tangent.tangent_kernel(model, inputs).numpy()
        limit_distance.append(np.linalg.norm(before - limit) / np.linalg.norm(limit))
        moved.append(np.linalg.norm(after - before) / np.linalg.norm(before))
    return float(np.mean(limit_distance)), float(np.mean(moved))

"""From a committed table to the numbers of a page: Section 4's means, 95% intervals and paired differences.

Trials pair up: trial 3 of one cell and trial 3 of another share their standardised draws and batches. Differences are
therefore taken trial by trial. Intervals are Student's; nothing here picks the best trial.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from afli.experiments.provenance import code_hash
from afli.experiments.table import Table, TableError, grid_of

__all__ = [
    "RESULTS",
    "Interval",
    "at_best_rate",
    "final",
    "load",
    "mean_interval",
    "paired_difference",
    "ridges",
    "train_again",
]

RESULTS = Path(__file__).resolve().parents[2] / "results"
CELL = ["depth", "width", "normalisation", "weights", "phi", "schedule", "sigma_b2"]


@dataclass(frozen=True)
class Interval:
    """mean +- half_width covers the true mean for 95% of samples of n normal numbers; half_width is NaN for n = 1."""

    mean: float
    half_width: float
    n: int

    @property
    def low(self) -> float:
        """The lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """The upper end."""
        return self.mean + self.half_width

    def __format__(self, spec: str) -> str:
        return f"{self.mean:{spec}} ± {self.half_width:{spec}}"


def load(name: str, folder: Path = RESULTS) -> pd.DataFrame:
    """The rows of a committed table, e.g. "fig7-laptop-digits".

    Raises TableError if it is absent, made by other code than this, or holds a row whose settings are not those of an
    experiment of its preset: what is drawn is what the code says, or nothing is.
    """
    table = Table(folder / name)
    if not table.done or not table.manifest:
        hint = "" if folder.is_dir() else ": tables are in the repository, not in an installed package"
        raise TableError(f"there is no table with rows and a manifest at {table.path}{hint}")
    if table.manifest["code"] != code_hash():
        raise TableError(f"{table.path} was made by code {table.manifest['code']}, this is {code_hash()}: run it again")
    known = {experiment.key: experiment for experiment in grid_of(table.manifest)}
    if not table.done <= known.keys():
        raise TableError(f"{table.path} holds {len(table.done - known.keys())} experiments that its preset has not")
    keys = table.frame["experiment"]
    settings = pd.DataFrame([known[key].settings() for key in keys.unique()], index=keys.unique())
    settings = settings.loc[keys].set_axis(table.frame.index)
    wrong = [
        column for column in settings if not settings[column].equals(table.frame[column].astype(settings[column].dtype))
    ]
    if wrong:
        raise TableError(f"{table.path} says other settings than its preset in {', '.join(wrong)}")
    return table.frame


def train_again(name: str, *, tolerance: float = 0.01, folder: Path = RESULTS, **settings: object) -> pd.DataFrame:
    """Train one experiment of a table once more, here and now, and compare it with what is stored.

    settings: columns and values that choose it; the first match is taken. tolerance: on the test accuracy. Bit for bit
    the same is promised on one machine only: another processor rounds a product differently, which moves an image or
    two. Returns a row per tested epoch: epoch, stored, again. Raises TableError if they differ by more or none matches.
    """
    from afli import data
    from afli.experiments.training import train

    rows = load(name, folder)
    for column, value in settings.items():
        rows = rows[rows[column] == value]
    if rows.empty:
        raise TableError(f"{name} has no experiment with {settings}")
    rows = rows[rows["experiment"] == rows["experiment"].iloc[0]]
    experiment = next(e for e in grid_of(Table(folder / name).manifest) if e.key == rows["experiment"].iloc[0])
    made = train([experiment], data.load(experiment.dataset))
    assert made is not None, "nothing asked it to stop"
    compared = pd.DataFrame(
        {"epoch": rows["epoch"].to_numpy(), "stored": rows["test_accuracy"].to_numpy(), "again": made["test_accuracy"]}
    )
    worst = float((compared["stored"] - compared["again"]).abs().max())
    if not worst <= tolerance:
        raise TableError(f"{name} cannot be reproduced here: test accuracy differs by {worst:.3g}, allowed {tolerance}")
    return compared


def final(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows after the last epoch, of trials that every cell has; a diverged run counts as guessing.

    A run that was stopped early leaves some cells with fewer trials; to compare only what all have keeps pairs whole.
    """
    last = frame[frame["epoch"] == frame["epochs"]]
    cells = last.groupby([*CELL, "learning_rate"], dropna=False)["trial"]
    shared = set.intersection(*(set(trials) for _, trials in cells))
    last = last[last["trial"].isin(shared)]
    guessing = last["dataset"].map(lambda name: 0.5 if name == "digit-parity" else 0.1)
    return last.assign(test_accuracy=last["test_accuracy"].where(~last["diverged"], guessing))


def mean_interval(values: ArrayLike) -> Interval:
    """Mean of independent numbers with its 95% interval. Raises ValueError for none, or for NaN."""
    sample = pd.Series(values, dtype=float)
    if not len(sample) or sample.isna().any():
        raise ValueError(f"values must be at least one number and none NaN, got {sample.tolist()}")
    n = len(sample)
    spread = float(stats.t.ppf(0.975, n - 1) * sample.std() / math.sqrt(n)) if n > 1 else math.nan
    return Interval(float(sample.mean()), spread, n)


def paired_difference(left: pd.DataFrame, right: pd.DataFrame, column: str = "test_accuracy") -> Interval:
    """Mean of left - right over trials, with its 95% interval.

    left, right: rows with one trial each. Raises ValueError if their trials differ.
    """
    one, other = left.set_index("trial")[column], right.set_index("trial")[column]
    if sorted(one.index) != sorted(other.index) or not one.index.is_unique:
        raise ValueError(f"trials must pair up, got {sorted(one.index)} and {sorted(other.index)}")
    return mean_interval(one - other)


def at_best_rate(last: pd.DataFrame) -> pd.DataFrame:
    """Of every cell, the rows at the learning rate with the highest mean accuracy over its trials."""
    means = last.groupby([*CELL, "learning_rate"], dropna=False)["test_accuracy"].mean().reset_index()
    best = means.loc[means.groupby(CELL, dropna=False)["test_accuracy"].idxmax()]
    return last.merge(best[[*CELL, "learning_rate"]], on=[*CELL, "learning_rate"])


def ridges(last: pd.DataFrame) -> pd.DataFrame:
    """The criterion of preset `learning-rate`, for one depth, one initialisation and one rate per cell.

    A row per sigma_b2: best_a, its lead over the largest a with half_width and n, and whether that is a ridge.
    """
    rows = []
    for sigma_b2, group in last.groupby("sigma_b2"):
        best = group.groupby("a")["test_accuracy"].mean().idxmax()
        largest = group["a"].max()
        lead = paired_difference(group[group["a"] == best], group[group["a"] == largest])
        ridge = bool(best != largest and lead.low > 0)
        rows.append({"sigma_b2": sigma_b2, "best_a": best, "lead": lead.mean, "half_width": lead.half_width,
                     "n": lead.n, "ridge": ridge})  # fmt: skip
    return pd.DataFrame(rows).sort_values("sigma_b2", ascending=False).reset_index(drop=True)

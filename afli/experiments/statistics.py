"""From a committed table to the numbers of a page: Section 4's means, 95% intervals and paired differences.

Trials pair up: trial 3 of one cell and trial 3 of another share their standardised draws and batches. Differences are
therefore taken trial by trial. Intervals are Student's; nothing here picks the best trial.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from afli.experiments.presets import PRESETS
from afli.experiments.provenance import code_hash
from afli.experiments.spec import Grid
from afli.experiments.table import (
    VERIFY,
    Table,
    TableError,
    accepted_codes,
    conform,
    grid_of,
    require_settings,
    require_theory,
    settings_of,
)  # fmt: skip

__all__ = [
    "RESULTS",
    "Interval",
    "at_best_rate",
    "chance_of_ridges",
    "final",
    "load",
    "mean_interval",
    "paired_difference",
    "ridges",
    "train_again",
]

RESULTS = Path(__file__).resolve().parents[2] / "results"
CELL = ["depth", "width", "normalisation", "weights", "optimiser", "phi", "schedule", "sigma_b2"]


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


def load(name: str, folder: Path = RESULTS, *, part: Mapping[str, object] | None = None) -> pd.DataFrame:
    """The rows of a committed table, e.g. "fig7-laptop-digits".

    Parameters
    ----------
    name
        The table, without its ending.
    folder
        Where it lies.
    part
        Which part is wanted, where the table is not complete for its grid: settings, each with a value or a list of
        values, as in `part={"depth": 20, "weights": "orthogonal", "trial": [0, 1]}`. With "epoch", the stages of
        training that are wanted: then experiments count that have come so far.

    Raises
    ------
    TableError
        If the table is absent; if it was made by other code, and this code is not verified to give the same numbers; if
        a row's settings are not those of an experiment of its preset, or its q and sigma_w2 not those of the theory; if
        experiments of the grid, or of the part, are missing. What is drawn is what the code says, or nothing is.
    """
    table = Table(folder / name)
    if table.frame.empty or not table.manifest:
        hint = "" if folder.is_dir() else ": tables are in the repository, not in an installed package"
        raise TableError(f"there is no table with rows and a manifest at {table.path}{hint}")
    if code_hash() not in accepted_codes(table.manifest):
        raise TableError(f"{table.path} was made by code {table.manifest['code']}, this is {code_hash()}; {VERIFY}")
    about = table.manifest
    preset = about["preset"]
    grid, known = _grid(preset, about["profile"], about["dataset"]["label"], PRESETS.get(preset))
    frame = conform(table.frame, grid)
    strange = set(frame["experiment"]) - set(known.index)
    if strange:
        raise TableError(
            f"{table.path} holds {len(strange)} experiments with other settings than its preset has, for instance"
            f" {frame.set_index('experiment').loc[min(strange)].iloc[:1].to_dict()}"
        )
    require_settings(frame, known, table.path)
    require_theory(frame, grid, table.path)
    _require_sense(frame, table.path)
    return _complete(frame, known, dict(part or {}), table.path)


def _require_sense(frame: pd.DataFrame, path: Path) -> None:
    """Raise TableError where an accuracy is none, or an experiment lacks a stage."""
    accuracies = frame.filter(regex="accuracy$")
    if ((accuracies < 0) | (accuracies > 1)).to_numpy().any():
        raise TableError(f"{path} holds an accuracy below 0 or above 1")
    ended = frame[frame["experiment"].isin(frame.loc[frame["epoch"] == frame["epochs"], "experiment"])]
    stages = ended.groupby(["epochs", "experiment"])["epoch"].nunique()
    short = stages < stages.groupby("epochs").transform("max")  # networks of equal length are tested at equal stages
    if short.any():
        raise TableError(f"{path} lacks a stage of training of {short.sum()} experiments")


@lru_cache(maxsize=32)
def _grid(preset: str, profile: str, label: str, made_by: object) -> tuple[Grid, pd.DataFrame]:
    """A table's grid and its settings, a row per key. Kept, since a page reads the same large tables many times.

    made_by: what the preset's name stands for; registered anew, it makes another grid.
    """
    grid = grid_of({"preset": preset, "profile": profile, "dataset": {"label": label}})
    return grid, settings_of(grid).set_index("experiment", drop=False).rename_axis(None)


def _complete(frame: pd.DataFrame, settings: pd.DataFrame, part: dict[str, object], path: Path) -> pd.DataFrame:
    """The rows of the part that is wanted; raises TableError if there are experiments of it that have no row.

    settings: those of every experiment of the grid, a row each.
    """
    epochs = _values(part.pop("epoch", None))
    unknown = part.keys() - set(settings)
    if unknown:
        raise TableError(f"part must name settings, got {', '.join(sorted(unknown))}")
    for column, value in part.items():
        settings = settings[settings[column].isin(_values(value))]
        frame = frame[frame[column].isin(_values(value))]
    wanted = set(settings["experiment"])
    if epochs:
        frame = frame[frame["epoch"].isin(epochs)]
        stages = frame.groupby("experiment")["epoch"].nunique()
        there = set(stages.index[stages == len(epochs)])
    else:
        frame = frame[frame["experiment"].isin(set(frame.loc[frame["epoch"] == frame["epochs"], "experiment"]))]
        there = set(frame["experiment"])
    if not wanted or wanted - there:
        raise TableError(
            f"{path} has {len(wanted & there)} of {len(wanted)} experiments"
            + (f" of the part {part}" if part else ": say which part is wanted, or go on with the run")
        )
    return frame


def _values(value: object) -> list[object]:
    if value is None:
        return []
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def train_again(name: str, *, folder: Path = RESULTS, **settings: object) -> pd.DataFrame:
    """Train one experiment of a table once more, here and now, for its first few steps, and compare.

    settings: columns and values that choose it; the first match is taken. Returns a row per tested epoch: epoch,
    stored, again, the test accuracies. Bit for bit the same is promised on one machine only: another processor rounds a
    product differently, and training amplifies that (see `afli.experiments.verification`), hence the few steps.
    Raises TableError if test accuracies differ by more than 0.01, or none matches.
    """
    from afli import data
    from afli.experiments import verification

    table = Table(folder / name)
    grid = grid_of(table.manifest)
    rows = conform(table.frame, grid)
    for column, value in settings.items():
        rows = rows[rows[column] == value]
    if rows.empty:
        raise TableError(f"{name} has no experiment with {settings}")
    rows = rows[rows["experiment"] == rows["experiment"].iloc[0]].set_index("epoch")
    experiment = next(e for e in grid if e.key == rows["experiment"].iloc[0])
    images = data.load(experiment.dataset)
    made = verification.train_again(experiment, rows, images, verification.STEPS, table.manifest["arithmetic"])
    stored, again = rows.loc[made.index, "test_accuracy"], made["test_accuracy"]
    worst = float((stored - again).abs().max())
    if not worst <= verification.ACCURACY_TOLERANCE:
        raise TableError(
            f"{name} cannot be reproduced here: test accuracy differs by {worst:.3g}, allowed"
            f" {verification.ACCURACY_TOLERANCE}"
        )
    return pd.DataFrame({"epoch": made.index, "stored": stored.to_numpy(), "again": again.to_numpy()})


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
    """Of every cell, the rows at the learning rate with the highest mean accuracy over its trials.

    The accuracy is that on the validation part, where every row has one; on the test images otherwise, and then the
    best of several rates is better than a fresh test would find it.
    """
    validated = "validation_accuracy" in last and bool((last["validation_accuracy"].notna() | last["diverged"]).all())
    by = "validation_accuracy" if validated else "test_accuracy"
    means = last.fillna({by: 0.0}).groupby([*CELL, "learning_rate"], dropna=False)[by].mean().reset_index()
    best = means.loc[means.groupby(CELL, dropna=False)[by].idxmax()]
    return last.merge(best[[*CELL, "learning_rate"]], on=[*CELL, "learning_rate"])


def ridges(last: pd.DataFrame) -> pd.DataFrame:
    """Where a map of Figure 7 has a ridge, for one depth, one initialisation and one rate per cell.

    A ridge has two flanks. On the right: the best a of the row is not the largest, and its mean accuracy beats that of
    the largest by more than the 95% half-width of the paired difference over trials. On the left: the same against the
    smallest a. Both flanks together are a ridge; one alone is a slope.

    Returns
    -------
    DataFrame
        A row per sigma_b2, from the largest to the smallest: best_a, n, for each side the lead over that end with its
        half_width (columns right, right_half, left, left_half) and whether it is clear (right_flank, left_flank), and
        ridge, whether both are.
    """
    rows = []
    for sigma_b2, group in last.groupby("sigma_b2"):
        best = group.groupby("a")["test_accuracy"].mean().idxmax()
        row: dict[str, object] = {"sigma_b2": sigma_b2, "best_a": best}
        for side, end in (("right", group["a"].max()), ("left", group["a"].min())):
            lead = paired_difference(group[group["a"] == best], group[group["a"] == end])
            clear = bool(best != end and lead.low > 0)
            row |= {"n": lead.n, side: lead.mean, f"{side}_half": lead.half_width, f"{side}_flank": clear}
        rows.append(row | {"ridge": bool(row["right_flank"] and row["left_flank"])})
    return pd.DataFrame(rows).sort_values("sigma_b2", ascending=False).reset_index(drop=True)


def chance_of_ridges(last: pd.DataFrame, column: str = "ridge", *, draws: int = 500, seed: int = 0) -> float:
    """The share of maps with as many ridges, were a to make no difference: one test for all rows of a map together.

    Rows of a map share draws and batches, so that they are not independent looks. Within a trial the accuracies of all
    a are exchanged, in every row alike: what the rows have in common stays.

    Parameters
    ----------
    last
        As for `ridges`.
    column
        What of its outcome is counted: "ridge", "right_flank" or "left_flank".
    draws, seed
        Random exchanges. The answer is at least 1 / (draws + 1).
    """
    generator = np.random.default_rng(seed)
    cells = last.pivot(index="a", columns=["trial", "sigma_b2"], values="test_accuracy").sort_index(axis=1)
    table = cells.to_numpy().reshape(len(cells), last["trial"].nunique(), -1)
    found = _count(table, column)
    as_many = 0
    for _ in range(draws):
        order = np.argsort(generator.random(table.shape[:2]), axis=0)
        as_many += _count(np.take_along_axis(table, order[:, :, None], axis=0), column) >= found
    return (as_many + 1) / (draws + 1)


def _count(table: NDArray[np.float64], column: str) -> int:
    """Rows with a ridge, or a flank, of a map (a, trial, row) of accuracies; the criterion of `ridges`."""
    trials = table.shape[1]
    best = table.mean(axis=1).argmax(axis=0)
    top = np.take_along_axis(table, best[None, None, :], axis=0)[0]
    flanks = []
    for end in (-1, 0):
        lead = top - table[end]
        half = stats.t.ppf(0.975, trials - 1) * lead.std(axis=0, ddof=1) / math.sqrt(trials)
        flanks.append((lead.mean(axis=0) > half) & (best != end % len(table)))
    right, left = flanks
    return int({"ridge": right & left, "right_flank": right, "left_flank": left}[column].sum())

"""Does the code as it now stands still give a table's numbers? Train a few of its networks again, and compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from afli import data
from afli._inputs import integer
from afli.experiments.executors import CODE
from afli.experiments.provenance import commit, machine, versions
from afli.experiments.spec import Experiment
from afli.experiments.table import (
    Table,
    TableError,
    conform,
    exclusive,
    grid_of,
    require_settings,
    require_theory,
    settings_of,
)  # fmt: skip
from afli.experiments.training import Setup, train

__all__ = ["Verification", "golden", "train_again", "verify"]

# What selects another path through the code: one stratum for each combination that a table has.
STRATUM = ("activation", "weights", "optimiser", "normalisation", "split", "scheduled", "small head")
# On another processor, which rounds products differently. Training amplifies that as soon as a preactivation passes a
# kink that it did not pass before: measured between an AMD and an Intel processor, most networks of the tables agree to
# 1e-6 in the loss over 50 steps, some part by a hundredth, and of the wild ones (100 layers, or the largest rates) most
# do. Therefore few steps, the calmest networks of every stratum, and agreement asked of half of them.
ACCURACY_TOLERANCE, LOSS_TOLERANCE, AGREEING_SHARE = 0.01, 0.01, 0.5
STEPS = 50


@dataclass(frozen=True)
class Verification:
    """What came out.

    Attributes
    ----------
    table : Path
        The file.
    networks : int
        How many were trained again.
    exact : int
        How many of them have every number the same, bit for bit.
    agreeing : int
        How many are within the tolerances of another processor.
    parted : float
        How far the others are off in test accuracy.
    """

    table: Path
    networks: int
    exact: int
    agreeing: int
    parted: float

    def __str__(self) -> str:
        parts = [f"{self.exact} bit for bit", f"{self.agreeing - self.exact} within {ACCURACY_TOLERANCE}"]
        if self.agreeing < self.networks:
            parts.append(f"{self.networks - self.agreeing} parted by up to {self.parted:.2g} in test accuracy")
        return f"{self.table.stem}: {self.networks} networks trained again, {', '.join(parts)}"


def verify(
    path: str | Path,
    *,
    dataset: data.Dataset | str | None = None,
    networks: int = 4,
    steps: int = STEPS,
    on_network: Callable[[], None] = lambda: None,
) -> Verification:
    """Train golden experiments of a table again, on this processor; where they agree, accept the code for the table.

    Parameters
    ----------
    path
        The table; its manifest gets an entry in "verified" with this code, machine and the outcome.
    dataset
        The images, or a name for `afli.data.load`; by default what the manifest names.
    networks
        Golden experiments per stratum, that is, per combination of activation, initialisation, optimiser,
        normalisation, split, schedule and head that the table has.
    steps
        Each is trained as far as its last recorded epoch within so many steps, at least to the first.
    on_network
        Called after each network.

    Raises
    ------
    TableError
        If the table is on other data, has experiments that its preset has not, or none that has been trained, was made
        with another theory, or if the numbers differ. Where all of it was made on a machine of this type, any
        difference counts; elsewhere at least half of every stratum must agree to 0.01 in test accuracy and in the
        logarithm of the losses.
    """
    networks, steps = integer("networks", networks, low=1), integer("steps", steps, low=0)
    table = Table(path)
    if table.frame.empty or not table.manifest:
        raise TableError(f"there is no table with rows and a manifest at {table.path}")
    about = table.manifest["dataset"]
    if dataset is None and about["label"] not in data.NAMES:
        raise TableError(f"{table.path} is on {about['label']}: say where these images are, with --data npz:FILE")
    images = dataset if isinstance(dataset, data.Dataset) else data.load(dataset or about["label"])
    if images.sha256 != about["sha256"]:
        raise TableError(f"{table.path} is on {about['name']}, sha256 {about['sha256']}, not {images.sha256}")
    try:
        grid = grid_of(table.manifest)
    except ValueError as error:
        advice = "register it with experiments.register_preset, on the command line with --load FILE.py"
        raise TableError(f"{table.path} is of a preset that is not known here; {advice}: {error}") from error
    frame = conform(table.frame, grid)
    strange = set(frame["experiment"]) - {experiment.key for experiment in grid}
    if strange or not (frame["epoch"] > 0).any():
        reason = f"{len(strange)} that its preset has not" if strange else "none that has been trained"
        raise TableError(f"{table.path} cannot be verified: of its experiments there are {reason}")
    require_settings(frame, settings_of(grid), table.path)
    require_theory(frame, grid, table.path)
    here = machine("cpu")
    same_machine = {run["machine"] for run in table.manifest["runs"]} == {here}
    differences = []
    for stratum in golden(grid, frame, networks):
        found = []
        for experiment in stratum:
            stored = frame[frame["experiment"] == experiment.key].set_index("epoch")
            again = train_again(experiment, stored, images, steps, table.manifest["arithmetic"])
            found.append(_difference(stored.loc[again.index], again))
            on_network()
        share = sum(map(_agrees, found)) / len(found)
        if share < AGREEING_SHARE or (same_machine and any(map(any, found))):
            accuracy, loss = min(found)
            raise TableError(
                f"{table.path} is not what the code now gives: of {len(found)} networks like {stratum[0].phi.name} with"
                f" {stratum[0].weights} weights the closest differs by {accuracy:.3g} in test accuracy and by"
                f" {loss:.3g} in the logarithm of a loss"
                + (", on the machine type that made it" if same_machine else f"; allowed are {ACCURACY_TOLERANCE} each")
            )
        differences += found
    apart = [accuracy for accuracy, loss in differences if not _agrees((accuracy, loss))]
    exact = sum(not any(pair) for pair in differences)
    result = Verification(table.path, len(differences), exact, len(differences) - len(apart), max(apart, default=0.0))
    _record(result, here)
    return result


def _difference(stored: pd.DataFrame, again: pd.DataFrame) -> tuple[float, float]:
    """The largest difference in test accuracy, and in the logarithm of a loss; infinite if one run diverged."""
    if not stored["diverged"].equals(again["diverged"]):
        return math.inf, math.inf
    losses = [np.log(again[name] / stored[name]).abs().max() for name in ("test_loss", "train_loss")]
    accuracy = (stored["test_accuracy"] - again["test_accuracy"]).abs().max()
    return float(np.nan_to_num(accuracy)), float(np.nan_to_num(max(losses)))


def _agrees(difference: tuple[float, float]) -> bool:
    accuracy, loss = difference
    return accuracy <= ACCURACY_TOLERANCE and loss <= LOSS_TOLERANCE


def golden(grid: Iterable[Experiment], frame: pd.DataFrame, networks: int) -> list[list[Experiment]]:
    """The experiments to train again: of every stratum so many of those that have rows.

    They are those of the smallest depth and, there, of the smallest learning rate, spread over the grid's order: the
    calm ones, in which rounding is not amplified.
    """
    strata: dict[tuple[object, ...], list[Experiment]] = {}
    there = set(frame.loc[frame["epoch"] > 0, "experiment"])
    for experiment in grid:
        if experiment.key in there:
            values = experiment.settings() | {
                "scheduled": experiment.schedule is not None, "small head": experiment.head_variance is not None,
            }  # fmt: skip
            strata.setdefault(tuple(values[name] for name in STRATUM), []).append(experiment)
    chosen = []
    for every in strata.values():
        calmest = min((e.depth, e.learning_rate) for e in every)
        members = [e for e in every if (e.depth, e.learning_rate) == calmest]
        places = {round(i * (len(members) - 1) / max(networks - 1, 1)) for i in range(networks)}
        chosen.append([members[place] for place in sorted(places)])
    return chosen


def train_again(
    experiment: Experiment, stored: pd.DataFrame, images: data.Dataset, steps: int, arithmetic: str
) -> pd.DataFrame:
    """Rows by epoch, as far as the last stored epoch within so many steps, at least to the first.

    A shorter training has the same stages: batches depend on the trial and the epoch alone.
    """
    per_epoch = round(len(images.y_train) * (1 - experiment.validation)) // experiment.batch
    stages = sorted(epoch for epoch in stored.index if epoch > 0)
    last = max((epoch for epoch in stages if epoch * per_epoch <= steps), default=stages[0])
    shorter = replace(experiment, epochs=last, record=tuple(e for e in stored.index if e <= last))
    made = train([shorter], images, Setup("cpu", arithmetic))
    assert made is not None, "nothing asked it to stop"
    return made.set_index("epoch")


def _record(found: Verification, here: str) -> None:
    """Write the outcome into the manifest, in place of what was known of this code on this machine."""
    with exclusive(found.table):
        table = Table(found.table)
        entry = {
            "code": CODE, "machine": here, "networks": found.networks, "exact": found.exact,
            "agreeing": found.agreeing, "parted": found.parted,
            "date": datetime.now(UTC).date().isoformat(), "commit": commit(), "versions": versions(),
        }  # fmt: skip
        others = [
            known for known in table.manifest.get("verified", [])
            if (known["code"], known["machine"]) != (entry["code"], here)
        ]  # fmt: skip
        table.manifest["verified"] = [*others, entry]
        table.write_manifest()

"""The map of Figure 7 at infinite width: kernel regression in every cell, with no network trained.

Each cell (a, sigma_b2, depth) has two kernels, see `afli.kernels`: the NNGP kernel (every layer Bayesian) and the
tangent kernel (gradient descent run to the end). Regression on one-hot labels, less their mean 1 / classes; the ridge
is the one of `RIDGES` with the least squared leave-one-out error on the training images, so the test images choose
nothing. Beside it stand the largest stable learning rate and, where asked for, the predicted test accuracy after some
epochs of gradient descent from outputs 0.

A table is made like those of `afli run`: row by row, each a function of the settings, with a manifest; a run that was
stopped goes on with the same call.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from afli import activations as act
from afli import data, kernels
from afli._inputs import Array, integer, scalar
from afli.experiments.files import replace_file
from afli.experiments.presets import BIAS_VARIANCES, LINEAR_RADII
from afli.experiments.provenance import commit, machine, versions
from afli.experiments.spec import edge_of_chaos
from afli.experiments.table import (
    THEORY_TOLERANCE,
    TableError,
    exclusive,
    manifest_bytes,
    read_manifest,
    read_rows,
    write_rows,
)
from afli.meanfield import MeanField

__all__ = ["DEPTHS", "EPOCHS", "KINDS", "LINEAR", "RIDGES", "Images", "Settings", "cell", "cells", "load", "run"]

DEPTHS = (50, 20, 200, 100)  # in the order of work
KINDS = ("ntk", "nngp")
RIDGES = 10.0 ** np.arange(-8, 2.01, 0.5)  # relative to the kernel's diagonal
EPOCHS = (1, 2, 5, 10, 20, 50, 100)
BATCH = 64  # of the paper's protocol: an epoch is as many steps as it has whole batches
_TEST_BLOCK = 2000
COLUMNS = ("depth", "sigma_b2", "a", "kind")
NUMBERS = ("depth", "sigma_b2", "a", "q", "sigma_w2", "diagonal", "test_accuracy")
SHAPE = {  # of a manifest
    "dataset": {"name": str, "sha256": str, "features": int},
    "settings": {"images": int, "width": int},
    "runs": [{"finished": int}],
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all rows of a table share.

    Parameters
    ----------
    images : int
        Training images used: the first so many of a fixed shuffle (files may be ordered by class).
    width : int
        Units of every hidden layer, of which the tangent kernel in the standard parametrisation speaks.
    rate : float, optional
        Learning rate of the stages: the accuracy after each of `EPOCHS` of it is predicted too, which needs a whole
        eigendecomposition. None: no stages.
    """

    images: int
    width: int = 300
    rate: float | None = None

    def __post_init__(self) -> None:
        integer("images", self.images, low=8)
        integer("width", self.width, low=1)
        if self.rate is not None:
            scalar("rate", self.rate, low=0.0, open_low=True)


class Images:
    """A dataset as the kernels see it: cosines, and one-hot targets less their mean.

    Parameters
    ----------
    dataset : Dataset
        Pixels; they are normalised as `sphere`.
    count : int
        Training images, see `Settings`.
    """

    def __init__(self, dataset: data.Dataset, count: int) -> None:
        if count > len(dataset.x_train):
            raise ValueError(f"images must be at most {len(dataset.x_train)} for {dataset.name}, got {count}")
        inputs = data.normalised(dataset)
        chosen = np.random.default_rng(0).permutation(len(dataset.x_train))[:count]
        train = inputs.x_train[chosen]
        self.gram, self.cross = kernels.cosines(train), kernels.cosines(inputs.x_test, train)
        self.y_train, self.y_test = dataset.y_train[chosen], dataset.y_test
        self.targets = np.eye(dataset.classes)[self.y_train] - 1 / dataset.classes
        self.features, self.all_images = dataset.features, len(dataset.x_train)


# What both flanks are measured against: an infinite linear radius without biases, whose kernel is the cosine itself.
LINEAR = (1, 0.0, float("inf"), "nngp")


def cells(depths: Sequence[int] = DEPTHS) -> list[tuple[int, float, float, str]]:
    """(depth, sigma_b2, a, kind) of every row, in the order of work: linear regression, then one kernel's whole map."""
    every = product(dict.fromkeys(depths), BIAS_VARIANCES, LINEAR_RADII)
    return [LINEAR, *((*cell, kind) for kind, cell in product(KINDS, every))]


def cell(images: Images, settings: Settings, depth: int, sigma_b2: float, a: float, kind: str) -> dict[str, Any]:
    """One row of a table: regression with a kernel of Shtanh on its edge of chaos; a infinite: a linear network."""
    began = time.process_time()
    net = _net(a, sigma_b2)
    if kind == "ntk":
        kernel = kernels.ntk_function(net, depth, width=settings.width, in_features=images.features)
    else:
        kernel = kernels.nngp_function(net, depth)
    scale = kernel.at_one
    gram = kernel(images.gram)
    gram /= scale
    ridge, weights, left_out = _best_ridge(gram, images)
    row: dict[str, Any] = {
        "depth": depth, "sigma_b2": sigma_b2, "a": a, "kind": kind, "q": net.q, "sigma_w2": net.sigma_w2,
        "kernel_error": kernel.error, "diagonal": scale, "stable_rate": kernels.stable_rate(gram) / scale,
        "ridge": ridge, "left_out_error": _squared(left_out - images.targets),
        "left_out_accuracy": _accuracy(left_out, images.y_train),
    }  # fmt: skip
    flow = None
    if settings.rate is not None and kind == "ntk":
        steps = [epoch * (images.all_images // BATCH) for epoch in EPOCHS]
        flow = _flow(gram, images.targets, settings.rate * scale, row["stable_rate"] / settings.rate, steps)
    found = []
    for start in range(0, len(images.cross), _TEST_BLOCK):
        cross = kernel(images.cross[start : start + _TEST_BLOCK])
        cross /= scale
        found.append([cross @ weights, *(flow(cross) if flow else ())])
    final, *stages = (np.concatenate(parts) for parts in zip(*found, strict=True))
    row |= {"test_accuracy": _accuracy(final, images.y_test), "test_images": len(images.y_test)}
    row |= {f"epoch_{epoch}": float("nan") for epoch in EPOCHS}
    row |= {f"epoch_{epoch}": _accuracy(outputs, images.y_test) for epoch, outputs in zip(EPOCHS, stages, strict=False)}
    return row | {"cell_seconds": round(time.process_time() - began, 2)}


def _net(a: float, sigma_b2: float) -> MeanField:
    """Shtanh on its edge of chaos; a infinite: a linear network."""
    return edge_of_chaos(act.shtanh(a=a) if np.isfinite(a) else act.linear(), sigma_b2)


def _best_ridge(gram: Array, images: Images) -> tuple[float, Array, Array]:
    """The ridge with the least squared leave-one-out error, with its weights and left-out predictions.

    The whole curve on a quarter of the images says where to begin; from there downhill, one Cholesky factor a step.
    """
    quarter = slice(len(gram) // 4)
    curve = kernels.KernelRegression(gram[quarter, quarter]).leave_one_out(images.targets[quarter], RIDGES)
    place = int(np.argmin(((curve - images.targets[quarter]) ** 2).sum(axis=(1, 2))))
    tried: dict[int, tuple[float, Array, Array]] = {}

    def error(index: int) -> float:
        if not 0 <= index < len(RIDGES):
            return np.inf
        if index not in tried:
            weights, left_out = kernels.leave_one_out(gram, images.targets, RIDGES[index])
            tried[index] = _squared(left_out - images.targets), weights, left_out
        return tried[index][0]

    while True:
        # The lower ridge first: more images ask for less of it.
        step = next((s for s in (-1, 1) if error(place + s) < error(place)), 0)
        if not step:
            return (float(RIDGES[place]), *tried[place][1:])
        place += step


def _flow(gram: Array, targets: Array, rate: float, stable: float, steps: Sequence[int]) -> Callable[[Array], Array]:
    """Outputs after numbers of steps of gradient descent, from one eigendecomposition.

    The rate of the protocol may be above the stable one of full-batch descent on squared error. Then each step is
    divided into as many smaller ones as stability asks: what is predicted is gradient flow over the same time.
    """
    regression, parts = kernels.KernelRegression(gram), int(np.ceil(max(1.0, 2 / stable)))
    smaller = [parts * count for count in steps]
    return lambda cross: regression.after_steps(cross, targets, rate=rate / parts, steps=smaller)


def _squared(residual: Array) -> float:
    """Mean over images of the summed squares."""
    return float(np.mean(np.sum(residual**2, axis=1)))


def _accuracy(outputs: Array, labels: Any) -> float:
    return float(np.mean(np.argmax(outputs, axis=1) == labels))


# --- Tables ---


def _name(dataset: str, settings: Settings) -> str:
    stages = "-stages" if settings.rate is not None else ""
    slug = re.sub("[^a-z0-9]+", "-", dataset.lower()).strip("-")
    return f"kernel-{settings.images}-width-{settings.width}{stages}-{slug}"


def run(
    dataset: data.Dataset,
    settings: Settings,
    out: str | Path,
    *,
    depths: Sequence[int] = DEPTHS,
    budget: float | None = None,
    echo: Callable[[str], None] = print,
) -> tuple[Path, int]:
    """Add to the table `out`/kernel-IMAGES-width-WIDTH-DATASET.parquet what it lacks; "-stages" marks one with stages.

    Parameters
    ----------
    dataset : Dataset
        Pixels, as `afli.data.load` gives them.
    settings : Settings
        Shared by all rows.
    out : path
        Folder of the table.
    depths : sequence of int
        In the order of work.
    budget : float, optional
        Seconds after which no further cell is begun.
    echo : callable
        Gets a line of text now and then.

    Returns
    -------
    path, missing : Path, int
        The table, and how many of its rows at these depths are still missing.

    Raises
    ------
    TableError
        If the table is of other data or settings, or another process is writing it.
    """
    began = time.monotonic()
    budget = float("inf") if budget is None else scalar("budget", budget, low=0)
    wanted = cells([integer("depths", depth, low=1) for depth in depths])
    path = Path(out) / f"{_name(dataset.name, settings)}.parquet"
    about = {"name": dataset.name, "source": dataset.source, "sha256": dataset.sha256, "features": dataset.features}
    identity = {"dataset": about, "settings": asdict(settings)}
    with exclusive(path):
        rows, manifest = _begun(path, identity)
        missing = [key for key in wanted if key not in _keys(rows)]
        echo(f"{path.name}: {len(wanted)} cells, {len(missing)} to do")
        images = Images(dataset, settings.images) if missing else None
        session: dict[str, Any] = {
            "started": datetime.now(UTC).isoformat(timespec="milliseconds"), "seconds": 0.0, "finished": 0,
            "machine": machine("cpu"), "commit": commit(), "versions": versions(),
        }  # fmt: skip
        for key in tqdm(missing, "cells", mininterval=1.0, disable=None):
            if time.monotonic() - began > budget:
                break
            assert images is not None
            row = pd.DataFrame([cell(images, settings, *key)])
            rows = row if rows.empty else pd.concat([rows, row], ignore_index=True)
            session |= {"finished": session["finished"] + 1, "seconds": round(time.monotonic() - began, 1)}
            _write(path, rows, manifest | {"runs": [*manifest["runs"], session], "rows": len(rows)})
        left = sum(key not in _keys(rows) for key in wanted)
    return path, left


def _begun(path: Path, identity: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows and the manifest of a table that may not exist yet."""
    if not path.exists():
        return pd.DataFrame(), identity | {"runs": []}
    rows, manifest = load(path)
    for name, value in identity.items():
        if manifest[name] != value:
            raise TableError(f"{path} cannot be continued: its {name} is {manifest[name]!r}, not {value!r}")
    if sum(run["finished"] for run in manifest["runs"]) == len(rows) + 1:  # it was killed between the two files
        manifest["runs"][-1]["finished"] -= 1
    return rows, manifest


def load(path: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows and the manifest of a table.

    Raises TableError where one of its two files is missing or damaged, and where q, sigma_w2 or the kernel's diagonal
    of a row is not what the theory gives now: one of the two is wrong.
    """
    path = Path(path).with_suffix(".parquet")
    if not path.exists():
        raise TableError(f"there is no table at {path}")
    if not path.with_suffix(".json").exists():
        raise TableError(f"{path} has no manifest {path.stem}.json: put it back, or delete the rows to begin anew")
    manifest, about = read_manifest(path.with_suffix(".json"), SHAPE), path.stat()
    shared = manifest["settings"]["width"], manifest["dataset"]["features"]
    return _checked(path, (about.st_mtime_ns, about.st_size), *shared).copy(), manifest


@lru_cache(maxsize=8)
def _checked(path: Path, state: tuple[int, int], width: int, features: int) -> pd.DataFrame:
    """The rows of a table as they were when their file had this time and size, checked once."""
    rows = read_rows(path, ["kind"], NUMBERS)
    for row in rows.itertuples():
        net, depth = _net(row.a, row.sigma_b2), int(row.depth)
        if row.kind == "ntk":
            diagonal = kernels.ntk(net, 1.0, depth, width=width, in_features=features)
        else:
            diagonal = kernels.nngp(net, 1.0, depth)
        for name, now in (("q", net.q), ("sigma_w2", net.sigma_w2), ("diagonal", diagonal)):
            if not abs(getattr(row, name) - now) <= THEORY_TOLERANCE * abs(now):
                raise TableError(
                    f"{path} has {name} = {getattr(row, name)!r} for a = {row.a:g}, sigma_b2 = {row.sigma_b2:g}, depth"
                    f" {depth}, {row.kind}; the theory now gives {now!r}: one of them is wrong"
                )
    return rows


def _keys(rows: pd.DataFrame) -> set[tuple[Any, ...]]:
    return set(rows[list(COLUMNS)].itertuples(index=False, name=None)) if len(rows) else set()


def _write(path: Path, rows: pd.DataFrame, manifest: dict[str, Any]) -> None:
    """The manifest first: a row never stands without the entry of its run."""
    replace_file(path.with_suffix(".json"), lambda stream: stream.write(manifest_bytes(manifest)))
    replace_file(path, lambda stream: write_rows(rows, stream))

"""Tables of finished experiments: one Parquet file, and beside it a manifest (JSON) that says where it comes from.

A table has one row per experiment and recorded epoch, in the order of its grid. Columns that end in `_seconds` are the
only ones that are not a function of the settings. Files are replaced atomically: a reader, or the next run, never sees
half a table.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from afli.experiments import presets
from afli.experiments.checkpoints import replace_file
from afli.experiments.spec import Grid

__all__ = ["Table", "TableError", "exclusive", "grid_of", "merge", "same_rows", "summary", "whole"]

KEY = ["experiment", "epoch"]
# Tables that differ in one of these hold numbers that must not be mixed.
IDENTITY = ("preset", "profile", "dataset", "code", "arithmetic")


class TableError(ValueError):
    """A table that cannot be continued or merged; the message says why. Nothing was changed."""


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """One writer per table; the lock goes with the process that holds it. Raises TableError if another has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_suffix(".lock"), timeout=0)
    try:
        with lock:
            yield
    except Timeout as error:
        raise TableError(f"another process is writing {path}") from error


class Table:
    """The table `path` (with or without .parquet), which need not exist yet.

    frame: its rows, empty if there are none. manifest: its manifest, empty if there is none.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        self.path = path if path.suffix == ".parquet" else path.with_name(path.name + ".parquet")
        self.manifest_path = self.path.with_suffix(".json")
        self.frame = pd.read_parquet(self.path) if self.path.exists() else pd.DataFrame(columns=KEY)
        self.manifest: dict[str, Any] = {}
        if self.manifest_path.exists():
            self.manifest = json.loads(self.manifest_path.read_text(encoding="utf-8"))

    @property
    def done(self) -> set[str]:
        """Keys of the finished experiments."""
        return set(self.frame["experiment"])

    def begin(self, grid: Grid, identity: dict[str, Any]) -> None:
        """Claim the table for a grid. identity: its dataset, code and arithmetic.

        Raises TableError if it holds numbers of another dataset, code or arithmetic.
        """
        identity = {"preset": grid.preset, "profile": grid.profile} | identity
        if self.manifest:
            _require_same(
                identity, self.manifest, f"{self.path} cannot be continued: choose another folder, or delete it"
            )
        elif self.done:
            raise TableError(
                f"{self.path} has no manifest {self.manifest_path.name}, so nobody knows where it comes from"
            )
        self.manifest = identity | _extent(grid) | {"runs": self.manifest.get("runs", [])}
        self._write_manifest()

    def add(self, rows: pd.DataFrame, order: Iterable[str], run: dict[str, Any]) -> None:
        """Add finished experiments and write the files. order: keys in the grid's order; run: its manifest entry."""
        self.frame = _sorted(pd.concat([self.frame, rows]) if self.done else rows, order)
        others = [known for known in self.manifest["runs"] if known["started"] != run["started"]]
        self.manifest["runs"] = [*others, dict(run)]
        self._write()

    def _write(self) -> None:
        """The rows first: a manifest never counts experiments that are not there."""
        replace_file(self.path, lambda stream: self.frame.to_parquet(stream, index=False, compression="zstd"))
        self._write_manifest()

    def _write_manifest(self) -> None:
        self.manifest |= {"finished": len(self.done), "rows": len(self.frame)}
        text = json.dumps(self.manifest, indent=2, ensure_ascii=False) + "\n"
        replace_file(self.manifest_path, lambda stream: stream.write(text.encode()))


def merge(paths: Sequence[str | Path], out: str | Path) -> Table:
    """One table from the tables of several machines. Experiments that several of them hold must agree.

    The tables belong to one preset's grid. out: the table to write; it may be one of `paths`. Raises TableError, with
    no table changed, if they belong to different grids, datasets, code or arithmetic, or give one experiment different
    numbers; if `out` has rows and is not one of `paths`; and if another process is writing it.
    """
    target = Table(out).path
    _merged(paths, target)  # what is refused leaves no folder and no lock behind
    with exclusive(target):
        merged = _merged(paths, target)  # once more: until now another process may have written there
        merged._write()
    return merged


def _merged(paths: Sequence[str | Path], target: Path) -> Table:
    """The table that `merge` writes, not yet written."""
    tables = [Table(path) for path in paths]
    for table in tables:
        if not table.done or not table.manifest:
            raise TableError(f"{table.path} must be a table with rows and a manifest, found {len(table.frame)} rows")
        _require_same(tables[0].manifest, table.manifest, f"{table.path} cannot be merged with {tables[0].path}")
    result = Table(target)
    if result.done and target.resolve() not in {table.path.resolve() for table in tables}:
        raise TableError(
            f"{target} has {len(result.done)} experiments that would be lost: name it among the tables to merge, or"
            " choose another name"
        )
    rows, seen = tables[0].frame, tables[0].done
    for table in tables[1:]:
        common = seen & table.done
        if not same_rows(_only(rows, common), _only(table.frame, common)):
            raise TableError(
                f"{table.path} gives other numbers than the tables before it for one of {len(common)} experiments"
            )
        rows = pd.concat([rows, _only(table.frame, table.done - seen)])
        seen |= table.done
    grid = grid_of(tables[0].manifest)
    runs = {run["started"]: run for table in tables for run in table.manifest["runs"]}
    in_order = sorted(runs.values(), key=lambda run: run["started"])
    result.manifest = tables[0].manifest | _extent(grid) | {"runs": in_order}
    result.frame = _sorted(rows, [experiment.key for experiment in grid])
    return result


def same_rows(left: pd.DataFrame, right: pd.DataFrame) -> bool:
    """Whether two tables hold the same numbers, in any order, time columns aside; NaN equals NaN."""
    left, right = (
        frame[[c for c in frame if not str(c).endswith("_seconds")]].sort_values(KEY).reset_index(drop=True)
        for frame in (left, right)
    )
    return left.equals(right)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Per cell at the last epoch: trials, mean and standard deviation of test accuracy, diverged and worse trials.

    worse: trials whose test loss ended above that of the untrained network, which a bounded activation does without
    diverging; 0 where epoch 0 was not recorded.
    """
    cell = ["dataset", "depth", "weights", "phi", "schedule", "sigma_b2", "learning_rate"]
    before = frame[frame["epoch"] == 0].set_index("experiment")["test_loss"]
    last = frame[frame["epoch"] == frame["epochs"]]
    last = last.assign(worse=last["test_loss"] > last["experiment"].map(before))
    groups = last.groupby(cell, sort=False)
    table = groups["test_accuracy"].agg(["size", "mean", "std"]).rename(columns={"size": "trials"})
    return table.join(groups[["diverged", "worse"]].sum()).reset_index()


def _only(frame: pd.DataFrame, keys: set[str]) -> pd.DataFrame:
    return frame[frame["experiment"].isin(keys)]


def _sorted(frame: pd.DataFrame, order: Iterable[str]) -> pd.DataFrame:
    """In the grid's order, then by epoch; experiments that the grid no longer has come last."""
    place = {key: index for index, key in enumerate(order)}
    ranks = frame["experiment"].map(lambda key: place.get(key, len(place)))
    return frame.assign(_rank=ranks).sort_values(["_rank", *KEY]).drop(columns="_rank").reset_index(drop=True)


def grid_of(manifest: dict[str, Any]) -> Grid:
    """The whole grid that a table, perhaps of one shard, belongs to."""
    return presets.grid(manifest["preset"], manifest["profile"]).on(manifest["dataset"]["label"])


def whole(grid: Grid) -> Grid:
    """The preset's grid that `grid` is a shard of, or `grid` itself where it is of no preset."""
    if grid.preset not in presets.PRESETS or grid.profile not in presets.PROFILES:
        return grid
    about = {"preset": grid.preset, "profile": grid.profile, "dataset": {"label": grid.experiments[0].dataset}}
    found = grid_of(about)
    return found if set(grid) <= set(found) else grid


def _extent(grid: Grid) -> dict[str, Any]:
    """How many experiments, and the values that each setting takes."""
    settings = pd.DataFrame([experiment.settings() for experiment in grid]).drop(columns="experiment")
    return {
        "experiments": len(grid),
        "settings": {name: sorted(settings[name].dropna().unique().tolist()) for name in settings},
    }


def _require_same(one: dict[str, Any], other: dict[str, Any], problem: str) -> None:
    for name in IDENTITY:
        if one[name] != other.get(name):
            raise TableError(f"{problem}: its {name} is {other.get(name)!r}, not {one[name]!r}")

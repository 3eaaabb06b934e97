"""Tables of finished experiments: one Parquet file, and beside it a manifest (JSON) that says where it comes from.

A table has one row per experiment and recorded epoch, in the order of its grid. Columns that end in `_seconds` are the
only ones that are not a function of the settings. Files are replaced atomically: a reader, or the next run, never sees
half a table. An experiment is finished when its last epoch has a row; the rows of one that is not are its stages so
far.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from afli.experiments import presets
from afli.experiments.files import replace_file
from afli.experiments.spec import Experiment, Grid

__all__ = [
    "Table", "TableError", "accepted_codes", "conform", "exclusive", "grid_of", "merge", "require_theory", "same_rows",
    "summary", "whole",
]  # fmt: skip

KEY = ["experiment", "epoch"]
# Tables that differ in one of these hold numbers that must not be mixed; the code, see `accepted_codes`, is another.
IDENTITY = ("preset", "profile", "dataset", "arithmetic")
THEORY_TOLERANCE = 1e-9  # q* and sigma_w^2 are good to 1e-12; a wrong formula is off by far more


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
        if self.frame.empty:
            return set()
        return set(self.frame.loc[self.frame["epoch"] == self.frame["epochs"], "experiment"])

    def begin(self, grid: Grid, identity: dict[str, Any]) -> None:
        """Claim the table for a grid. identity: its dataset, code and arithmetic.

        Raises TableError if it holds numbers of another dataset or arithmetic, of code that is not accepted, or of
        another theory.
        """
        identity = {"preset": grid.preset, "profile": grid.profile} | identity
        if self.manifest:
            problem = f"{self.path} cannot be continued: choose another folder, or delete it"
            _require_same(identity, self.manifest, problem)
            if identity["code"] not in accepted_codes(self.manifest):
                codes = f"its code is {self.manifest['code']!r}, not {identity['code']!r}"
                raise TableError(f"{problem}: {codes}. {VERIFY}")
            identity["code"] = self.manifest["code"]
            if len(self.frame):
                self.frame = conform(self.frame, grid)
                require_theory(self.frame, grid, self.path)
        elif len(self.frame):
            raise TableError(
                f"{self.path} has no manifest {self.manifest_path.name}, so nobody knows where it comes from"
            )
        kept = {"runs": self.manifest.get("runs", []), "verified": self.manifest.get("verified", [])}
        self.manifest = identity | _extent(grid) | kept
        self.write_manifest()

    def add(self, rows: pd.DataFrame, order: Iterable[str], run: dict[str, Any]) -> None:
        """Add experiments, or their stages so far, and write the files; earlier rows of the same ones are replaced.

        order: keys in the grid's order; run: its manifest entry.
        """
        others = self.frame[~self.frame["experiment"].isin(set(rows["experiment"]))]
        self.frame = _sorted(pd.concat([others, rows]) if len(others) else rows, order)
        runs = [known for known in self.manifest["runs"] if known["started"] != run["started"]]
        self.manifest["runs"] = [*runs, dict(run)]
        self._write()

    def _write(self) -> None:
        """The rows first: a manifest never counts experiments that are not there."""
        replace_file(self.path, lambda stream: self.frame.to_parquet(stream, index=False, compression="zstd"))
        self.write_manifest()

    def write_manifest(self) -> None:
        """Replace the manifest, with the numbers of rows and finished experiments as they are."""
        self.manifest |= {"finished": len(self.done), "rows": len(self.frame)}
        text = json.dumps(self.manifest, indent=2, ensure_ascii=False) + "\n"
        replace_file(self.manifest_path, lambda stream: stream.write(text.encode()))


VERIFY = "`afli verify` trains a part of it again and, where the numbers agree, accepts the code as it is now"


def accepted_codes(manifest: dict[str, Any]) -> set[str]:
    """The hash of the code that made a table, and of every code that was verified to give the same numbers."""
    return {manifest["code"], *(entry["code"] for entry in manifest.get("verified", []))}


def conform(frame: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """A table's rows as the code now names them: settings that came later are at their default, keys follow settings.

    Rows whose settings are not those of any experiment of the grid keep the key that they have.
    """
    missing = {
        field.name: [field.default] * len(frame) for field in fields(Experiment)
        if field.default is not MISSING and field.name not in frame and field.name not in ("parameters", "record")
    }  # fmt: skip
    frame = frame.assign(**missing)
    keys = {experiment.key for experiment in grid}
    if set(frame["experiment"]) <= keys:
        return frame
    settings = pd.DataFrame([experiment.settings() for experiment in grid])
    by = [column for column in settings if column != "experiment"]
    typed = frame[by].astype(settings[by].dtypes.to_dict())
    named = typed.merge(settings.drop_duplicates(by), on=by, how="left")["experiment"].set_axis(frame.index)
    return frame.assign(experiment=named.where(named.notna(), frame["experiment"]))


def require_theory(frame: pd.DataFrame, grid: Iterable[Experiment], path: Path) -> None:
    """Raise TableError unless q and sigma_w2 of every row are those that the theory gives for its settings now."""
    known = {experiment.key: experiment for experiment in grid}
    for key, stored in frame.groupby("experiment")[["q", "sigma_w2"]].first().iterrows():
        if key not in known:
            continue
        net = known[key].mean_field
        for name, now in (("q", net.q), ("sigma_w2", net.sigma_w2)):
            if not abs(stored[name] - now) <= THEORY_TOLERANCE * abs(now):
                raise TableError(
                    f"{path} has {name} = {stored[name]!r} for {net.phi.name}, sigma_b2 = {net.sigma_b2:g}; the theory"
                    f" now gives {now!r}: one of them is wrong"
                )
    if not (frame.groupby("experiment")[["q", "sigma_w2"]].nunique() == 1).all(axis=None):
        raise TableError(f"{path} has experiments whose rows differ in q or sigma_w2")


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
        problem = f"{table.path} cannot be merged with {tables[0].path}"
        _require_same(tables[0].manifest, table.manifest, problem)
        if not accepted_codes(tables[0].manifest) & accepted_codes(table.manifest):
            raise TableError(f"{problem}: its code is {table.manifest['code']!r}, not {tables[0].manifest['code']!r}")
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
    rows = _only(rows, seen)  # stages of unfinished experiments stay with the run that goes on
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

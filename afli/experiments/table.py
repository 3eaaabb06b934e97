"""Tables of finished experiments: one Parquet file, and beside it a manifest (JSON) that says where it comes from.

A table has one row per experiment and recorded epoch, in the order of its grid. Columns that end in `_seconds`, and
`versions`, are the only ones that are not a function of the settings. Files are replaced atomically: a reader, or the
next run, never sees half a table; pages of the table and the manifest carry checksums, so that a damaged one is refused
and not read as other numbers. Several processes may write one table, each for a moment. An experiment is finished when
its last epoch has a row; the rows of one that is not are its stages so far.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow
from filelock import FileLock, Timeout
from pyarrow import parquet

from afli.experiments import presets
from afli.experiments.files import replace_file
from afli.experiments.spec import Experiment, Grid, own_activations

__all__ = [
    "Table", "TableError", "accepted_codes", "alone", "conform", "exclusive", "grid_of", "in_words", "manifest_bytes",
    "merge", "read_manifest", "read_rows", "require_settings", "require_theory", "same_rows", "settings_of", "summary",
    "whole", "write_rows",
]  # fmt: skip

KEY = ["experiment", "epoch"]
# Tables that differ in one of these hold numbers that must not be mixed; the code, see `accepted_codes`, is another.
IDENTITY = ("preset", "profile", "dataset", "arithmetic")
# What the rows and the manifest of a table of experiments must have; a list holds any number of what it shows.
WORDS = ("experiment", "activation", "phi")
NUMBERS = (
    "epoch", "epochs", "trial", "depth", "width", "a", "sigma_b2", "learning_rate", "q", "sigma_w2",
    "test_accuracy", "test_loss", "train_loss", "diverged",
)  # fmt: skip
SHAPE: dict[str, Any] = {
    "preset": str, "profile": str, "arithmetic": str, "code": str, "experiments": int, "settings": dict,
    "dataset": {"label": str, "name": str, "sha256": str},
    "runs": [{"started": str, "finished": int, "machine": str, "versions": dict}],
}  # fmt: skip
MAY_HAVE: dict[str, Any] = {"verified": [{"code": str}], "activations": dict}
DECISIVE = ("python", "torch", "numpy", "scipy")  # the packages whose version a row names: they compute its numbers
SAME_FUNCTION = 1e-9  # relative; machines and versions of numpy differ by some 1e-16 in a value
FORMAT = 2  # of manifests: since 2 they have a checksum, and one that has lost it is refused
COLUMNS = b"afli_columns"  # the key, in a Parquet file, of the checksum of its columns
SECONDS_TO_WAIT = 30.0  # others write for a moment only; a disk of a cluster may take some seconds
THEORY_TOLERANCE = 1e-9  # q* and sigma_w^2 are good to 1e-12; a wrong formula is off by far more


class TableError(ValueError):
    """A table that cannot be continued or merged; the message says why. Nothing was changed."""


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """One writer per table at a time; others wait. The lock goes with the process that holds it.

    Raises TableError if another process has it for longer than a table takes to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_suffix(".lock"), timeout=SECONDS_TO_WAIT)
    try:
        with lock:
            yield
    except Timeout as error:
        raise TableError(
            f"another process is writing {path}, for more than {SECONDS_TO_WAIT:g} s; if none is, delete"
            f" {lock.lock_file}"
        ) from error


@contextmanager
def alone(grid: Grid, folder: Path) -> Iterator[None]:
    """One process trains the experiments of `grid`; shards of one grid are different ones.

    folder: where the lock lies meanwhile. Raises TableError if another process trains them.
    """
    keys = hashlib.sha256("".join(sorted(experiment.key for experiment in grid)).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{keys}.lock"
    try:
        with FileLock(path, timeout=0):
            try:
                yield
            finally:
                with suppress(OSError):  # Windows removes no file that is open
                    path.unlink()
    except Timeout as error:
        raise TableError(
            f"another process is training these {len(grid)} experiments of {grid.name}; if none is, delete {path}"
        ) from error
    finally:
        with suppress(OSError):  # it is not empty: progress is kept there, or another shard has its lock
            folder.rmdir()


class Table:
    """The table `path` (with or without .parquet, or the .json beside it), which need not exist yet.

    frame: its rows, empty if there are none. manifest: its manifest, empty if there is none.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        stem = path.stem if path.suffix in (".parquet", ".json") else path.name
        self.path = path.parent / f"{stem}.parquet"
        if path.is_dir() and not self.path.is_file():
            raise TableError(f"{path} is a folder: name the table in it")
        self.manifest_path = self.path.with_suffix(".json")
        self._grid: Grid | None = None
        self._read()

    def _read(self) -> None:
        self._state = self._files()
        self.frame = pd.DataFrame(columns=KEY)
        if self.path.exists():
            self.frame = _with_later_settings(read_rows(self.path, WORDS, NUMBERS))
        if self.frame.duplicated(KEY).any():
            raise TableError(f"{self.path} holds a row twice")
        self.manifest: dict[str, Any] = {}
        if self.manifest_path.exists():
            self.manifest = read_manifest(self.manifest_path, SHAPE)
        for run in self.manifest.get("runs", []):  # of a process that was killed between the table and the manifest
            run["finished"] += len(self.done & set(run.pop("adding", ())))

    @property
    def done(self) -> set[str]:
        """Keys of the finished experiments."""
        return set() if self.frame.empty else _finished(self.frame)

    def begin(self, grid: Grid, identity: dict[str, Any]) -> None:
        """Claim the table for a grid. identity: its dataset, code and arithmetic.

        Raises TableError if it holds numbers of another dataset or arithmetic, of code that is not accepted, of another
        theory, or of another function under the name of a registered activation.
        """
        identity = {"preset": grid.preset, "profile": grid.profile} | identity
        with exclusive(self.path):
            self._read()
            own = own_activations(grid)
            if self.manifest:
                problem = f"{self.path} cannot be continued: choose another folder, or delete it"
                _require_same(identity, self.manifest, problem)
                _require_same_functions(own, self.manifest, problem)
                if identity["code"] not in accepted_codes(self.manifest):
                    codes = f"its code is {self.manifest['code']!r}, not {identity['code']!r}"
                    raise TableError(f"{problem}: {codes}. {VERIFY}")
                identity["code"] = self.manifest["code"]
                if len(self.frame):
                    self.frame = conform(self.frame, grid)
                    require_settings(self.frame, settings_of(grid), self.path)
                    require_theory(self.frame, grid, self.path)
            elif len(self.frame):
                raise TableError(
                    f"{self.path} has no manifest {self.manifest_path.name}, so nobody knows where it comes from: put"
                    " it back, or choose another folder"
                )
            runs = self.manifest.get("runs", []) if len(self.frame) else []  # without rows, nothing comes from them
            kept = {"runs": runs, "verified": self.manifest.get("verified", [])}
            functions = self.manifest.get("activations", {}) | own
            extent = _extent(grid, self.frame)
            self.manifest = identity | extent | kept | ({"activations": functions} if functions else {})
            self._grid = grid
            self.write_manifest()

    def add(self, rows: pd.DataFrame, order: Iterable[str], run: dict[str, Any]) -> None:
        """Add experiments, or their stages so far, and write the files; earlier stages of the same ones are replaced.

        order: keys in the grid's order; run: its manifest entry, known by its "id"; how many it has "finished" is
        counted here. What other processes have written meanwhile is kept, and an experiment that they have finished is
        theirs. The entry stands in the manifest before its rows are in the table.
        """
        with exclusive(self.path):
            if self._files() != self._state:
                self._read()
                if self._grid is not None and len(self.frame):
                    self.frame = conform(self.frame, self._grid)
            rows = _only(rows, set(rows["experiment"]) - self.done).assign(versions=in_words(run["versions"]))
            if rows.empty:
                return
            added = sorted(_finished(rows))
            before = next((known for known in self.manifest["runs"] if known.get("id") == run["id"]), None)
            earlier = before["finished"] if before else 0
            others = [known for known in self.manifest["runs"] if known is not before]
            self.manifest["runs"] = [*others, run | {"finished": earlier, "adding": added}]
            self.write_manifest()
            kept = self.frame[~self.frame["experiment"].isin(set(rows["experiment"]))]
            self.frame = _sorted(pd.concat([kept, rows]) if len(kept) else rows, order)
            self.manifest["runs"] = [*others, run | {"finished": earlier + len(added)}]
            self._write()

    def _write(self) -> None:
        """The rows first: a manifest never counts experiments that are not there."""
        replace_file(self.path, lambda stream: write_rows(self.frame, stream))
        self.write_manifest()

    def write_manifest(self) -> None:
        """Replace the manifest, with the numbers of rows and finished experiments as they are."""
        self.manifest |= {"finished": len(self.done), "rows": len(self.frame)}
        content = manifest_bytes(self.manifest)
        replace_file(self.manifest_path, lambda stream: stream.write(content))
        self._state = self._files()

    def _files(self) -> list[tuple[int, ...]]:
        """What changes whenever one of the two files is replaced."""
        found = [path.stat() for path in (self.path, self.manifest_path) if path.exists()]
        return [(about.st_ino, about.st_mtime_ns, about.st_size) for about in found]


def write_rows(frame: pd.DataFrame, stream: IO[bytes]) -> None:
    """Write a frame as Parquet whose pages and columns carry checksums."""
    rows = pyarrow.Table.from_pandas(frame, preserve_index=False)
    rows = rows.replace_schema_metadata({**(rows.schema.metadata or {}), COLUMNS: _columns(rows.schema)})
    parquet.write_table(rows, stream, compression="zstd", write_page_checksum=True)


def read_rows(path: Path, words: Sequence[str] = (), numbers: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of a Parquet file, which must have these columns; one without checksums is read as it is.

    Raises TableError if it is damaged, or a column is missing or not of numbers.
    """
    try:
        rows = parquet.read_table(path, page_checksum_verification=True)
        frame = rows.to_pandas()
        written = (rows.schema.metadata or {}).get(COLUMNS)
        # pandas adds the names again, and no checksum covers that.
        if written and (written != _columns(rows.schema) or list(frame.columns) != rows.schema.names):
            raise ValueError("its columns are not those that were written")
        if lacking := [name for name in (*words, *numbers) if name not in frame]:
            raise ValueError(f"it has no column {', '.join(lacking)}")
        if others := [name for name in numbers if frame[name].dtype.kind not in "biuf"]:
            raise ValueError(f"it has no numbers in {', '.join(others)}")
        return frame
    except Exception as error:  # what is raised depends on where the damage is: OSError, ArrowInvalid, UnicodeError...
        raise TableError(f"{path} is no table, or damaged: {str(error).partition(chr(10))[0]}") from error


def _columns(schema: pyarrow.Schema) -> bytes:
    """A checksum of names and types, which no page's checksum covers."""
    plain = [(field.name, str(field.type)) for field in schema]
    return hashlib.sha256(repr(plain).encode()).hexdigest().encode()


def manifest_bytes(manifest: dict[str, Any]) -> bytes:
    """What a manifest's file holds: before its content the format, and a checksum of both."""
    content = {"format": FORMAT} | manifest
    text = json.dumps({"format": FORMAT, "checksum": _checksum(content)} | content, indent=2, ensure_ascii=False)
    return f"{text}\n".encode()


def read_manifest(path: Path, shape: dict[str, Any]) -> dict[str, Any]:
    """The content of a manifest, which must be of that shape; one from before there were checksums is read as it is.

    Raises TableError if it is damaged, was changed after it was written, or is of another shape.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8-sig"))  # some editors write a byte order mark
    except (ValueError, RecursionError) as error:  # of JSON or of UTF-8
        raise TableError(f"{path} is damaged: {error}") from error
    if problem := _misfit(manifest, shape) or _misfit(manifest, {n: MAY_HAVE[n] for n in MAY_HAVE if n in manifest}):
        raise TableError(f"{path} is no manifest of such a table, or damaged: {problem}")
    written = manifest.pop("checksum", None)
    if written != _checksum(manifest) and not (written is None and "format" not in manifest):
        raise TableError(
            f"{path} is damaged, or was edited: its checksum {reprlib.repr(written)} is not that of its content. Put it"
            ' back as it was; if the edit is meant, delete the lines "format" and "checksum" in it'
        )
    return {name: value for name, value in manifest.items() if name != "format"}


def _checksum(manifest: dict[str, Any]) -> str:
    """Of what a JSON file says, however it is laid out."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _misfit(value: Any, shape: Any, where: str = "") -> str:
    """In which way something from a JSON file is not of the shape; "" if it is."""
    kind: Any = shape if isinstance(shape, type) else type(shape)
    if not isinstance(value, kind):
        return f"{where or 'it'} is {value!r:.40}"
    if isinstance(shape, dict):
        if lacking := [name for name in shape if name not in value]:
            return f"{where or 'it'} has no {', '.join(lacking)}"
        found = [_misfit(value[name], part, f"{where} {name}".strip()) for name, part in shape.items()]
    elif isinstance(shape, list):
        found = [_misfit(entry, shape[0], f"{where} {number}") for number, entry in enumerate(value, 1)]
    else:
        found = []
    return next(filter(None, found), "")


def in_words(versions: dict[str, str]) -> str:
    """The versions that decide about numbers, e.g. "python 3.11.7, torch 2.13.0+cpu, numpy 2.4.6, scipy 1.17.1"."""
    return ", ".join(f"{name} {versions[name]}" for name in DECISIVE if name in versions)


VERIFY = "`afli verify` trains a part of it again and, where the numbers agree, accepts the code as it is now"


def accepted_codes(manifest: dict[str, Any]) -> set[str]:
    """The hash of the code that made a table, and of every code that was verified to give the same numbers."""
    return {manifest["code"], *(entry["code"] for entry in manifest.get("verified", []))}


def _with_later_settings(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows, in which settings that came after they were made are at their default, and versions unknown."""
    later = {field.name: field.default for field in fields(Experiment) if field.default is not MISSING}
    later = {name: value for name, value in later.items() if name not in ("parameters", "record")} | {"versions": ""}
    return frame.assign(**{name: [value] * len(frame) for name, value in later.items() if name not in frame})


def conform(frame: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """A table's rows as the code now names them: keys follow settings.

    Rows whose settings are not those of any experiment of the grid keep the key that they have.
    """
    keys = {experiment.key for experiment in grid}
    if set(frame["experiment"]) <= keys:
        return frame
    settings = settings_of(grid)
    by = [column for column in settings if column != "experiment"]
    typed = frame[by].astype(settings[by].dtypes.to_dict())
    named = typed.merge(settings.drop_duplicates(by), on=by, how="left")["experiment"].set_axis(frame.index)
    return frame.assign(experiment=named.where(named.notna(), frame["experiment"]))


def settings_of(grid: Iterable[Experiment]) -> pd.DataFrame:
    """A row per experiment: its key, in the column `experiment`, and its settings."""
    return pd.DataFrame([experiment.settings() for experiment in grid])


def require_settings(frame: pd.DataFrame, settings: pd.DataFrame, path: Path) -> None:
    """Raise TableError unless rows have the settings that their keys stand for; keys without settings are passed over.

    settings: as `settings_of` gives them.
    """
    known = settings.set_index("experiment", drop=False)
    rows = frame[frame["experiment"].isin(known.index)]
    expected = known.loc[rows["experiment"]].set_axis(rows.index)
    wrong = []
    for column in expected:
        try:
            same = expected[column].equals(rows[column].astype(expected[column].dtype))
        except ValueError:  # a word where a number should stand
            same = False
        if not same:
            wrong.append(column)
    if wrong:
        raise TableError(f"{path} says other settings than its preset in {', '.join(wrong)}")


def require_theory(frame: pd.DataFrame, grid: Iterable[Experiment], source: object) -> None:
    """Raise TableError unless q and sigma_w2 of every row are those that the theory gives for its settings now.

    source: where the rows come from, in words.
    """
    known = {experiment.key: experiment for experiment in grid}
    for key, stored in frame.groupby("experiment")[["q", "sigma_w2"]].first().iterrows():
        if key not in known:
            continue
        net = known[key].mean_field
        for name, now in (("q", net.q), ("sigma_w2", net.sigma_w2)):
            if not abs(stored[name] - now) <= THEORY_TOLERANCE * abs(now):
                raise TableError(
                    f"{source} has {name} = {float(stored[name])!r} for {net.phi.name}, sigma_b2 = {net.sigma_b2:g};"
                    f" the theory now gives {now!r}: one of them is wrong"
                )
    if not (frame.groupby("experiment")[["q", "sigma_w2"]].nunique() == 1).all(axis=None):
        raise TableError(f"{source} has experiments whose rows differ in q or sigma_w2")


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
        merged.write_manifest()  # first: whenever the machine stops, no rows are without it
        merged._write()
    return merged


def _merged(paths: Sequence[str | Path], target: Path) -> Table:
    """The table that `merge` writes, not yet written."""
    tables = [Table(path) for path in paths]
    if not tables:
        raise TableError(f"there must be a table to merge into {target}, got none")
    first = tables[0]
    for table in tables:
        if not table.done or not table.manifest:
            raise TableError(f"{table.path} must be a table with rows and a manifest, found {len(table.frame)} rows")
        problem = f"{table.path} cannot be merged with {first.path}"
        _require_same(first.manifest, table.manifest, problem)
        _require_same_functions(first.manifest.get("activations", {}), table.manifest, problem)
        if not accepted_codes(first.manifest) & accepted_codes(table.manifest):
            raise TableError(f"{problem}: its code is {table.manifest['code']!r}, not {first.manifest['code']!r}")
    result = Table(target)
    if result.done and target.resolve() not in {table.path.resolve() for table in tables}:
        raise TableError(
            f"{target} has {len(result.done)} experiments that would be lost: name it among the tables to merge, or"
            " choose another name"
        )
    rows, seen, runs = first.frame, first.done, list(first.manifest["runs"])
    for table in tables[1:]:
        common = seen & table.done
        if common and not same_rows(_only(rows, common), _only(table.frame, common)):
            raise TableError(
                f"{table.path} gives other numbers than the tables before it for one of {len(common)} experiments"
            )
        rows = pd.concat([rows, _only(table.frame, table.done - seen)])
        seen |= table.done
        runs = _united(runs, table.manifest["runs"], copies=bool(common))
    rows = _only(rows, seen)  # stages of unfinished experiments stay with the run that goes on
    verified: list[Any] = []
    functions: dict[str, Any] = {}
    for table in tables:
        verified += [entry for entry in table.manifest.get("verified", []) if entry not in verified]
        functions |= table.manifest.get("activations", {})
    if _is_known(first.manifest):
        grid = grid_of(first.manifest)
        rows = conform(rows, grid)
        require_settings(rows, settings_of(grid), target)
        require_theory(rows, grid, target)
        order, extent = [experiment.key for experiment in grid], _extent(grid, rows)
    else:  # a grid of one's own, that only its author has: what the tables say of it
        order = [key for table in tables for key in table.frame["experiment"]]
        names = {name for table in tables for name in table.manifest["settings"]}
        values = {n: {v for table in tables for v in table.manifest["settings"].get(n, ())} for n in sorted(names)}
        count = max(len(seen), *(table.manifest["experiments"] for table in tables))
        extent = {"experiments": count, "settings": {name: sorted(found) for name, found in values.items()}}
    lists = {"runs": sorted(runs, key=lambda run: run["started"]), "verified": verified}
    result.manifest = first.manifest | extent | lists | ({"activations": functions} if functions else {})
    result.frame = _sorted(rows, order)
    return result


def _united(runs: list[dict[str, Any]], others: list[dict[str, Any]], *, copies: bool) -> list[dict[str, Any]]:
    """All entries of two manifests, each run once, as it was when it had finished more.

    copies: whether the tables have experiments in common; only then can entries from before runs had an id be of one
    run, since two machines may have begun in the same millisecond.
    """
    found = list(runs)
    for other in others:
        same = [
            place for place, run in enumerate(found)
            if ("id" in run and run["id"] == other.get("id")) or (copies and "id" not in run and _alike(run, other))
        ]  # fmt: skip
        if not same:
            found.append(other)
        elif other["finished"] > found[same[0]]["finished"]:
            found[same[0]] = other
    return found


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    changing = ("finished", "seconds")
    return {k: v for k, v in one.items() if k not in changing} == {k: v for k, v in other.items() if k not in changing}


def same_rows(left: pd.DataFrame, right: pd.DataFrame) -> bool:
    """Whether two tables hold the same numbers, in any order, times and versions aside; NaN equals NaN."""
    left, right = (
        frame[sorted(c for c in frame if c != "versions" and not str(c).endswith("_seconds"))]
        .sort_values(KEY)
        .reset_index(drop=True)
        for frame in (left, right)
    )
    return left.equals(right)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Per cell at the last epoch: trials, mean and standard deviation of test accuracy, diverged and worse trials.

    A cell is one value of every setting but the trial; of sigma_w2 too, where it does not follow from the others.
    worse: trials whose test loss ended above that of the untrained network, which a bounded activation does without
    diverging; 0 where epoch 0 was not recorded.
    """
    last = frame[frame["epoch"] == frame["epochs"]]
    cell = ["phi" if field.name == "activation" else field.name for field in fields(Experiment)]
    cell = [name for name in cell if name in frame and name not in ("trial", "sigma_w2")]
    # To 6 digits: on the edge of chaos it is computed, and two machines may differ in the last of 16.
    weight_variance = last["sigma_w2"].map(lambda value: float(f"{value:.6g}"))
    last = last.assign(sigma_w2=weight_variance)
    if (last.groupby(["phi", "sigma_b2"])["sigma_w2"].nunique() > 1).any():
        cell.append("sigma_w2")
    if last.duplicated([*cell, "trial"]).any():  # parameters that are one in the six digits of their names
        cell.append("experiment")
    before = frame[frame["epoch"] == 0].set_index("experiment")["test_loss"]
    last = last.assign(worse=last["test_loss"] > before.reindex(last["experiment"]).to_numpy())
    groups = last.groupby(cell, sort=False, dropna=False)
    table = groups["test_accuracy"].agg(["size", "mean", "std"]).rename(columns={"size": "trials"})
    return table.join(groups[["diverged", "worse"]].sum()).reset_index()


def _finished(rows: pd.DataFrame) -> set[str]:
    return set(rows.loc[rows["epoch"] == rows["epochs"], "experiment"])


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


def _is_known(manifest: dict[str, Any]) -> bool:
    return manifest["preset"] in presets.PRESETS and manifest["profile"] in presets.PROFILES


def whole(grid: Grid) -> Grid:
    """The preset's grid that `grid` is a shard of, or `grid` itself where it is of no preset."""
    if not _is_known({"preset": grid.preset, "profile": grid.profile}):
        return grid
    about = {"preset": grid.preset, "profile": grid.profile, "dataset": {"label": grid.experiments[0].dataset}}
    found = grid_of(about)
    return found if set(grid) <= set(found) else grid


def _extent(grid: Grid, rows: pd.DataFrame) -> dict[str, Any]:
    """How many experiments the grid and the finished ones of the table are, and the values that each setting takes."""
    settings = settings_of(grid)
    if not rows.empty:  # a grid of one's own may have been another one before
        there = rows[rows["epoch"] == rows["epochs"]]
        settings = pd.concat([settings, there[list(settings)]]).drop_duplicates("experiment")
    values = settings.drop(columns="experiment")
    return {
        "experiments": len(settings),
        "settings": {name: sorted(values[name].dropna().unique().tolist()) for name in values},
    }


def _require_same_functions(own: dict[str, list[float]], manifest: dict[str, Any], problem: str) -> None:
    known = manifest.get("activations", {})
    for name in sorted(own.keys() & known.keys()):
        if not np.allclose(own[name], known[name], rtol=SAME_FUNCTION, atol=SAME_FUNCTION):
            raise TableError(f"{problem}: its activation {name} is another function than the one of that name now")


def _require_same(one: dict[str, Any], other: dict[str, Any], problem: str) -> None:
    for name in IDENTITY:
        if one[name] != other.get(name):
            raise TableError(f"{problem}: its {name} is {other.get(name)!r}, not {one[name]!r}")

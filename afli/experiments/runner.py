"""Run a grid: estimate, train what is missing, write every finished chunk, stop cleanly, go on where it stopped."""

from __future__ import annotations

import re
import reprlib
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import torch
from tqdm import tqdm

from afli import data
from afli._inputs import function, integer, path, scalar, text
from afli.experiments import executors
from afli.experiments.planning import Chunk, estimate_seconds, members_at_once, pack
from afli.experiments.provenance import commit, versions
from afli.experiments.spec import OWN_ACTIVATIONS, Grid
from afli.experiments.table import Table, alone, in_words, whole
from afli.experiments.training import Setup

__all__ = ["Report", "run"]


@dataclass(frozen=True)
class Report:
    """What a run did.

    Attributes
    ----------
    table : Path
        The file.
    finished, missing : int
        Experiments that this run has finished, and that are still to do.
    seconds : float
        How long it took.
    stopped : str
        Why, if any is missing.
    lost : int
        Of the missing, those that were given up because their workers died or failed.
    """

    table: Path
    finished: int
    missing: int
    seconds: float
    stopped: str
    lost: int = 0


def run(
    grid: Grid,
    out: str | Path,
    *,
    dataset: data.Dataset | str | None = None,
    device: str = "auto",
    arithmetic: str = "float32",
    budget: float | None = None,
    executor: str = "local",
    limit: int | None = None,
    chunk: int | None = None,
    echo: Callable[[str], None] = print,
) -> Report:
    """Train the experiments of `grid` that the table `out`/`grid.name`.parquet does not have yet.

    Stops cleanly at the budget, on SIGTERM, SIGHUP and Ctrl-C: chunks in progress are saved, and the next call goes on
    with them. Killed at any moment it loses at most a minute of each, and never damages a table.

    Parameters
    ----------
    grid
        What to train. Shards of one grid may share the folder `out`, also at the same time.
    out
        The folder for the table and its manifest.
    dataset
        None loads the grid's own; a Dataset, or a name for `afli.data.load`, puts the grid on that one instead.
    device
        "cpu", "cuda", "cuda:N", or "auto": a GPU of this machine, if there is one.
    arithmetic
        See `Setup`.
    budget
        Seconds after which to stop, None for no limit.
    executor
        "local"; "dask-local:N", N processes of this machine; "dask://HOST:PORT", a running cluster.
    limit
        At most so many experiments, the first ones missing; None for all.
    chunk
        At most so many networks are trained together; None for as many as the device trains well.
    echo
        Told, in words, what is done and what goes wrong.

    Raises
    ------
    TableError
        If the table belongs to other code or data, or another process is training the same experiments.
    NoFixedPointError
        Before any training, if an experiment has no edge of chaos.
    WorkerError, ConnectionError
        If a worker of a cluster has other code; if the cluster is lost.
    ValueError, TypeError, DataError
        For options that cannot be meant; and what `data.load` raises.
    """
    began = time.monotonic()
    if not isinstance(grid, Grid):
        raise TypeError(
            f"grid must be a Grid, as experiments.grid(preset, profile) makes one, got {reprlib.repr(grid)}"
        )
    out = path("out", out)
    function("echo", echo)
    if not (dataset is None or isinstance(dataset, (data.Dataset, str))):
        raise TypeError(f"dataset must be a Dataset or a name, got {reprlib.repr(dataset)}")
    budget = None if budget is None else scalar("budget", budget, low=0)
    limit = None if limit is None else integer("limit", limit, low=0)
    chunk = None if chunk is None else integer("chunk", chunk, low=1)
    if not len(grid):
        raise ValueError("grid must have at least one experiment, got none")
    workers = executors.worker_count(executor)
    elsewhere = executor.startswith("dask://")
    setup = Setup(_device(device, elsewhere), arithmetic)
    if chunk is None and setup.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("chunk must say how many networks fit a GPU of the cluster: this machine has none to ask")
    grid, source, images = _on_dataset(grid, dataset)
    if len({experiment.key for experiment in grid}) < len(grid):
        raise ValueError(f"grid must have every experiment once, got one of {grid.name} twice")
    if Path(grid.name).name != grid.name:
        raise ValueError(f"preset and profile of a grid name its files, got {grid.preset!r} and {grid.profile!r}")
    shares = {experiment.validation for experiment in grid}
    trained_on = {share: len(data.hold_out(images, share)[0].y_train) for share in shares}
    for experiment in grid:
        if experiment.batch > trained_on[experiment.validation]:
            raise ValueError(
                f"batch must be at most {trained_on[experiment.validation]}, the number of training images, got"
                f" {experiment.batch}"
            )
        _ = experiment.mean_field  # raises here, before hours of work, where there is none
    full = whole(grid)  # shards may share a folder: the table is the whole grid's
    target = out / f"{grid.name}.parquet"
    own = {e.activation: OWN_ACTIVATIONS[e.activation] for e in grid if e.activation in OWN_ACTIVATIONS}
    # Absolute: the workers of a cluster may have been started in another folder.
    work = executors.Work(source, images.sha256, setup, target.with_suffix(".checkpoints").absolute(), own)
    lost: list[str] = []

    def on_lost(members: Chunk, why: str) -> None:
        lost.extend(experiment.key for experiment in members)
        echo(f"given up: {_named(members)}: {why}")

    with alone(grid, work.folder), _Stop(budget, began) as stop:
        table = Table(target)
        table.begin(full, {"dataset": _about(grid, images), "code": work.code, "arithmetic": arithmetic})
        left = [experiment for experiment in grid if experiment.key not in table.done]
        missing = left[:limit]
        done = len(grid) - len(left)
        echo(f"{grid.name}: {len(grid)} experiments, {done} done, {len(missing)} to do on {setup.device}")
        now, then = in_words(versions()), {in_words(entry["versions"]) for entry in table.manifest["runs"]}
        if missing and then - {now}:
            echo(f"rows were made with {'; '.join(sorted(then - {now}))}; those of this run say {now}")
        if missing:
            begun = executors.interrupted(work, {experiment.key for experiment in left}, table.done, echo)
            chunks = pack(missing, lambda e: chunk or members_at_once(e, images, setup), begun)
            about = "" if elsewhere else f", about {_duration(estimate_seconds(missing, images, setup) / workers)}"
            echo(f"{len(chunks)} ensembles{about}")
            session = _Session(setup, executor, began)
            order = [experiment.key for experiment in full]
            stages = _Stages(lambda rows, place: table.add(rows, order, session.entry(place)))
            with _Bar(len(missing)) as bar:
                for finished in executors.train_all(
                    executor, chunks, work, images,
                    should_stop=stop, on_progress=bar.advance, on_stage=stages, on_lost=on_lost, echo=echo,
                ):  # fmt: skip
                    table.add(finished.rows, order, session.entry(finished.place))
    left = [experiment for experiment in grid if experiment.key not in table.done]
    finished_now = len({experiment.key for experiment in missing} & table.done)
    why = (stop.reason or ("workers died or failed" if lost else "the limit is reached")) if left else ""
    return Report(target, finished_now, len(left), time.monotonic() - began, why, len(lost))


def _named(members: Chunk) -> str:
    """A chunk in words: how many networks, and what they have in common."""
    first = members[0]
    values = [f"depth {first.depth}", f"width {first.width}", first.phi.name, f"sigma_b2 {first.sigma_b2:g}"]
    return f"{len(members)} networks, the first of them {', '.join(values)}, trial {first.trial} ({first.key})"


def _on_dataset(grid: Grid, dataset: data.Dataset | str | None) -> tuple[Grid, str | None, data.Dataset]:
    """The grid on its dataset, the name to load that by (None if it was handed over), and the dataset."""
    if isinstance(dataset, data.Dataset):
        return grid.on(dataset.name), None, dataset
    names = {experiment.dataset for experiment in grid}
    if dataset is None and len(names) != 1:
        raise ValueError(f"a grid must be on one dataset, got {sorted(names)}")
    source = names.pop() if dataset is None else dataset
    images = data.load(source)
    return grid.on(images.name if source.startswith("npz:") else source), source, images


def _about(grid: Grid, images: data.Dataset) -> dict[str, str]:
    label = grid.experiments[0].dataset
    return {"label": label, "name": images.name, "source": images.source, "sha256": images.sha256}


def _device(name: str, elsewhere: bool = False) -> str:
    """The device by its full name. elsewhere: workers of a cluster have it, this machine need not."""
    name = text("device", name)
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cpu" and not re.fullmatch(r"cuda(:\d+)?", name):
        raise ValueError(f"device must be cpu, cuda, cuda:N or auto, got {name!r}")
    if name != "cpu" and not elsewhere:
        if not torch.cuda.is_available():
            raise ValueError(f"device must be cpu or auto here: torch {torch.__version__} sees no GPU, got {name!r}")
        if ":" in name and int(name.partition(":")[2]) >= torch.cuda.device_count():
            raise ValueError(f"device must be below cuda:{torch.cuda.device_count()} here, got {name!r}")
    return str(torch.device(name))


def _duration(seconds: float) -> str:
    """Seconds in words: 45 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class _Stages:
    """Writes the stages of networks that train for long, so that an interrupted run leaves them in its table."""

    def __init__(self, write: Callable[[pd.DataFrame, executors.Place], None], seconds: float = 60.0) -> None:
        self.write, self.seconds, self.written = write, seconds, time.monotonic()

    def __call__(self, rows: pd.DataFrame, place: executors.Place) -> None:
        if time.monotonic() - self.written >= self.seconds:
            self.write(rows, place)
            self.written = time.monotonic()


class _Session:
    """This run's entries in the manifest: one for each machine, and each set of versions, that trained for it."""

    def __init__(self, setup: Setup, executor: str, began: float) -> None:
        self.began = began
        self.common: dict[str, Any] = {
            "started": datetime.now(UTC).isoformat(timespec="milliseconds"), "seconds": 0.0, "device": setup.device,
            "executor": executor.partition("://")[0], "commit": commit(), "code": executors.CODE,
        }  # fmt: skip
        self.entries: list[tuple[executors.Place, dict[str, Any]]] = []

    def entry(self, place: executors.Place) -> dict[str, Any]:
        """The entry of the place."""
        entry = next((entry for known, entry in self.entries if known == place), None)
        if entry is None:
            entry = {"id": uuid4().hex[:12]} | self.common | {"machine": place.machine, "versions": place.versions}
            self.entries.append((place, entry))
        entry["seconds"] = round(time.monotonic() - self.began, 1)
        return entry


# SIGHUP is what a terminal sends when it is closed; Windows has none.
SIGNALS = [signal.Signals[name] for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]


class _Stop:
    """Whether to stop: the budget is used up, or a signal came. reason: which; "" before that."""

    def __init__(self, budget: float | None, began: float) -> None:
        self.deadline = None if budget is None else began + budget
        self.reason = ""
        self.before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        if not self.reason and self.deadline is not None and time.monotonic() > self.deadline:
            self.reason = "the budget is used up"
        return bool(self.reason)

    def __enter__(self) -> _Stop:
        if threading.current_thread() is threading.main_thread():
            # nohup ignores SIGHUP; None is a handler that Python did not set, and cannot put back.
            heeded = [number for number in SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
            self.before = {number: signal.signal(number, self._on_signal) for number in heeded}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: object) -> None:
        self.reason = f"{signal.Signals(number).name} came"


class _Bar:
    """A progress bar in networks, with networks per hour; every half minute where the output is not a terminal."""

    def __init__(self, total: int) -> None:
        form = "{percentage:3.0f}%|{bar}| {n:.1f}/{total} networks{postfix}, {elapsed} gone, {remaining} to go"
        interval = 0.5 if sys.stderr.isatty() else 30.0
        # miniters: left to itself tqdm waits for as many networks as it once saw together, and stands still.
        self.bar = tqdm(total=total, bar_format=form, mininterval=interval, miniters=0, postfix="0 networks/h")

    def advance(self, networks: float, earlier: bool = False) -> None:
        """So many more networks are done. earlier: by a run before this one, which says nothing of this one's speed."""
        networks = min(networks, self.bar.total - self.bar.n)
        if earlier:
            for count in ("n", "initial", "last_print_n"):
                setattr(self.bar, count, getattr(self.bar, count) + networks)
            return
        elapsed = max(self.bar.format_dict["elapsed"], 1e-3)
        done = self.bar.n + networks - self.bar.initial
        self.bar.set_postfix_str(f"{3600 * done / elapsed:,.0f} networks/h", refresh=False)
        self.bar.update(networks)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

"""Where chunks are trained: in this process, or on the workers of a Dask cluster. Results do not depend on it.

Wherever a chunk is trained, its progress is kept in one folder, its worker proves that it has the same code and data,
and the rows come back with the place where they were made.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pandas as pd

from afli import data
from afli._inputs import text
from afli.activations import Activation
from afli.experiments.checkpoints import CheckpointFile
from afli.experiments.planning import Chunk
from afli.experiments.provenance import code_hash, machine, versions
from afli.experiments.spec import register_activation
from afli.experiments.table import in_words, require_theory
from afli.experiments.training import Setup, train

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

__all__ = ["Finished", "Place", "Work", "WorkerError", "interrupted", "train_all", "worker_count"]

# Of the files as they are while the modules are being loaded: what is edited later does not run.
CODE = code_hash()
VERSIONS = in_words(versions())

TRIES = 3  # how often a chunk may lose its worker, or fail there, before it is given up
SECONDS_TO_SAVE = 30.0  # workers look every second whether to stop; a step of a large ensemble takes seconds
SECONDS_TO_RESTART = 300  # a worker that died has to import torch again, on a busy machine
GONE = "the Dask scheduler is gone; what is finished is in the table, and the same command goes on with another one"


class WorkerError(ValueError):
    """A worker has other code than this process; none of its numbers are used."""


@dataclass(frozen=True)
class Place:
    """Where a chunk was trained: the processor or accelerator, and the versions of Python and the packages."""

    machine: str
    versions: dict[str, str]

    @classmethod
    def here(cls, device: str) -> Place:
        """This process."""
        return cls(machine(device), versions())


@dataclass(frozen=True)
class Finished:
    """A chunk with its rows, and where they were made."""

    chunk: Chunk
    rows: pd.DataFrame
    place: Place


@dataclass(frozen=True)
class Work:
    """What every chunk of a run shares.

    Parameters
    ----------
    source
        The name that `data.load` takes, None where the dataset was handed over.
    sha256
        The dataset's checksum.
    setup
        On what to train.
    folder
        For checkpoints.
    activations
        What registered activations mean.
    code
        The hash of the code that must be used.
    """

    source: str | None
    sha256: str
    setup: Setup
    folder: Path
    activations: dict[str, Callable[..., Activation]] = field(default_factory=dict)
    code: str = CODE

    def checkpoint(self, chunk: Chunk, echo: Callable[[str], None] = print) -> CheckpointFile:
        """The file that keeps a chunk's progress."""
        identity = self.identity([experiment.key for experiment in chunk])
        name = hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
        return CheckpointFile(self.folder / f"{name}.pt", identity, echo=echo)

    def identity(self, keys: Sequence[str]) -> dict[str, Any]:
        """What a chunk's progress belongs to."""
        where = {"device": self.setup.device, "arithmetic": self.setup.arithmetic, "versions": VERSIONS}
        return {"experiments": list(keys), "code": self.code, "dataset": self.sha256} | where


def interrupted(work: Work, left: set[str], done: set[str], echo: Callable[[str], None] = print) -> list[set[str]]:
    """The experiments of every chunk that an earlier run left unfinished; files of no more use are deleted.

    Parameters
    ----------
    work
        What this run shares; progress of other code, images, versions or device is of no use.
    left, done
        Keys of the experiments that this run is to train, and of those that the table has; other progress is that of
        another shard.
    echo
        Told of files that are damaged, or of no use.
    """
    found = []
    for path in sorted(work.folder.glob("*.pt")):
        file = CheckpointFile(path, {}, echo=echo)
        identity = file.whose()
        if identity is None:
            continue
        keys = set(identity["experiments"])
        if keys & done:
            file.delete()
        elif keys & left and identity != work.identity(identity["experiments"]):
            echo(f"the progress of {len(keys)} networks is dropped: it is of other code, images, versions or device")
            file.delete()
        elif keys & left:
            found.append(keys)
    return found


def train_all(
    executor: str,
    chunks: Sequence[Chunk],
    work: Work,
    dataset: data.Dataset,
    *,
    should_stop: Callable[[], bool],
    on_progress: Callable[[float, bool], None],
    on_stage: Callable[[pd.DataFrame, Place], None],
    on_lost: Callable[[Chunk, str], None],
    echo: Callable[[str], None] = print,
) -> Iterator[Finished]:
    """Train the chunks where `executor` says, and yield each as it is finished, until `should_stop`.

    Parameters
    ----------
    executor
        "local", "dask-local:N" or "dask://HOST:PORT".
    on_progress
        Told how many networks were done since, and whether an earlier run has done them.
    on_stage
        Told the rows of a chunk that is not finished, and where they were made; in this process only.
    on_lost
        Told which chunk was given up, and why: it lost its worker, or failed there, three times. The others go on.

    Raises
    ------
    WorkerError, TableError
        If a worker has other code, or another theory.
    ConnectionError
        If the scheduler of the cluster cannot be reached, or is lost, or no local worker is left.
    DataError
        If a worker finds another dataset under the same name.
    """
    if executor == "local":
        return _here(chunks, work, dataset, should_stop, on_progress, on_stage, echo)
    return _on_dask(executor, chunks, work, should_stop, on_progress, on_lost, echo)


def _here(
    chunks: Sequence[Chunk],
    work: Work,
    dataset: data.Dataset,
    should_stop: Callable[[], bool],
    on_progress: Callable[[float, bool], None],
    on_stage: Callable[[pd.DataFrame, Place], None],
    echo: Callable[[str], None],
) -> Iterator[Finished]:
    """One after the other, in this process. A chunk in progress at a stop is saved, and resumed by the next run."""
    place = Place.here(work.setup.device)
    for chunk in chunks:
        if should_stop():
            return
        checkpoint = work.checkpoint(chunk, echo)
        progress = _InNetworks(on_progress, len(chunk))
        rows = train(
            chunk, dataset, work.setup, checkpoints=checkpoint, should_stop=should_stop, on_progress=progress,
            on_stage=lambda rows: on_stage(rows, place),
        )  # fmt: skip
        if rows is None:
            return
        yield Finished(chunk, rows, place)
        checkpoint.delete()


class _InNetworks:
    """Counts the fractions of a chunk that `train` tells, of which the first is what it found done, in networks."""

    def __init__(self, on_progress: Callable[[float, bool], None], members: int) -> None:
        self.on_progress, self.members, self.begun = on_progress, members, False

    def __call__(self, fraction: float) -> None:
        self.on_progress(fraction * self.members, not self.begun)
        self.begun = True


def worker_count(executor: str) -> int:
    """Chunks trained at the same time, as far as the name tells. Raises ValueError for an unknown executor."""
    executor = text("executor", executor)
    if executor == "local" or re.fullmatch(r"dask://(\w+://.+|[^/]+:\d+)", executor):
        return 1
    kind, _, count = executor.partition(":")
    if kind != "dask-local" or not count.isdecimal() or int(count) < 1:
        raise ValueError(f"executor must be local, dask-local:N or dask://HOST:PORT, got {executor!r}")
    return int(count)


# --- Dask ---


def _on_dask(
    executor: str,
    chunks: Sequence[Chunk],
    work: Work,
    should_stop: Callable[[], bool],
    on_progress: Callable[[float, bool], None],
    on_lost: Callable[[Chunk, str], None],
    echo: Callable[[str], None],
) -> Iterator[Finished]:
    """On the workers of a Dask cluster, one chunk each at a time: so a death belongs to one chunk.

    Workers load the dataset by its name or path, which must be good there too. Where they share the folder of the
    checkpoints with this process, a chunk goes on where its last worker was, and is saved at a stop.
    """
    if work.source is None:
        raise ValueError("a Dask executor needs a dataset by name, not one that was handed over")
    work.folder.mkdir(parents=True, exist_ok=True)
    stop_file = work.folder / f"{uuid4().hex[:8]}.stop"
    waiting, running, failures = deque(chunks), dict[Any, Chunk](), Counter[Chunk]()
    with ExitStack() as stack:
        stack.callback(stop_file.unlink, missing_ok=True)
        try:
            client = _connected(executor, stack)
        except ConnectionError:
            if should_stop():  # Ctrl-C reaches workers that are just starting, too
                return
            raise
        stack.callback(stop_file.touch)  # whatever ends this, workers stop at their next look
        slots = _Slots(client, executor, echo)
        deadline = float("inf")
        while time.monotonic() < deadline and (running or (waiting and not stop_file.exists())):
            while waiting and not stop_file.exists() and len(running) < slots.count():
                chunk = waiting.popleft()
                running[client.submit(_train_there, chunk, work, stop_file, pure=False)] = chunk
            # After the first chunks are handed out: a budget that the workers' start uses up still brings some steps.
            if should_stop() and not stop_file.exists():
                stop_file.touch()
                deadline = time.monotonic() + SECONDS_TO_SAVE
            for future in [future for future in running if future.done()]:
                chunk = running.pop(future)
                try:
                    rows, place = _result(future, chunk)
                except TimeoutError:  # the worker died with the rows: Dask has them made again
                    running[future] = chunk
                    continue
                except _Failure as error:
                    failures[chunk] += error.count
                    if failures[chunk] >= TRIES:
                        on_lost(chunk, str(error))
                    else:
                        waiting.append(chunk)  # last, after those that may well succeed
                    continue
                if rows is not None:
                    yield Finished(chunk, rows, place)
                    work.checkpoint(chunk).delete()
                    on_progress(len(chunk), False)
            time.sleep(0.1)
        client.cancel(list(running))


class _Failure(Exception):
    """A chunk was not trained. count: how many tries that makes."""

    def __init__(self, reason: str, count: int = 1) -> None:
        super().__init__(reason)
        self.count = count


def _result(future: Future, chunk: Chunk) -> tuple[pd.DataFrame | None, Place]:
    """What a future that is done has, or _Failure; raises what ends the whole run."""
    from distributed import KilledWorker

    if future.status in ("cancelled", "lost"):
        raise ConnectionError(GONE)
    if future.status == "finished":
        rows, place = future.result(timeout=10)
        if rows is not None:
            require_theory(rows, chunk, f"a worker on {place.machine}")  # the hash of its code does not cover it
        return rows, place
    error = future.exception(timeout=10)
    if isinstance(error, KilledWorker):
        deaths = error.allowed_failures + 1
        raise _Failure(f"its worker died, {TRIES if deaths == 1 else deaths} times: out of memory?", deaths) from error
    if isinstance(error, (WorkerError, data.DataError)):
        raise error
    raise _Failure(f"it failed with {type(error).__name__}: {error}") from error


def _connected(executor: str, stack: ExitStack) -> Client:
    """A client of the cluster that `executor` names, started here if it is local; `stack` closes both."""
    import dask
    from distributed import Client, LocalCluster

    if executor.startswith("dask-local:"):
        # A death is reported at once and counted here; a worker that restarts is waited for.
        settings = {
            "distributed.scheduler.allowed-failures": 0,
            "distributed.deploy.lost-worker-timeout": SECONDS_TO_RESTART,
        }
        stack.enter_context(dask.config.set(settings))
        try:
            local = LocalCluster(
                n_workers=worker_count(executor),
                threads_per_worker=1,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            )
        except RuntimeError as error:  # each worker imports the script that starts it, and would start workers again
            raise ConnectionError(
                f"no local worker starts ({error}): in a script of your own, call run under"
                ' `if __name__ == "__main__":`'
            ) from error
        stack.callback(_close, local)
        return stack.enter_context(Client(local))
    address = executor.removeprefix("dask://")
    try:
        return stack.enter_context(Client(address if "://" in address else f"tcp://{address}"))
    except OSError as error:
        raise ConnectionError(f"no Dask scheduler answers at {address}: {error}") from error


def _close(cluster: LocalCluster) -> None:
    """End the local workers. On a busy machine one may take longer to die than Dask waits: no fault of the run's."""
    with suppress(TimeoutError):
        cluster.close()


class _Slots:
    """How many chunks the workers that are there now can train at the same time."""

    def __init__(self, client: Client, executor: str, echo: Callable[[str], None]) -> None:
        self.client, self.local, self.echo = client, executor.startswith("dask-local:"), echo
        self.seen = time.monotonic()
        self.told = False

    def count(self) -> int:
        """Raises ConnectionError if the scheduler is gone, or no local worker comes back."""
        try:
            slots = sum(self.client.nthreads().values())
        except OSError as error:
            raise ConnectionError(f"{GONE}: {error}") from error
        if slots:
            self.seen = time.monotonic()
        elif self.local and time.monotonic() - self.seen > SECONDS_TO_RESTART:
            raise ConnectionError(f"no worker has come back for {SECONDS_TO_RESTART} s; run the same command again")
        elif not self.local and not self.told:
            self.echo("the cluster has no worker yet: waiting for one")
            self.told = True
        return slots


def _train_there(chunk: Chunk, work: Work, stop_file: Path) -> tuple[pd.DataFrame | None, Place]:
    """On a worker: prove the code and the dataset, train, and say where. The rows are None if it was told to stop."""
    place = Place.here(work.setup.device)
    if work.code != CODE:
        raise WorkerError(
            f"a worker on {place.machine} has the code {CODE}, not {work.code}: start it again with this code; none of"
            " its rows are used"
        )
    for name, make in work.activations.items():
        register_activation(name, make)
    dataset = _loaded(str(work.source))
    if dataset.sha256 != work.sha256:  # the file may have changed since an earlier run
        _loaded.cache_clear()
        dataset = _loaded(str(work.source))
    if dataset.sha256 != work.sha256:
        found = f"sha256 {dataset.sha256}, expected {work.sha256}"
        raise data.DataError(f"{work.source} is another dataset on this worker: {found}")
    checkpoint = work.checkpoint(chunk) if work.folder.is_dir() else None  # no such folder: not a shared disk
    rows = train(chunk, dataset, work.setup, checkpoints=checkpoint, should_stop=_Flag(stop_file))
    return rows, place


class _Flag:
    """Whether a file is there, looked at once a second at most."""

    def __init__(self, path: Path) -> None:
        self.path, self.looked, self.up = path, -1.0, False

    def __call__(self) -> bool:
        if time.monotonic() - self.looked > 1:
            self.looked, self.up = time.monotonic(), self.path.exists()
        return self.up


@lru_cache(maxsize=1)
def _loaded(source: str) -> data.Dataset:
    return data.load(source)

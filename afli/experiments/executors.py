"""Where chunks are trained: in this process, or on the workers of a Dask cluster. Results do not depend on it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from afli import data
from afli.experiments.checkpoints import CheckpointFile
from afli.experiments.planning import Chunk
from afli.experiments.provenance import code_hash
from afli.experiments.training import Setup, train

__all__ = ["Work", "interrupted", "train_all", "worker_count"]

Finished = Iterator[tuple[Chunk, pd.DataFrame]]
RETRIES = 3


@dataclass(frozen=True)
class Work:
    """What every chunk of a run shares. source: the name that `data.load` takes, where there is one."""

    dataset: data.Dataset
    source: str | None
    setup: Setup
    folder: Path
    on_stage: Callable[[pd.DataFrame], None] = lambda rows: None  # told the rows of a chunk that is not finished

    def checkpoint(self, chunk: Chunk) -> CheckpointFile:
        """The file that keeps a chunk's progress."""
        identity = self.identity([experiment.key for experiment in chunk])
        name = hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
        return CheckpointFile(self.folder / f"{name}.pt", identity)

    def identity(self, keys: Sequence[str]) -> dict[str, Any]:
        """What a chunk's progress belongs to."""
        where = {"device": self.setup.device, "arithmetic": self.setup.arithmetic}
        return {"experiments": list(keys), "code": code_hash(), "dataset": self.dataset.sha256} | where


def interrupted(work: Work, done: set[str]) -> list[set[str]]:
    """The experiments of every chunk that an earlier run left unfinished; files of no more use are deleted.

    done: keys of the experiments that the table has.
    """
    found = []
    for path in sorted(work.folder.glob("*.pt")):
        identity = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["identity"]
        keys = set(identity["experiments"])
        if keys & done or identity != work.identity(identity["experiments"]):
            path.unlink()
        else:
            found.append(keys)
    return found


def train_all(
    executor: str,
    chunks: Sequence[Chunk],
    work: Work,
    should_stop: Callable[[], bool],
    on_progress: Callable[[float], None],
) -> Finished:
    """Train the chunks where `executor` says, and yield each with its rows as it is finished, until `should_stop`.

    executor: "local", "dask-local:N" or "dask://HOST:PORT". on_progress: told how many networks were done since.
    """
    if executor == "local":
        return _one_by_one(chunks, work, should_stop, on_progress)
    return _on_dask(executor, chunks, work, should_stop, on_progress)


def _one_by_one(
    chunks: Sequence[Chunk], work: Work, should_stop: Callable[[], bool], on_progress: Callable[[float], None]
) -> Finished:
    """Chunk after chunk in this process, with checkpoints."""
    for chunk in chunks:
        if should_stop():
            return
        checkpoint = work.checkpoint(chunk)
        progress = partial(_in_networks, on_progress, len(chunk))
        rows = train(
            chunk, work.dataset, work.setup, checkpoints=checkpoint, should_stop=should_stop, on_progress=progress,
            on_stage=work.on_stage,
        )  # fmt: skip
        if rows is None:
            return
        yield chunk, rows
        checkpoint.delete()


def _in_networks(on_progress: Callable[[float], None], members: int, fraction: float) -> None:
    on_progress(fraction * members)


def _on_dask(
    executor: str,
    chunks: Sequence[Chunk],
    work: Work,
    should_stop: Callable[[], bool],
    on_progress: Callable[[float], None],
) -> Finished:
    """On the workers of a Dask cluster, as they become free; a chunk whose worker dies is trained again on another.

    Workers load the dataset by its name or path, which must be good there too. Chunks in progress at a stop are lost.
    """
    from distributed import Client, LocalCluster, as_completed

    if work.source is None:
        raise ValueError("a Dask executor needs a dataset by name, not one that was handed over")
    with ExitStack() as stack:
        if executor.startswith("dask-local:"):
            count = worker_count(executor)
            local = LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None)
            client = stack.enter_context(Client(stack.enter_context(local)))
        else:
            address = executor.removeprefix("dask://")
            client = stack.enter_context(Client(address if "://" in address else f"tcp://{address}"))
        shared = (work.source, work.dataset.sha256, work.setup)
        futures = {client.submit(_train_there, chunk, *shared, pure=False, retries=RETRIES): chunk for chunk in chunks}
        completed = as_completed(list(futures))
        while futures and not should_stop():
            for future in completed.next_batch(block=False):
                chunk = futures.pop(future)
                yield chunk, future.result()
                on_progress(len(chunk))
            time.sleep(0.05)
        client.cancel(list(futures))


def worker_count(executor: str) -> int:
    """Chunks trained at the same time, as far as the name tells. Raises ValueError for an unknown executor."""
    if executor == "local" or executor.startswith("dask://"):
        return 1
    kind, _, count = executor.partition(":")
    if kind != "dask-local" or not count.isdecimal() or int(count) < 1:
        raise ValueError(f"executor must be local, dask-local:N or dask://HOST:PORT, got {executor!r}")
    return int(count)


def _train_there(chunk: Chunk, source: str, sha256: str, setup: Setup) -> pd.DataFrame | None:
    """On a worker: load the dataset once, check that it is the same one, and train."""
    dataset = _loaded(source)
    if dataset.sha256 != sha256:
        raise data.DataError(f"{source} is another dataset on this worker: sha256 {dataset.sha256}, expected {sha256}")
    return train(chunk, dataset, setup)


@lru_cache(maxsize=1)
def _loaded(source: str) -> data.Dataset:
    return data.load(source)

"""Which experiments are trained together, and about how long that takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from afli.data import Dataset
from afli.experiments.spec import Experiment
from afli.experiments.training import Setup, batch_order, build

__all__ = ["Chunk", "estimate_seconds", "members_at_once", "pack"]

Chunk = tuple[Experiment, ...]

CPU_MEMBERS = 8  # measured: with more, a layer's activations leave the cache
CPU_WIDE = 200  # from this width on, a network alone is as fast (measured), and its rows are written sooner
GPU_MEMBERS = 80  # one trial of a (depth, weights, a, sigma_b2) map; also bounded by the memory
GPU_MEMORY_SHARE = 0.6


def pack(
    experiments: Iterable[Experiment], members: Callable[[Experiment], int], first: Iterable[set[str]] = ()
) -> list[Chunk]:
    """Chunks of equal shape, at most `members(experiment)` in each, in the order in which they fill up.

    first: sets of keys that were begun together; they stay together, in front.
    """
    remaining = {experiment.key: experiment for experiment in experiments}
    chunks: list[Chunk] = []
    for keys in first:
        if keys <= remaining.keys():
            chunks.append(tuple(remaining.pop(key) for key in list(remaining) if key in keys))
    open_chunks: dict[tuple[object, ...], list[Experiment]] = {}
    for experiment in remaining.values():
        chunk = open_chunks.setdefault(experiment.shape, [])
        chunk.append(experiment)
        if len(chunk) == members(experiment):
            chunks.append(tuple(open_chunks.pop(experiment.shape)))
    return chunks + [tuple(chunk) for chunk in open_chunks.values()]


def members_at_once(experiment: Experiment, dataset: Dataset, setup: Setup) -> int:
    """How many networks of this shape to train together on the device."""
    if not setup.device.startswith("cuda"):
        return 1 if experiment.width >= CPU_WIDE else CPU_MEMBERS
    free, _ = torch.cuda.mem_get_info(setup.device)
    numbers = products(experiment, dataset) + 2 * experiment.batch * (
        experiment.depth * experiment.width + dataset.features
    )
    one = numbers * (8 if setup.arithmetic == "float64" else 4)
    return max(1, min(GPU_MEMBERS, int(GPU_MEMORY_SHARE * free / one)))


def products(experiment: Experiment, dataset: Dataset) -> int:
    """Multiplications of one image's forward pass; also the number of weights."""
    width = experiment.width
    return dataset.features * width + (experiment.depth - 1) * width**2 + width * dataset.classes


def estimate_seconds(experiments: list[Experiment], dataset: Dataset, setup: Setup, steps: int = 5) -> float:
    """About how long training takes, from timing a few steps of the smallest shape; good to a factor of two."""
    smallest = min(experiments, key=lambda e: products(e, dataset))
    same = [replace(e, weights="gaussian") for e in experiments if e.shape == smallest.shape]
    chunk = same[: members_at_once(smallest, dataset, setup)]
    with setup.active():
        ensemble = build(chunk, dataset, setup)
        count = len(ensemble.data.y_train)  # less than the dataset's, where a part is held out
        order = torch.stack([batch_order(e.trial, 1, count, e.batch)[:steps] for e in chunk])
        ensemble.train(order[:, :1])
        start = time.perf_counter()
        ensemble.train(order)
        seconds = time.perf_counter() - start
    rate = seconds / (len(chunk) * order.shape[1] * smallest.batch * products(smallest, dataset))
    # A step costs three products per image, a test one.
    tests = [len(e.record) * len(dataset.y_test) / 3 for e in experiments]
    images = [e.epochs * len(dataset.y_train) + test for e, test in zip(experiments, tests, strict=True)]
    return rate * sum(n * products(e, dataset) for n, e in zip(images, experiments, strict=True))

"""Train a chunk: experiments of one shape, as one ensemble, from the standardised draws to the rows of the table.

Everything but the `_seconds` columns is a function of the settings: on one device and, on a CPU, one thread, bit for
bit, whatever the chunk, and whether or not the work was interrupted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch

from afli import data
from afli.experiments.progress import Checkpoints, Progress
from afli.experiments.spec import Experiment
from afli.networks.ensemble import Ensemble, Member, Tensors

__all__ = ["ARITHMETICS", "Setup", "batch_order", "build", "train"]

ARITHMETICS = ("float32", "tf32", "float64")
STEPS_BETWEEN_LOOKS = 10
MEASURED = ("test_accuracy", "test_loss", "validation_accuracy", "validation_loss", "train_accuracy", "train_loss")


@dataclass(frozen=True)
class Setup:
    """On what to train. device: "cpu", "cuda", "cuda:1"...; arithmetic: "float32", "tf32" (GPU only) or "float64"."""

    device: str = "cpu"
    arithmetic: str = "float32"

    def __post_init__(self) -> None:
        if self.arithmetic not in ARITHMETICS:
            raise ValueError(f"arithmetic must be one of {', '.join(ARITHMETICS)}, got {self.arithmetic!r}")
        if self.arithmetic == "tf32" and not self.device.startswith("cuda"):
            raise ValueError(f"arithmetic tf32 needs a CUDA device, got device={self.device!r}")

    @property
    def dtype(self) -> torch.dtype:
        """The type of weights and activations."""
        return torch.float64 if self.arithmetic == "float64" else torch.float32

    @contextmanager
    def active(self) -> Iterator[None]:
        """One thread, and TF32 products only where they were asked for; what was set before comes back afterwards."""
        threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("high" if self.arithmetic == "tf32" else "highest")
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_float32_matmul_precision(precision)


def train(
    experiments: Sequence[Experiment],
    dataset: data.Dataset,
    setup: Setup = Setup(),
    *,
    checkpoints: Checkpoints | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[float], None] = lambda fraction: None,
    on_stage: Callable[[pd.DataFrame], None] = lambda rows: None,
) -> pd.DataFrame | None:
    """Train experiments of one shape together: a row per experiment and recorded epoch, or None if stopped early.

    dataset: as loaded, pixels in [0, 1]. checkpoints: where an interrupted run goes on from, and is saved to.
    should_stop: asked every few steps. on_progress: told the fraction of the work done since the last call.
    on_stage: given the rows so far whenever the networks have been tested and are not finished.
    Columns: the settings, q, sigma_w2, epoch, test_accuracy, test_loss, validation_accuracy and validation_loss (NaN
    without a validation part), train_accuracy and train_loss (means over the
    epoch's mini-batches, each before its step),
    diverged, diverged_step (-1 if never), device, arithmetic, train_seconds (this experiment's share of the time).
    After a divergence, accuracy and losses are NaN. Raises ValueError if the experiments differ in shape.
    """
    with setup.active():
        ensemble = build(experiments, dataset, setup)
        checkpoints = checkpoints or Checkpoints()
        progress = checkpoints.load() or Progress()
        run = _Run(experiments, ensemble, progress, lambda: on_stage(_rows(experiments, progress, setup)))
        finished = run.until_done(checkpoints, should_stop, on_progress)
    return _rows(experiments, progress, setup) if finished else None


def build(experiments: Sequence[Experiment], dataset: data.Dataset, setup: Setup) -> Ensemble:
    """The untrained ensemble of these experiments, with the dataset on its device."""
    if len({experiment.shape for experiment in experiments}) != 1:
        raise ValueError(f"experiments must be of one shape, got {sorted({str(e.shape) for e in experiments})}")
    first = experiments[0]
    tensors = _on_device(dataset, first.split, first.validation, first.normalisation, setup)
    members = [_member(experiment) for experiment in experiments]
    shape = {"depth": first.depth, "width": first.width, "batch": first.batch}
    return Ensemble(members, tensors, **shape, dtype=setup.dtype, optimiser=first.optimiser)


def batch_order(trial: int, epoch: int, count: int, batch: int) -> torch.Tensor:
    """Row numbers (steps, batch) of one epoch: a fresh permutation of `count` images, without an incomplete batch."""
    steps = count // batch
    order = np.random.default_rng([trial, epoch]).permutation(count)[: steps * batch]
    return torch.from_numpy(order.reshape(steps, batch))


def _member(experiment: Experiment) -> Member:
    net = experiment.mean_field
    scale = data.input_scale(experiment.normalisation, q=net.q, sigma_w2=net.sigma_w2, sigma_b2=net.sigma_b2)
    return Member(
        experiment.phi, net.sigma_w2, net.sigma_b2, experiment.learning_rate, scale,
        experiment.weights, experiment.trial, experiment.head_variance,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _on_device(dataset: data.Dataset, split: int, validation: float, normalisation: str, setup: Setup) -> Tensors:
    """The images of an experiment, on its device. The mean that is subtracted is that of the images trained on."""
    less, held_x, held_y = data.hold_out(data.resplit(dataset, split), validation)
    looked_at = replace(
        less, x_test=np.concatenate([less.x_test, held_x]), y_test=np.concatenate([less.y_test, held_y])
    )
    inputs, count = data.normalised(looked_at, normalisation), len(less.y_test)
    x_train, x_test, x_held = (
        torch.from_numpy(x).to(setup.device, setup.dtype)
        for x in (inputs.x_train, inputs.x_test[:count], inputs.x_test[count:])
    )
    y_train, y_test, y_held = (
        torch.from_numpy(y).to(setup.device) for y in (inputs.y_train, inputs.y_test[:count], inputs.y_test[count:])
    )
    return Tensors(x_train, y_train, x_test, y_test, *((x_held, y_held) if len(held_y) else (None, None)))


class _Run:
    """One ensemble on its way through the epochs."""

    def __init__(
        self, experiments: Sequence[Experiment], ensemble: Ensemble, progress: Progress, on_stage: Callable[[], None]
    ) -> None:
        self.experiments, self.ensemble, self.progress, self.on_stage = experiments, ensemble, progress, on_stage
        self.first = experiments[0]
        self.count = len(ensemble.data.y_train)
        self.steps = self.count // self.first.batch
        if progress.state is not None:
            ensemble.restore(progress.state)
        elif 0 in self.first.record:
            self._test([float("nan")] * ensemble.count, [float("nan")] * ensemble.count)
        self._begin_epoch()

    def until_done(
        self, checkpoints: Checkpoints, should_stop: Callable[[], bool], on_progress: Callable[[float], None]
    ) -> bool:
        """Train until the last epoch (True) or until `should_stop` (False, with everything saved)."""
        total = self.steps * self.first.epochs
        on_progress((self.progress.epoch * self.steps + self.progress.step) / total)
        while self.progress.epoch < self.first.epochs:
            start = time.perf_counter()
            done = self._advance()
            self.progress.seconds += time.perf_counter() - start
            on_progress(done / total)
            unfinished, stop = self.progress.epoch < self.first.epochs, should_stop()
            if unfinished and (stop or checkpoints.is_due()):
                self.progress.state = self.ensemble.state()
                checkpoints.save(self.progress)
                self.progress.state = None  # a copy of all weights, on the disk now
            if unfinished and stop:
                return False
        return True

    def _advance(self) -> int:
        """A few steps, and what the end of an epoch asks for; returns the number of steps."""
        first, last = self.progress.step, min(self.progress.step + STEPS_BETWEEN_LOOKS, self.steps)
        self.ensemble.train(self.order[:, first:last])
        self.progress.step = last
        if last == self.steps:
            self.progress.epoch, self.progress.step = self.progress.epoch + 1, 0
            train_loss, train_accuracy = self.ensemble.training_means()
            if self.progress.epoch in self.first.record:
                self._test(train_loss.tolist(), train_accuracy.tolist())
            self._begin_epoch()
        return last - first

    def _begin_epoch(self) -> None:
        """The batches of the epoch that is due, (E, steps, batch), the same for members of one trial; and its a."""
        epoch = self.progress.epoch + 1
        orders = {e.trial: batch_order(e.trial, epoch, self.count, e.batch) for e in self.experiments}
        self.order = torch.stack([orders[e.trial] for e in self.experiments])
        if any(e.schedule for e in self.experiments):
            self.ensemble.set_scale(
                [e.schedule(epoch) if e.schedule else dict(e.parameters)["a"] for e in self.experiments]
            )

    def _test(self, train_loss: list[float], train_accuracy: list[float]) -> None:
        loss, accuracy = self.ensemble.evaluate()
        numbers = {"test_loss": loss, "test_accuracy": accuracy}
        held = self.ensemble.data
        if held.x_validation is not None:
            loss, accuracy = self.ensemble.evaluate(held.x_validation, held.y_validation)
            numbers |= {"validation_loss": loss, "validation_accuracy": accuracy}
        numbers["diverged_step"] = self.ensemble.diverged_at
        record: dict[str, Any] = {name: tensor.tolist() for name, tensor in numbers.items()}
        record |= {"train_loss": train_loss, "train_accuracy": train_accuracy, "epoch": self.progress.epoch}
        self.progress.records.append(record)
        if self.progress.epoch < self.first.epochs:
            self.on_stage()


def _rows(experiments: Sequence[Experiment], progress: Progress, setup: Setup) -> pd.DataFrame:
    rows = []
    for index, experiment in enumerate(experiments):
        net = experiment.mean_field
        fixed = experiment.settings() | {"q": net.q, "sigma_w2": net.sigma_w2}
        fixed |= {"device": setup.device, "arithmetic": setup.arithmetic}
        for record in progress.records:
            diverged = record["diverged_step"][index] >= 0
            measured = {name: record[name][index] if name in record else math.nan for name in MEASURED}
            row = fixed | {"epoch": record["epoch"]} | {n: math.nan if diverged else v for n, v in measured.items()}
            row |= {"diverged": diverged, "diverged_step": record["diverged_step"][index]}
            rows.append(row | {"train_seconds": progress.seconds / len(experiments)})
    return pd.DataFrame(rows)

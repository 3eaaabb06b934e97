"""Ordinary torch training loops for the pages of Part I: any model, any optimiser, and something to watch on the way.

The ensemble engine knows plain SGD on the network of eq. (1) only. Here a model may contain whatever torch has: batch
normalisation, shortcuts, learned slopes, Adam.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from afli._inputs import word
from afli.activations import Activation
from afli.data import Dataset, input_scale
from afli.networks.init import edge_of_chaos_
from afli.networks.modules import mlp

__all__ = ["History", "Shortcut", "best_rate", "fit", "on_edge", "seconds_per_call", "speed", "stack"]

OPTIMISERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


@dataclass(frozen=True)
class History:
    """What a training run left behind.

    loss: mini-batch cross-entropy before every step, (steps,). test_accuracy: after every epoch, the untrained model
    first, (epochs + 1,). watched: what `watch` returned, as often.
    cosines: of each step's change of all parameters with the change before it, (steps - 1,), if asked for.
    """

    loss: NDArray[Any]
    test_accuracy: NDArray[Any]
    watched: list[Any]
    cosines: NDArray[Any]

    def steps_to(self, level: float) -> float:
        """The first step at which the mean loss of the last 20 steps is below `level`; infinity if never."""
        mean = np.convolve(np.nan_to_num(self.loss, nan=np.inf, posinf=1e9), np.ones(20) / 20, mode="valid")
        below = np.flatnonzero(mean < level)
        return float(below[0] + 20) if len(below) else float("inf")


def fit(
    model: nn.Module,
    data: Dataset,
    *,
    learning_rate: float,
    epochs: int,
    batch: int = 64,
    optimiser: str = "sgd",
    seed: int = 0,
    watch: Callable[[nn.Module], Any] | None = None,
    cosines: bool = False,
) -> History:
    """Train `model` in place on cross-entropy; the batch order is that of `seed`, the incomplete last batch left out.

    optimiser: "sgd" or "adam", torch's own. watch: called before training and after every epoch.
    Raises ValueError for another optimiser.

    Examples
    --------
    >>> from afli import data
    >>> digits = data.normalised(data.load("digits"))
    >>> run = fit(stack([64, 16, 10], nn.ReLU, gain=2**0.5), digits, learning_rate=0.1, epochs=2)
    >>> bool(run.test_accuracy[-1] > 0.8)
    True
    """
    step_rule = OPTIMISERS[word("optimiser", optimiser, tuple(OPTIMISERS))](model.parameters(), lr=learning_rate)
    x, y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    order = np.random.default_rng(seed)
    losses, angles, record = [], [], [_look(model, data, watch)]
    before: Tensor | None = None
    for _ in range(epochs):
        rows = torch.from_numpy(order.permutation(len(x)))
        for start in range(0, len(x) - batch + 1, batch):
            chosen = rows[start : start + batch]
            loss = F.cross_entropy(model(x[chosen]), y[chosen])
            step_rule.zero_grad()
            loss.backward()
            old = _flat(model) if cosines else None
            step_rule.step()
            losses.append(float(loss.detach()))
            if old is not None:
                change = _flat(model) - old
                if before is not None:
                    angles.append(float(F.cosine_similarity(change, before, dim=0)))
                before = change
        record.append(_look(model, data, watch))
    accuracy, watched = zip(*record, strict=True)
    return History(np.array(losses), np.array(accuracy), list(watched), np.array(angles))


def best_rate(
    build: Callable[[], nn.Module], data: Dataset, rates: Sequence[float], *, level: float, **options: Any
) -> tuple[float, History]:
    """The learning rate that brings the mini-batch loss below `level` in the fewest steps, and its run.

    If none does: the rate with the lowest mean loss over its last 20 steps. build: makes the same untrained model every
    time. options: as for `fit`.

    Examples
    --------
    >>> from afli import data
    >>> digits = data.normalised(data.load("digits"))
    >>> best_rate(lambda: stack([64, 16, 10], nn.ReLU), digits, (1e-6, 0.1), level=1.0, epochs=1)[0]
    0.1
    """
    runs = {rate: fit(build(), data, learning_rate=rate, **options) for rate in rates}

    def rank(rate: float) -> tuple[float, float]:
        return runs[rate].steps_to(level), float(np.nan_to_num(runs[rate].loss[-20:].mean(), nan=np.inf))

    best = min(runs, key=rank)
    return best, runs[best]


def speed(
    data: Dataset,
    activation: Callable[[], nn.Module],
    rates: Sequence[float] = (0.3, 1.0, 3.0, 10.0),
    *,
    normalise: Callable[[int], nn.Module] | None = None,
    epochs: int = 10,
    **options: Any,
) -> dict[str, float]:
    """How fast a network of two hidden layers of 64 learns at the best of its rates, and how much its path turns.

    Returns the rate, the steps to loss 0.3, the mean cosine between successive updates and the test accuracy.
    options: as for `fit`.

    Examples
    --------
    >>> from afli import data
    >>> sorted(speed(data.load("digits"), nn.ReLU, (0.3,), epochs=2))
    ['cosine', 'rate', 'steps', 'test accuracy']
    """
    rate, run = best_rate(
        lambda: stack([64, 64, 64, 10], activation, gain=1.4, seed=1, normalise=normalise),
        data, rates, level=0.3, epochs=epochs, cosines=True, **options,
    )  # fmt: skip
    cosine = float(run.cosines[20:].mean())  # the first steps leave the plateau of the start
    return {"rate": rate, "steps": run.steps_to(0.3), "cosine": cosine, "test accuracy": run.test_accuracy[-1]}


class Shortcut(nn.Module):
    """x -> x + gain * block(x), a residual connection.

    Examples
    --------
    >>> Shortcut(nn.Identity(), gain=0.5)(torch.ones(2))
    tensor([1.5000, 1.5000])
    """

    def __init__(self, block: nn.Module, gain: float = 1.0) -> None:
        super().__init__()
        self.block, self.gain = block, gain

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gain * self.block(x)


def stack(
    sizes: Sequence[int],
    activation: Callable[[], nn.Module],
    *,
    gain: float = 1.0,
    seed: int = 0,
    normalise: Callable[[int], nn.Module] | None = None,
    shortcut: float | None = None,
) -> nn.Sequential:
    """Linear layers of those sizes, Gaussian weights of variance gain^2 / fan-in, zero biases, and a linear head.

    activation: makes the module after each hidden layer. normalise: makes one of that width before it, e.g.
    nn.BatchNorm1d. shortcut: None, or the gain of a residual connection round every hidden layer that keeps its width.

    Examples
    --------
    >>> stack([8, 16, 16, 2], nn.Tanh, shortcut=0.5)(torch.zeros(3, 8)).shape
    torch.Size([3, 2])
    """
    generator = torch.Generator().manual_seed(seed)
    modules: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        linear = nn.Linear(n_in, n_out)
        scale = (gain if i < len(sizes) - 2 else 1.0) / n_in**0.5
        with torch.no_grad():
            linear.weight.copy_(scale * torch.randn(n_out, n_in, generator=generator))
            linear.bias.zero_()
        if i == len(sizes) - 2:
            return nn.Sequential(*modules, linear)
        block = nn.Sequential(linear, *([normalise(n_out)] if normalise else []), activation())
        modules.append(Shortcut(block, shortcut) if shortcut is not None and n_in == n_out else block)
    raise ValueError(f"sizes must name at least the inputs and the classes, got {sizes!r}")


def on_edge(
    phi: Activation, data: Dataset, *, depth: int, width: int, sigma_b2: float, seed: int = 0
) -> tuple[nn.Sequential, Dataset]:
    """An untrained network of eq. (1) on its edge of chaos, orthogonal weights, and `data` scaled to its variance q*.

    data: on the sphere, as `afli.data.normalised` returns it. Raises NoFixedPointError where phi has no such point.

    Examples
    --------
    >>> from afli import activations as act, data
    >>> digits = data.normalised(data.load("digits"))
    >>> model, scaled = on_edge(act.tanh(), digits, depth=5, width=64, sigma_b2=0.1)
    >>> round(float((scaled.x_train**2).mean()), 2)
    0.36
    """
    model = mlp(depth, width, in_features=data.features, out_features=data.classes, activation=phi)
    net = edge_of_chaos_(model, phi, sigma_b2=sigma_b2, generator=torch.Generator().manual_seed(seed))
    scale = np.float32(input_scale("sphere", q=net.q, sigma_w2=net.sigma_w2, sigma_b2=sigma_b2))
    return model, replace(data, x_train=scale * data.x_train, x_test=scale * data.x_test)


def seconds_per_call(module: nn.Module, shape: Sequence[int], *, repeats: int = 15) -> float:
    """Median time of one call forward and backward on standard normal numbers of that shape.

    Examples
    --------
    >>> seconds_per_call(nn.ReLU(), (8, 8), repeats=3) > 0
    True
    """
    z = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    taken = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        module(z).sum().backward()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[2:]))  # the first calls warm the caches up


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@torch.no_grad()
def _look(model: nn.Module, data: Dataset, watch: Callable[[nn.Module], Any] | None) -> tuple[float, Any]:
    """Test accuracy, and what `watch` sees, in evaluation mode."""
    model.eval()
    right = model(torch.from_numpy(data.x_test)).argmax(1) == torch.from_numpy(data.y_test)
    seen = watch(model) if watch else None
    model.train()
    return float(right.double().mean()), seen

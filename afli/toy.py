"""Small experiments of Part I that fit on a blackboard: one path, one neuron, two weights, one small network.

Only numpy and scipy. A network here is a list of layers (W, b) with W of shape (n_out, n_in), as in `afli.sampling`, an
activation between them and a softmax head; gradients are written out as in eq. (8), so that a page can point at a term.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from afli._inputs import integer, scalar
from afli.activations import Activation

__all__ = [
    "Backprop",
    "Descent",
    "backprop",
    "descend",
    "log10_chain_gradients",
    "log10_products",
    "product_above",
    "random_layers",
    "share_of_one_sign",
    "steps_to_unsaturate",
    "train",
]

AnyArray = NDArray[Any]
Layer = tuple[AnyArray, AnyArray]


# --- A product of many factors ---


def log10_products(factors: int, count: int, *, rng: np.random.Generator) -> AnyArray:
    """log10 of `count` products of `factors` independent numbers, uniform on (0, 1): shape (count,)."""
    return np.log10(1 - rng.random((integer("count", count, low=1), integer("factors", factors, low=1)))).sum(axis=1)


def product_above(exponent: Any, factors: int) -> Any:
    """P(product > 10^exponent) for that many uniform factors on (0, 1), exactly. exponent: <= 0, any shape.

    Each -log U is exponential, so minus the log of the product is Gamma(factors)-distributed.
    """
    return special.gammainc(integer("factors", factors, low=1), -np.asarray(exponent, dtype=float) * np.log(10))


def log10_chain_gradients(phi: Activation, weights: AnyArray, x: float = 1.0) -> AnyArray:
    """log10 |dz^(L)/dx| of chains of single neurons, z <- phi(w z): a product of L factors w phi'(h).

    weights: (chains, L). x: the input of every chain. Returns (chains,); minus infinity where a factor is zero.
    """
    z, logs = np.full(len(weights), float(x)), np.zeros(len(weights))
    with np.errstate(divide="ignore"):
        for w in weights.T:
            logs += np.log10(np.abs(w * phi.gradient(w * z)))
            z = phi.function(w * z)
    return logs


# --- One saturated neuron ---


def steps_to_unsaturate(h: float, *, rate: float = 1.0, loss: str = "square", target: float = 0.5) -> int:
    """Steps of gradient descent on its bias until a sigmoid neuron, preactivation h > 0, falls to `target`.

    It should say 0. loss: "square", whose gradient carries the factor sigmoid'(h), or "cross-entropy", where it
    cancels. rate: > 0. target: a level in (0, 1). Raises ValueError for another loss; stops at 10^6 steps.
    """
    if loss not in ("square", "cross-entropy"):
        raise ValueError(f"loss must be 'square' or 'cross-entropy', got {loss!r}")
    h, rate = scalar("h", h), scalar("rate", rate, low=0.0, open_low=True)
    for step in range(10**6):
        output = float(special.expit(h))
        if output <= target:
            return step
        slope = output * float(special.expit(-h)) if loss == "square" else 1.0
        h -= rate * output * slope
    return 10**6


# --- A linear neuron with two weights ---


@dataclass(frozen=True)
class Descent:
    """A run of gradient descent. weights: (steps + 1, n). updates: (steps, n), their differences."""

    weights: AnyArray

    @property
    def updates(self) -> AnyArray:
        return np.diff(self.weights, axis=0)

    @property
    def cosines(self) -> AnyArray:
        """Cosine of each update with the one before it; updates that are exactly zero are left out."""
        length = np.linalg.norm(self.updates, axis=1, keepdims=True)
        unit = (self.updates / np.where(length > 0, length, 1.0))[length[:, 0] > 0]
        return np.einsum("ij,ij->i", unit[1:], unit[:-1])

    def steps_to(self, goal: AnyArray, distance: float) -> int:
        """The first step after which the weights stay within `distance` of `goal`; the number of steps if never."""
        far = np.linalg.norm(self.weights - goal, axis=1) > distance
        return 0 if not far.any() else int(np.flatnonzero(far)[-1]) + 1


def descend(x: AnyArray, goal: AnyArray, start: AnyArray, *, rate: float, steps: int, natural: bool = False) -> Descent:
    """Least squares for one linear neuron, one input at a time: w <- w - rate (w.x - goal.x) x.

    x: (inputs, n), used in order, again from the first when they are used up. goal, start: weights (n,).
    natural: precondition with the inverse of the Fisher matrix, here the mean of x x^T.
    """
    fisher = np.linalg.inv(x.T @ x / len(x)) if natural else np.eye(x.shape[1])
    w, path = np.array(start, dtype=float), [np.array(start, dtype=float)]
    for step in range(integer("steps", steps, low=1)):
        row = x[step % len(x)]
        w = w - rate * float((w - goal) @ row) * (fisher @ row)
        path.append(w)
    return Descent(np.array(path))


def share_of_one_sign(gradients: AnyArray) -> float:
    """Share of the rows of `gradients` (rows, n) whose components, zeros aside, all have one sign."""
    return float(np.mean((gradients >= 0).all(axis=1) | (gradients <= 0).all(axis=1)))


# --- A small network, written out ---


@dataclass(frozen=True)
class Backprop:
    """One pass forward and back. Lists run over the layers.

    inputs: what enters each layer, (examples, n_in). preactivations: (examples, n_out). errors: delta of eq. (8), the
    gradient of each example's loss in its preactivations. loss: each example's cross-entropy.
    """

    inputs: list[AnyArray]
    preactivations: list[AnyArray]
    errors: list[AnyArray]
    loss: AnyArray

    def weight_gradient(self, layer: int) -> AnyArray:
        """Gradient of the mean loss in the weights of a layer, (n_out, n_in): the mean of delta z^T."""
        return self.errors[layer].T @ self.inputs[layer] / len(self.loss)

    def bias_gradient(self, layer: int) -> AnyArray:
        """Gradient of the mean loss in the biases of a layer, (n_out,)."""
        return np.asarray(self.errors[layer].mean(axis=0))


def backprop(layers: Sequence[Layer], phi: Activation, x: AnyArray, labels: AnyArray) -> Backprop:
    """Forward and backward through eq. (1) and eq. (8). x: (examples, n_0). labels: (examples,), integer classes."""
    inputs, preactivations, z = [], [], x
    for w, b in layers:
        inputs.append(z)
        preactivations.append(z @ w.T + b)
        z = phi.function(preactivations[-1])
    logits = preactivations[-1]
    log_probability = logits - special.logsumexp(logits, axis=1, keepdims=True)
    delta = np.exp(log_probability)
    delta[np.arange(len(x)), labels] -= 1
    errors = [delta]
    for (w, _), h in zip(layers[:0:-1], preactivations[-2::-1], strict=True):
        errors.append(phi.gradient(h) * (errors[-1] @ w))
    return Backprop(inputs, preactivations, errors[::-1], -log_probability[np.arange(len(x)), labels])


def random_layers(
    sizes: Sequence[int], *, sigma_w2: float, sigma_b2: float = 0.0, rng: np.random.Generator
) -> list[Layer]:
    """Gaussian layers (W, b): W of variance sigma_w2 / n_in, b of variance sigma_b2."""
    return [
        (np.sqrt(sigma_w2 / n) * rng.standard_normal((m, n)), np.sqrt(sigma_b2) * rng.standard_normal(m))
        for n, m in pairwise(sizes)
    ]


def train(
    layers: Sequence[Layer], phi: Activation, x: AnyArray, labels: AnyArray, *, rate: float, order: AnyArray
) -> Iterator[list[Layer]]:
    """Plain SGD on the rows `order` (steps, batch); yields the layers after every step, and never changes the given."""
    for rows in order:
        run = backprop(layers, phi, x[rows], labels[rows])
        layers = [
            (w - rate * run.weight_gradient(i), b - rate * run.bias_gradient(i)) for i, (w, b) in enumerate(layers)
        ]
        yield list(layers)

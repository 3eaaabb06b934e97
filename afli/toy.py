"""Small experiments of Part I that fit on a blackboard: one path, one neuron, two weights, one small network.

Only numpy and scipy. A network here is a list of layers (W, b) with W of shape (n_out, n_in), as in `afli.sampling`, an
activation between them and a softmax head; gradients are written out as in eq. (8), so that a page can point at a term.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from afli._activation import require
from afli._inputs import Layer, array, generator, integer, layer_of, like, real, scalar, word
from afli.activations import Activation
from afli.errors import ConvergenceError
from afli.sampling import standard_layers

__all__ = [
    "GOAL",
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
    "two_weights",
]

AnyArray = NDArray[Any]


# --- A product of many factors ---


def log10_products(factors: int, count: int, *, rng: np.random.Generator) -> AnyArray:
    """log10 of `count` products, an array, of so many independent factors, uniform on (0, 1)."""
    shape = integer("count", count, low=1), integer("factors", factors, low=1)
    return np.log10(1 - generator(rng).random(shape)).sum(axis=1)


def product_above(exponent: ArrayLike, factors: int) -> float | AnyArray:
    """P(product > 10^exponent) for that many uniform factors on (0, 1), exactly.

    Each -log U is exponential, so minus the log of the product is Gamma(factors)-distributed.

    Parameters
    ----------
    exponent
        At most 0, any shape; that of the result.
    factors
        At least 1.
    """
    below = -real("exponent", exponent, high=0.0) * np.log(10)
    return like(special.gammainc(integer("factors", factors, low=1), below))


def log10_chain_gradients(phi: Activation, weights: ArrayLike, x: float = 1.0) -> AnyArray:
    """log10 |dz^(L)/dx| of chains of single neurons, z <- phi(w z): a product of L factors w phi'(h).

    Parameters
    ----------
    weights
        Array (chains, L).
    x
        The input of every chain.

    Returns
    -------
    Array (chains,); minus infinity where a factor is zero.

    Raises
    ------
    ValueError
        If a chain leaves the range of a float.
    """
    require(phi)
    w = array("weights", weights, 2, "(chains, L)")
    z, logs = np.full(len(w), scalar("x", x)), np.zeros(len(w))
    with np.errstate(all="ignore"):  # what is not a number is reported below
        for column in w.T:
            h = column * z
            logs += np.log10(np.abs(column * phi.gradient(h)))
            z = phi.function(h)
    if np.isnan(logs).any() or np.isposinf(logs).any():
        raise ValueError(f"the chain of weights[{int(np.argmax(~(logs < np.inf)))}] leaves the range of a float")
    return logs


# --- One saturated neuron ---


def steps_to_unsaturate(h: float, *, rate: float = 1.0, loss: str = "square", target: float = 0.5) -> int:
    """Steps of gradient descent on its bias until a sigmoid neuron that should say 0 falls to a target.

    Parameters
    ----------
    h
        Its preactivation at the start.
    rate
        Learning rate, > 0.
    loss
        "square", whose gradient carries the factor sigmoid'(h), or "cross-entropy", where it cancels.
    target
        A level in [1e-3, 1].

    Raises
    ------
    ConvergenceError
        If 10^6 steps are not enough.
    """
    word("loss", loss, ("square", "cross-entropy"))
    h, rate = scalar("h", h), scalar("rate", rate, low=0.0, open_low=True)
    target = scalar("target", target, low=1e-3, high=1.0)
    start = h
    for step in range(10**6 + 1):
        output = float(special.expit(h))
        if output <= target:
            return step
        slope = output * float(special.expit(-h)) if loss == "square" else 1.0
        h -= rate * output * slope
    raise ConvergenceError(f"a neuron at h={start:g} is above target={target:g} after 10^6 steps at rate={rate:g}")


# --- A linear neuron with two weights ---


@dataclass(frozen=True)
class Descent:
    """A run of gradient descent.

    Attributes
    ----------
    weights
        Step by step, the start included, (steps + 1, n).
    """

    weights: AnyArray

    @property
    def updates(self) -> AnyArray:
        """How the weights moved, step by step: one row less than `weights`."""
        return np.diff(self.weights, axis=0)

    @property
    def cosines(self) -> AnyArray:
        """Cosine of each update with the one before it; updates that are exactly zero are left out."""
        length = np.linalg.norm(self.updates, axis=1, keepdims=True)
        unit = (self.updates / np.where(length > 0, length, 1.0))[length[:, 0] > 0]
        return np.einsum("ij,ij->i", unit[1:], unit[:-1])

    def steps_to(self, goal: ArrayLike, distance: float) -> int:
        """The first step after which the weights stay within `distance` of `goal`; the number of steps if never."""
        far = np.linalg.norm(self.weights - goal, axis=1) > distance
        return 0 if not far.any() else int(np.flatnonzero(far)[-1]) + 1


def descend(
    x: ArrayLike, goal: ArrayLike, start: ArrayLike, *, rate: float, steps: int, natural: bool = False
) -> Descent:
    """Least squares for one linear neuron, one input at a time: w <- w - rate (w.x - goal.x) x.

    Parameters
    ----------
    x
        Inputs (inputs, n), used in order, again from the first when they are used up.
    goal, start
        Weights (n,).
    rate
        Learning rate, > 0.
    steps
        At least 1.
    natural
        Precondition with the inverse of the Fisher matrix, here the mean of x x^T.

    Raises
    ------
    ValueError
        If the Fisher matrix has no inverse, or the weights leave the range of a float.
    """
    rows = array("x", x, 2, "(inputs, n)")
    n = rows.shape[1]
    ends = [array(name, value, 1, f"({n},)") for name, value in (("goal", goal), ("start", start))]
    for name, end in zip(("goal", "start"), ends, strict=True):
        if len(end) != n:
            raise ValueError(f"{name} must have shape ({n},), got {end.shape}")
    if len(rows) == 0:
        raise ValueError(f"x must hold one input or more, got shape {rows.shape}")
    rate = scalar("rate", rate, low=0.0, open_low=True)
    precondition = np.eye(n)
    if natural:
        fisher = rows.T @ rows / len(rows)
        if np.linalg.matrix_rank(fisher) < n:
            raise ValueError("x must span all directions for the natural gradient: the mean of x x^T has no inverse")
        precondition = np.linalg.inv(fisher)
    target, w = ends
    path = [w.astype(float)]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # reported below
        for step in range(integer("steps", steps, low=1)):
            row = rows[step % len(rows)]
            w = w - rate * float((w - target) @ row) * (precondition @ row)
            path.append(w)
    if not np.isfinite(path[-1]).all():
        raise ValueError(f"rate={rate:g} is too large: the weights leave the range of a float")
    return Descent(np.array(path))


def share_of_one_sign(gradients: ArrayLike) -> float:
    """Share of the rows of `gradients`, (rows, n), whose components, zeros aside, all have one sign."""
    rows = array("gradients", gradients, 2, "(rows, n)")
    if len(rows) == 0:
        raise ValueError(f"gradients must hold one row or more, got shape {rows.shape}")
    return float(np.mean((rows >= 0).all(axis=1) | (rows <= 0).all(axis=1)))


GOAL = (1.0, -1.0)  # of the neuron with two weights, which starts at minus that


def two_weights(
    mean: float, *, spread: float = 1.0, natural: bool = False, seed: int = 0, steps: int = 3000
) -> Descent:
    """A linear neuron that must turn (-1, 1) into GOAL, one weight up and one down, from 500 inputs.

    The inputs are uniform within `spread` of (mean, mean). The rate is 1 over their mean square, or 0.5 for the natural
    gradient; the rest is as in `descend`.
    """
    x = mean + spread * np.random.default_rng(seed).uniform(-1, 1, (500, 2))
    rate = 0.5 if natural else 1 / float(np.mean(np.sum(x * x, axis=1)))
    return descend(x, GOAL, [-1.0, 1.0], rate=rate, steps=steps, natural=natural)


# --- A small network, written out ---


@dataclass(frozen=True)
class Backprop:
    """One pass forward and back. Lists run over the layers.

    Attributes
    ----------
    inputs
        What enters each layer, (examples, n_in).
    preactivations
        (examples, n_out).
    errors
        delta of eq. (8): the gradient of each example's loss in its preactivations.
    loss
        Each example's cross-entropy.
    """

    inputs: list[AnyArray]
    preactivations: list[AnyArray]
    errors: list[AnyArray]
    loss: AnyArray

    def weight_gradient(self, layer: int) -> AnyArray:
        """Gradient of the mean loss in the weights of a layer, (n_out, n_in): the mean of delta z^T."""
        return self.errors[layer].T @ self.inputs[layer] / len(self.loss)

    def one_sign(self, layer: int, batch: int) -> float:
        """Share of the layer's neurons whose weight gradient on a batch has one sign; those with none are left out.

        The mean over all batches, which are taken in order. layer: from 0.
        """
        shares = []
        for start in range(0, len(self.loss), batch):
            rows = slice(start, start + batch)
            gradient = self.errors[layer][rows].T @ self.inputs[layer][rows]
            shares.append(share_of_one_sign(gradient[np.abs(gradient).max(axis=1) > 0]))
        return float(np.mean(shares))

    def bias_gradient(self, layer: int) -> AnyArray:
        """Gradient of the mean loss in the biases of a layer, (n_out,)."""
        return np.asarray(self.errors[layer].mean(axis=0))


def backprop(layers: Sequence[Layer], phi: Activation, x: ArrayLike, labels: ArrayLike) -> Backprop:
    """Forward and backward through eq. (1) and eq. (8).

    Parameters
    ----------
    layers
        Pairs (W, b), one or more; the last gives the logits.
    phi
        The activation between them.
    x
        Inputs (examples, n_0).
    labels
        Classes (examples,), integers from 0.

    Raises
    ------
    ValueError
        If a preactivation is not finite.
    """
    require(phi)
    inputs, preactivations, z = [], [], array("x", x, 2, "(examples, n_0)")
    kept = [*layers]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # what is not finite is reported below
        for number, layer in enumerate(kept, 1):
            w, b = layer_of(layer, number, z.shape[1])
            inputs.append(z)
            preactivations.append(z @ w.T + b)
            if not np.isfinite(preactivations[-1]).all():
                raise ValueError(f"the preactivations of layer {number} are not finite")
            z = phi.function(preactivations[-1])
    if not kept:
        raise ValueError("layers must hold one layer or more, got none")
    logits = preactivations[-1]
    at_label = np.arange(len(logits)), _classes(labels, *logits.shape)
    log_probability = logits - special.logsumexp(logits, axis=1, keepdims=True)
    delta = np.exp(log_probability)
    delta[at_label] -= 1
    errors = [delta]
    for (w, _), h in zip(kept[:0:-1], preactivations[-2::-1], strict=True):
        errors.append(phi.gradient(h) * (errors[-1] @ w))
    return Backprop(inputs, preactivations, errors[::-1], -log_probability[at_label])


def _classes(labels: ArrayLike, examples: int, classes: int) -> NDArray[np.int64]:
    given = np.asarray(labels)
    if np.ma.is_masked(labels):
        raise ValueError("labels must not have masked entries")
    if given.dtype.kind not in "iu" or given.shape != (examples,):
        got = f"{given.dtype} of shape {given.shape}"
        raise ValueError(f"labels must be integers of shape ({examples},), got {got}")
    if examples and not (given.min() >= 0 and given.max() < classes):
        worst = given[(given < 0) | (given >= classes)][0]
        raise ValueError(f"labels must be in [0, {classes - 1}], one logit each, got {worst}")
    return given.astype(np.int64)


def random_layers(
    sizes: Sequence[int], *, sigma_w2: float, sigma_b2: float = 0.0, rng: np.random.Generator
) -> list[Layer]:
    """Gaussian layers (W, b), arrays (n_out, n_in) and (n_out,).

    Parameters
    ----------
    sizes
        Number of inputs, then the width of every layer.
    sigma_w2
        n_in times the variance of a weight, >= 0.
    sigma_b2
        Variance of a bias, >= 0.
    """
    to_w, to_b = (np.sqrt(scalar(k, v, low=0.0)) for k, v in (("sigma_w2", sigma_w2), ("sigma_b2", sigma_b2)))
    return [(to_w * w, to_b * b) for w, b in standard_layers(sizes, rng=rng)]


def train(
    layers: Sequence[Layer], phi: Activation, x: ArrayLike, labels: ArrayLike, *, rate: float, order: ArrayLike
) -> Iterator[list[Layer]]:
    """Plain SGD: the layers after every step.

    Parameters
    ----------
    layers, phi, x, labels
        As for `backprop`; the given layers are left as they are.
    rate
        Learning rate, finite.
    order
        Rows of x, (steps, batch): integers from 0.
    """
    rows = np.asarray(order)
    if rows.dtype.kind not in "iu" or rows.ndim != 2:
        raise ValueError(f"order must be integers of shape (steps, batch), got {rows.dtype} of shape {rows.shape}")
    images, classes = np.asarray(x), np.asarray(labels)
    if rows.size and not (rows.min() >= 0 and rows.max() < len(images)):
        raise ValueError(f"order must be rows of x, in [0, {len(images) - 1}], got up to {rows.max()}")
    if classes.shape != images.shape[:1]:
        raise ValueError(f"labels must have shape {images.shape[:1]}, got {classes.shape}")
    return _steps(layers, phi, images, classes, scalar("rate", rate), rows)


def _steps(
    layers: Sequence[Layer], phi: Activation, x: AnyArray, labels: AnyArray, rate: float, order: AnyArray
) -> Iterator[list[Layer]]:
    for rows in order:
        run = backprop(layers, phi, x[rows], labels[rows])
        layers = [
            (w - rate * run.weight_gradient(i), b - rate * run.bias_gradient(i)) for i, (w, b) in enumerate(layers)
        ]
        yield list(layers)

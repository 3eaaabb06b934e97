"""Sampled networks of finite width, to hold the theory against (Sections 2.1 and 2.2); needs numpy only.

A network is a sequence of layers (W, b), drawn standardised: the variances of a `MeanField` multiply them when they are
used, so one draw serves networks of any activation. `standard_layers` draws as it goes, and a network of 100 layers and
width 1000 takes the memory of one layer; keep `list(standard_layers(...))` where layers are needed twice.
The functions are the recurrences of the paper: forward (1), backward (8), Jacobian (10). float32 stays float32; every
other kind of real number becomes float64. A result that is not finite raises ValueError.

Throughout, `net` gives the activation and the two variances, and `layers` are pairs (W, b), standardised, of shapes
(n_out, n_in) and (n_out,).
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from afli._inputs import WEIGHTS, Layer, array, generator, integer, layer_of, unit_rows, word
from afli.meanfield import MeanField, require_network

__all__ = [
    "WEIGHTS",
    "correlations",
    "errors_backward",
    "jacobian",
    "on_sphere",
    "preactivations",
    "singular_values",
    "standard_layers",
    "standard_weights",
]

Matrix = NDArray[Any]


# --- Random weights ---


def standard_weights(
    n_out: int, n_in: int, *, weights: str = "gaussian", rng: np.random.Generator, dtype: DTypeLike = np.float64
) -> Matrix:
    """A random matrix that keeps the variance per unit: E ||W z||^2 / n_out = ||z||^2 / n_in.

    Parameters
    ----------
    n_out, n_in
        Rows and columns, at least 1.
    weights
        "gaussian": independent entries of variance 1 / n_in. "orthogonal": Haar distributed, with orthonormal rows, or
        with orthonormal columns times sqrt(n_out / n_in) where the layer widens.
    rng
        Source of randomness: the same state gives the same matrix.
    dtype
        float64 or float32.

    Returns
    -------
    Array (n_out, n_in).
    """
    word("weights", weights, WEIGHTS)
    generator(rng)
    kind = _precision(dtype)
    shape = integer("n_out", n_out, low=1), integer("n_in", n_in, low=1)
    normal = rng.standard_normal(shape, dtype=kind)
    if weights == "gaussian":
        normal /= np.sqrt(np.asarray(n_in, dtype=kind))
        return normal
    basis, triangle = np.linalg.qr(normal if n_out >= n_in else normal.T)
    # QR is unique only up to signs. Making the diagonal of its triangle positive makes the basis Haar distributed.
    basis *= np.sign(np.diagonal(triangle))
    if n_out >= n_in:
        basis *= np.sqrt(np.asarray(n_out / n_in, dtype=kind))
        return basis
    return basis.T


def standard_layers(
    sizes: Iterable[int], *, weights: str = "gaussian", rng: np.random.Generator, dtype: DTypeLike = np.float64
) -> Iterator[Layer]:
    """The layers (W, b) of a network, one after another: W from `standard_weights`, b standard normal.

    Parameters
    ----------
    sizes
        Number of inputs, then the width of every layer: two integers or more, each at least 1.
    weights, rng, dtype
        As for `standard_weights`.

    Returns
    -------
    Iterator over pairs of arrays (n_out, n_in) and (n_out,).
    """
    try:
        counts = [integer(f"sizes[{i}]", n, low=1) for i, n in enumerate(sizes)]
    except TypeError as error:
        raise TypeError(f"sizes must be a sequence of integers, got {reprlib.repr(sizes)}") from error
    if len(counts) < 2:
        raise ValueError(f"sizes must hold the number of inputs and a width per layer, got {reprlib.repr(sizes)}")
    word("weights", weights, WEIGHTS)
    generator(rng)
    return _drawn(counts, weights, rng, _precision(dtype))


def _drawn(sizes: Sequence[int], weights: str, rng: np.random.Generator, dtype: Any) -> Iterator[Layer]:
    for n_in, n_out in pairwise(sizes):
        w = standard_weights(n_out, n_in, weights=weights, rng=rng, dtype=dtype)
        yield w, rng.standard_normal(n_out, dtype=dtype)


# --- Through the network ---


def on_sphere(net: MeanField, x: ArrayLike) -> Matrix:
    """Inputs scaled so that layer 1 has variance q, by eq. (1): ||x||^2 / n = (q - sigma_b2) / sigma_w2.

    Parameters
    ----------
    x
        Inputs (inputs, n), none of them zero, of any real type; images of integers too.

    Returns
    -------
    Array (inputs, n).
    """
    require_network(net)
    rows = array("x", x, 2, "(inputs, n)")
    unit = unit_rows("x", rows)
    return np.asarray(unit * float(np.sqrt(rows.shape[1] * net.input_mean_square)), dtype=rows.dtype)


def preactivations(net: MeanField, x: ArrayLike, layers: Iterable[Layer]) -> Iterator[Matrix]:
    """The preactivations h^(1), h^(2), ... of eq. (1).

    Parameters
    ----------
    x
        Inputs (inputs, n).

    Returns
    -------
    Iterator over arrays (inputs, units), one per layer.
    """
    require_network(net)
    try:
        one_by_one = iter(layers)
    except TypeError:
        raise TypeError(f"layers must be pairs (W, b), one after another, got {reprlib.repr(layers)}") from None
    return _forward(net, array("x", x, 2, "(inputs, n)"), one_by_one)


def _forward(net: MeanField, z: Matrix, layers: Iterable[Layer]) -> Iterator[Matrix]:
    to_w, to_b = (float(np.sqrt(v)) for v in (net.sigma_w2, net.sigma_b2))
    for number, layer in enumerate(layers, 1):
        w, b = layer_of(layer, number, z.shape[1])
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # what is not finite is reported
            h = to_w * (z @ w.T) + to_b * b
            z = net.phi.function(h)
        yield _finite(f"the preactivations of layer {number}", h)


def correlations(h: ArrayLike) -> Matrix:
    """Correlation of every pair of inputs over the units of a layer.

    Preactivations have mean zero over the draw of the weights, so nothing is subtracted.

    Parameters
    ----------
    h
        Preactivations (inputs, units), no row zero.

    Returns
    -------
    Array (pairs,) with values in [-1, 1], in the order of `np.triu_indices(inputs, 1)`.
    """
    unit = unit_rows("h", array("h", h, 2, "(inputs, units)"))
    return np.clip((unit @ unit.T)[np.triu_indices(len(unit), 1)], -1.0, 1.0)


# --- And back ---


def errors_backward(net: MeanField, h: Sequence[Matrix], layers: Sequence[Layer], delta: ArrayLike) -> list[Matrix]:
    """The errors delta^(1), ..., delta^(L) of eq. (8) from the last one.

    Parameters
    ----------
    h
        Preactivations per layer, each (inputs, units).
    delta
        delta^(L), (inputs, units of the last layer).

    Returns
    -------
    List of arrays, each of the shape of that layer's preactivations.
    """
    require_network(net)
    heights = [array(f"h[{i}]", each, 2, "(inputs, units)") for i, each in enumerate(_listed("h", h))]
    kept = _listed("layers", layers)
    errors = [array("delta", delta, 2, "(inputs, units)")]
    if len(heights) != len(kept) or not kept:
        raise ValueError(f"h and layers must hold the same layers, one or more, got {len(heights)} and {len(kept)}")
    if errors[0].shape != heights[-1].shape:
        raise ValueError(f"delta must have the shape of h[-1], {heights[-1].shape}, got {errors[0].shape}")
    to_w = float(np.sqrt(net.sigma_w2))
    for number in range(len(kept), 1, -1):
        here = heights[number - 2]
        w_above, _ = layer_of(kept[number - 1], number, here.shape[1])
        if (len(here), len(w_above)) != errors[-1].shape:
            raise ValueError(f"h[{number - 1}] must have shape {(len(here), len(w_above))}, got {errors[-1].shape}")
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            error = net.phi.gradient(here) * (errors[-1] @ w_above) * to_w
        errors.append(_finite(f"the errors of layer {number - 1}", error))
    return errors[::-1]


def jacobian(net: MeanField, x: ArrayLike, layers: Iterable[Layer]) -> Matrix:
    """The Jacobian J = D^(L) W^(L) ... D^(1) W^(1) of eq. (10) at one input.

    Parameters
    ----------
    x
        The input (n,).

    Returns
    -------
    Array (units of the last layer, n).
    """
    require_network(net)
    start = array("x", x, 1, "(n,)")
    kept = _listed("layers", layers)
    product = np.eye(len(start), dtype=start.dtype)
    for h, (w, _) in zip(_forward(net, start[None], kept), kept, strict=True):
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            product = net.phi.gradient(h[0])[:, None] * (w @ product) * float(np.sqrt(net.sigma_w2))
    return _finite("the Jacobian", product)


def singular_values(
    net: MeanField, *, width: int, depth: int, weights: str = "orthogonal", rng: np.random.Generator
) -> Matrix:
    """Singular values of the Jacobian of a sampled network at a random input on the sphere.

    Parameters
    ----------
    width, depth
        Units per layer and number of layers, at least 1.
    weights, rng
        As for `standard_weights`.

    Returns
    -------
    Array (width,), largest first.
    """
    require_network(net)
    width, depth = integer("width", width, low=1), integer("depth", depth, low=1)
    layers = standard_layers([width] * (depth + 1), weights=weights, rng=generator(rng))
    x = on_sphere(net, rng.standard_normal((1, width)))[0]
    return np.linalg.svd(jacobian(net, x, layers), compute_uv=False)


# --- Checks ---


def _precision(dtype: Any) -> Any:
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = np.dtype(object)
    if kind not in (np.float64, np.float32):
        raise ValueError(f"dtype must be float64 or float32, got {dtype!r}")
    return kind.type


def _listed(name: str, value: Any) -> list[Any]:
    try:
        return list(value)
    except TypeError:
        raise TypeError(f"{name} must be a sequence, got {reprlib.repr(value)}") from None


def _finite(what: str, array: Matrix) -> Matrix:
    if not np.isfinite(array).all():
        raise ValueError(f"{what} are not finite: a weight or bias is not, or they leave the range of {array.dtype}")
    return array

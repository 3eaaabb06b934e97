"""Sampled networks of finite width, to hold the theory against (Sections 2.1 and 2.2); needs numpy only.

A network is a sequence of layers (W, b), drawn standardised: the variances of a `MeanField` multiply them when they are
used, so one draw serves networks of any activation. `standard_layers` draws as it goes, and a network of 100 layers and
width 1000 takes the memory of one layer; keep `list(standard_layers(...))` where layers are needed twice.
The functions are the recurrences of the paper: forward (1), backward (8), Jacobian (10).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afli._inputs import integer
from afli.meanfield import MeanField

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

WEIGHTS = ("gaussian", "orthogonal")
Matrix = NDArray[Any]
Layer = tuple[Matrix, Matrix]


# --- Random weights ---


def standard_weights(
    n_out: int, n_in: int, *, weights: str = "gaussian", rng: np.random.Generator, dtype: Any = np.float64
) -> Matrix:
    """A matrix (n_out, n_in) that keeps the variance per unit: E ||W z||^2 / n_out = ||z||^2 / n_in.

    gaussian: independent entries of variance 1 / n_in. orthogonal: Haar distributed, with orthonormal rows, or with
    orthonormal columns times sqrt(n_out / n_in) where the layer widens. dtype: float64 or float32.
    Raises ValueError for another word or a size below 1, TypeError if rng is not a numpy Generator.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights must be one of {', '.join(map(repr, WEIGHTS))}, got {weights!r}")
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy Generator such as np.random.default_rng(0), got {rng!r}")
    shape = integer("n_out", n_out, low=1), integer("n_in", n_in, low=1)
    normal = rng.standard_normal(shape, dtype=dtype)
    if weights == "gaussian":
        normal /= np.sqrt(np.asarray(n_in, dtype=dtype))
        return normal
    basis, triangle = np.linalg.qr(normal if n_out >= n_in else normal.T)
    # QR is unique only up to signs. Making the diagonal of its triangle positive makes the basis Haar distributed.
    basis *= np.sign(np.diagonal(triangle))
    if n_out >= n_in:
        basis *= np.sqrt(np.asarray(n_out / n_in, dtype=dtype))
        return basis
    return basis.T


def standard_layers(
    sizes: Sequence[int], *, weights: str = "gaussian", rng: np.random.Generator, dtype: Any = np.float64
) -> Iterator[Layer]:
    """The layers (W, b) of a network, one after another: W from `standard_weights`, b standard normal.

    sizes: number of inputs, then the width of every layer. Other arguments as for `standard_weights`.
    """
    for n_in, n_out in pairwise(sizes):
        w = standard_weights(n_out, n_in, weights=weights, rng=rng, dtype=dtype)
        yield w, rng.standard_normal(n_out, dtype=dtype)


# --- Through the network ---


def on_sphere(net: MeanField, x: Matrix) -> Matrix:
    """Inputs x (inputs, n), each scaled to ||x||^2 / n = (q - sigma_b2) / sigma_w2.

    Layer 1 then has variance q, by eq. (1). Raises ValueError if an input is zero.
    """
    mean_square = np.mean(np.square(x), axis=1, keepdims=True)
    if not (mean_square > 0).all():
        raise ValueError(f"input {int(np.argmin(mean_square))} of x is zero and cannot be scaled")
    return np.asarray(x * np.sqrt((net.q - net.sigma_b2) / net.sigma_w2 / mean_square).astype(x.dtype))


def preactivations(net: MeanField, x: Matrix, layers: Iterable[Layer]) -> Iterator[Matrix]:
    """h^(1), h^(2), ... of eq. (1) for inputs x (inputs, n): one array (inputs, units) per layer."""
    to_w, to_b = (float(np.sqrt(v)) for v in (net.sigma_w2, net.sigma_b2))
    z = x
    for w, b in layers:
        h = to_w * (z @ w.T) + to_b * b
        yield h
        z = net.phi.function(h)


def correlations(h: Matrix) -> Matrix:
    """Correlation of every pair of inputs over the units of a layer. h: (inputs, units) -> (pairs,), in [-1, 1].

    Preactivations have mean zero over the draw of the weights, so nothing is subtracted.
    """
    unit = h.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return np.clip((unit @ unit.T)[np.triu_indices(len(h), 1)], -1.0, 1.0)


# --- And back ---


def errors_backward(net: MeanField, h: Sequence[Matrix], layers: Sequence[Layer], delta: Matrix) -> list[Matrix]:
    """The errors delta^(1), ..., delta^(L) of eq. (8) from the last one.

    h: preactivations per layer, each (inputs, units); layers: the same layers; delta: delta^(L), (inputs, units of the
    last layer).
    """
    to_w = float(np.sqrt(net.sigma_w2))
    errors = [delta]
    for here, (w_above, _) in zip(h[-2::-1], layers[:0:-1], strict=True):
        errors.append(net.phi.gradient(here) * (errors[-1] @ w_above) * to_w)
    return errors[::-1]


def jacobian(net: MeanField, x: Matrix, layers: Iterable[Layer]) -> Matrix:
    """J = D^(L) W^(L) ... D^(1) W^(1) at one input x (n,), eq. (10): an array (units of the last layer, n)."""
    kept = list(layers)
    product = np.eye(len(x), dtype=x.dtype)
    for h, (w, _) in zip(preactivations(net, x[None], kept), kept, strict=True):
        product = net.phi.gradient(h[0])[:, None] * (w @ product) * float(np.sqrt(net.sigma_w2))
    return product


def singular_values(
    net: MeanField, *, width: int, depth: int, weights: str = "orthogonal", rng: np.random.Generator
) -> Matrix:
    """Singular values (width,), largest first, of the Jacobian of a sampled network at a random input on the sphere."""
    x = on_sphere(net, rng.standard_normal((1, integer("width", width, low=1))))[0]
    sizes = [width] * (integer("depth", depth, low=1) + 1)
    return np.linalg.svd(jacobian(net, x, standard_layers(sizes, weights=weights, rng=rng)), compute_uv=False)

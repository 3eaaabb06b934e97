"""Random weights and biases, Gaussian or Haar-orthogonal, for layers of any shape (Section 4.1).

Everything is a *standardised* draw times a number: W = sqrt(sigma_w2) * draw, b = sqrt(sigma_b2) * draw. A draw of
either kind keeps the variance per unit, E ||W z||^2 / n_out = ||z||^2 / n_in, whether the layer widens or narrows.
Both kinds start from the same normal numbers, so that networks of one trial can be compared in pairs.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["WEIGHTS", "standard_biases", "standard_kernel", "standard_weights"]

WEIGHTS = ("orthogonal", "gaussian")


def standard_weights(n_out: int, n_in: int, weights: str, generator: torch.Generator | None = None) -> Tensor:
    """A weight matrix (n_out, n_in), float64, that keeps the variance per unit.

    Parameters
    ----------
    n_out, n_in
        Its shape.
    weights
        "gaussian": independent entries of variance 1/n_in. "orthogonal": Haar-distributed with orthonormal rows (or
        columns, if the layer widens), times sqrt(n_out / n_in) where it widens: without that factor 256 to 1024 units
        lose 3/4 of it.
    generator
        Where random numbers come from.

    Raises
    ------
    ValueError
        For another kind.

    Examples
    --------
    >>> w = standard_weights(3, 5, "orthogonal")
    >>> bool(torch.allclose(w @ w.T, torch.eye(3, dtype=torch.float64)))
    True
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}")
    normal = torch.randn(n_out, n_in, generator=generator, dtype=torch.float64)
    if weights == "gaussian":
        return normal / math.sqrt(n_in)
    tall = normal if n_out >= n_in else normal.T
    basis, triangle = torch.linalg.qr(tall)
    # QR is unique only up to signs; making R's diagonal positive makes the basis Haar-distributed (Mezzadri 2007).
    basis = basis * torch.sign(torch.diagonal(triangle))
    return basis * math.sqrt(n_out / n_in) if n_out >= n_in else basis.T.contiguous()


def standard_biases(n_out: int, generator: torch.Generator | None = None) -> Tensor:
    """Independent standard normal biases (n_out,), float64.

    Examples
    --------
    >>> standard_biases(4).shape
    torch.Size([4])
    """
    return torch.randn(n_out, generator=generator, dtype=torch.float64)


def standard_kernel(layer: Any, weights: str, generator: torch.Generator | None = None) -> Tensor:
    """Weights for an nn.Linear or nn.Conv layer, of its shape, float64, that keep the variance per unit.

    A convolution is a linear map of the patch under its kernel, so for Gaussian entries of variance 1 / fan-in,
    fan-in = channels x kernel size, the recursion for the variance is that of a dense layer (Xiao et al. 2018, Section
    2.1), except where zero padding makes patches smaller.

    Parameters
    ----------
    layer
        nn.Linear, nn.Conv1d, nn.Conv2d or nn.Conv3d.
    weights
        "gaussian", or "orthogonal": for a convolution of stride 1 and odd kernel delta-orthogonal, zero but for an
        orthogonal matrix at the centre (Xiao et al. 2018, Section 3.3), which needs no border; for any other an
        orthogonal matrix on the whole patch.

    Raises
    ------
    ValueError
        For another kind of weights.

    Examples
    --------
    >>> from torch import nn
    >>> w = standard_kernel(nn.Conv2d(2, 4, 3), "orthogonal")
    >>> w.shape, int((w != 0).sum())
    (torch.Size([4, 2, 3, 3]), 8)
    """
    n_out, channels, *kernel = layer.weight.shape
    if not kernel:
        return standard_weights(n_out, channels, weights, generator)
    groups, delta = layer.groups, weights == "orthogonal" and set(layer.stride) == {1} and all(k % 2 for k in kernel)
    blocks = []
    for _ in range(groups):
        if delta:
            block = torch.zeros(n_out // groups, channels, *kernel, dtype=torch.float64)
            centre = (..., *(k // 2 for k in kernel))
            block[centre] = standard_weights(n_out // groups, channels, weights, generator)
        else:
            flat = standard_weights(n_out // groups, channels * math.prod(kernel), weights, generator)
            block = flat.reshape(-1, channels, *kernel)
        blocks.append(block)
    return torch.cat(blocks)

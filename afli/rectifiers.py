"""Activations that deep-learning libraries offer beside those of the paper, by the names that PyTorch gives them.

Exported by `afli.activations`. None of them is scaled-bounded (Definition 2.1) but the symmetric hard tanh.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from afli._activation import Activation
from afli._inputs import Array, scalar

__all__ = ["gelu_tanh", "hardsigmoid", "hardswish", "hardtanh", "logsigmoid", "mish", "relu6", "snake", "softshrink"]


def gelu_tanh() -> Activation:
    """z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2: the approximation of gelu that GPT-2 uses."""
    c, cubic = np.sqrt(8 / np.pi), 0.044715

    def function(z: Array) -> Array:
        return z * special.expit(c * z * (1 + cubic * z * z))  # (1 + tanh(u)) / 2 without its cancellation

    def gradient(z: Array) -> Array:
        near = np.clip(z, -20, 20)  # beyond, the slope of expit is 0 in floats and the polynomial may overflow
        s = special.expit(c * near * (1 + cubic * near * near))
        return s + near * s * (1 - s) * c * (1 + 3 * cubic * near * near)

    return Activation("gelu_tanh", (), function, gradient, slope=0.5)


def mish() -> Activation:
    """z tanh(log(1 + exp(z)))."""

    def gradient(z: Array) -> Array:
        t = np.tanh(np.logaddexp(0.0, z))
        return t + z * (1 - t * t) * special.expit(z)

    return Activation("mish", (), lambda z: z * np.tanh(np.logaddexp(0.0, z)), gradient, slope=0.6)


def hardswish() -> Activation:
    """z min(max(z + 3, 0), 6) / 6."""
    return Activation(
        "hardswish",
        (),
        lambda z: z * np.clip(z / 6 + 0.5, 0.0, 1.0),
        lambda z: np.where(z <= -3, 0.0, np.where(z < 3, z / 3 + 0.5, 1.0)),
        kinks=(-3.0, 3.0),
        slope=0.5,
    )


def hardtanh(low: float = -1.0, high: float = 1.0) -> Activation:
    """min(max(z, low), high); low in [-1e70, -1e-70], high in [1e-70, 1e70]. hardtanh(-a, a) is shtanh(a)."""
    low = -scalar("-low", -low, low=1e-70, high=1e70)
    high = scalar("high", high, low=1e-70, high=1e70)
    return Activation(
        "hardtanh",
        (("low", low), ("high", high)),
        lambda z: np.clip(z, low, high),
        lambda z: ((z >= low) & (z <= high)).astype(float),
        kinks=(low, high),
        is_odd=low == -high,
        linear_radius=min(-low, high),
        bound=max(-low, high),
        piece_slopes=(0.0, 1.0, 0.0),
    )


def relu6() -> Activation:
    """min(max(z, 0), 6)."""
    return Activation(
        "relu6",
        (),
        lambda z: np.clip(z, 0.0, 6.0),
        lambda z: ((z > 0) & (z < 6)).astype(float),
        kinks=(0.0, 6.0),
        slope=0.5,
        bound=6.0,
        piece_slopes=(0.0, 1.0, 0.0),
    )


def softshrink(lambd: float = 0.5) -> Activation:
    """z moved by lambd towards 0, and 0 on [-lambd, lambd]; lambd in [1e-70, 1e70]."""
    lambd = scalar("lambd", lambd, low=1e-70, high=1e70)
    return Activation(
        "softshrink",
        (("lambd", lambd),),
        lambda z: z - np.clip(z, -lambd, lambd),
        lambda z: (np.abs(z) > lambd).astype(float),
        kinks=(-lambd, lambd),
        is_odd=True,
        slope=0.0,
        linear_radius=lambd,
        piece_slopes=(1.0, 0.0, 1.0),
    )


def hardsigmoid() -> Activation:
    """min(max(z / 6 + 1/2, 0), 1); positive, so not zero at zero."""
    return Activation(
        "hardsigmoid",
        (),
        lambda z: np.clip(z / 6 + 0.5, 0.0, 1.0),
        lambda z: (np.abs(z) < 3) / 6.0,
        kinks=(-3.0, 3.0),
        slope=1 / 6,
        bound=1.0,
        piece_slopes=(0.0, 1 / 6, 0.0),
    )


def logsigmoid() -> Activation:
    """-log(1 + exp(-z)); negative, so not zero at zero."""
    return Activation("logsigmoid", (), lambda z: -np.logaddexp(0.0, -z), lambda z: special.expit(-z), slope=0.5)


def snake(a: float = 1.0) -> Activation:
    """z + sin(a z)^2 / a; a in [1e-70, 1e70]."""
    a = scalar("a", a, low=1e-70, high=1e70)
    return Activation(
        "snake",
        (("a", a),),
        lambda z: z + np.sin(a * z) ** 2 / a,
        lambda z: 1 + np.sin(2 * a * z),
        scale=1 / a,
    )

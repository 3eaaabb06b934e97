"""Activation functions (Section 2.3): the function, its derivative, and the facts that the theory needs of them.

An `Activation` knows where it is not smooth (its kinks, the finite set D of Definition 2.1), whether it is odd, and
how far it is linear around the origin. Integration splits at the kinks; the bounds need only the linear radius.
Lengths (a, scale) may lie in [1e-100, 1e100], slopes (k, alpha) in [1e-70, 1e70], so that phi'^4 is a float, heights
a k in [1e-140, 1e140]; outside, or for NaN, ValueError; TypeError if not a number.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
from scipy import special

from afli._activation import Activation, looks_even, require
from afli._inputs import Array, Function, scalar
from afli.custom import from_callable
from afli.definition import SCALED_BOUNDED_FAMILIES, PropertyCheck, check_scaled_bounded
from afli.gaussian import normal_density
from afli.rectifiers import (
    gelu_tanh,
    hardsigmoid,
    hardswish,
    hardtanh,
    logsigmoid,
    mish,
    relu6,
    snake,
    softshrink,
)

__all__ = [
    "FAMILIES",
    "SCALED_BOUNDED_FAMILIES",
    "Activation",
    "PropertyCheck",
    "check_scaled_bounded",
    "from_callable",
]
__all__ += ["abs_", "elu", "erf", "gelu", "get", "leaky_relu", "linear", "relu", "scaled", "selu", "sexp", "shtanh"]
__all__ += ["sigmoid", "silu", "sin", "softplus", "softsign", "ssaw", "ssine", "symmetrised", "tanh"]
__all__ += ["gelu_tanh", "hardsigmoid", "hardswish", "hardtanh", "logsigmoid", "mish", "relu6", "snake", "softshrink"]

# --- Definition 2.1: the four scaled-bounded families (Figure 3). Each equals k z on [-a, a]. ---


def shtanh(a: float, k: float = 1.0) -> Activation:
    """Scaled hard tanh, eq. (14): k z on [-a, a], constant +-a k outside. With a = k = 1 it is hard tanh."""
    a, k = _length_and_slope(a, k)
    return Activation(
        "shtanh",
        (("a", a), ("k", k)),
        lambda z: k * np.clip(z, -a, a),
        lambda z: k * (np.abs(z) <= a).astype(float),
        kinks=(-a, a),
        is_odd=True,
        slope=k,
        linear_radius=a,
        bound=a * k,
        piece_slopes=(0.0, k, 0.0),
    )


def ssine(a: float, k: float = 1.0) -> Activation:
    """k z on [-a, a], then the wave +-k (a - 1 + cos(|z| - a)); |phi| <= a k only if a >= 1."""
    a, k = _length_and_slope(a, k)
    return _with_tail("ssine", a, k, lambda t: a - 1 + np.cos(t), lambda t: -np.sin(t), bound=k * max(a, abs(a - 2)))


def sexp(a: float, k: float = 1.0) -> Activation:
    """k z on [-a, a], then the decay +-k (a - 1 + exp(a - |z|)); |phi| <= a k only if a >= 1/2."""
    a, k = _length_and_slope(a, k)
    return _with_tail("sexp", a, k, lambda t: a - 1 + np.exp(-t), lambda t: -np.exp(-t), bound=k * max(a, abs(a - 1)))


def ssaw(a: float, k: float = 1.0) -> Activation:
    """One saw tooth: k z on [-a, a], back to zero at +-2a, zero outside."""
    a, k = _length_and_slope(a, k)

    def function(z: Array) -> Array:
        return k * np.sign(z) * np.minimum(np.abs(z), np.maximum(2 * a - np.abs(z), 0.0))

    def gradient(z: Array) -> Array:
        r = np.abs(z)
        return k * np.where(r <= a, 1.0, np.where(r < 2 * a, -1.0, 0.0))

    return Activation(
        "ssaw",
        (("a", a), ("k", k)),
        function,
        gradient,
        kinks=(-2 * a, -a, a, 2 * a),
        is_odd=True,
        slope=k,
        linear_radius=a,
        bound=a * k,
        piece_slopes=(0.0, -k, k, -k, 0.0),
    )


def _with_tail(family: str, a: float, k: float, tail: Function, tail_slope: Function, bound: float) -> Activation:
    """k z on [-a, a] and sign(z) k tail(|z| - a) outside."""

    def function(z: Array) -> Array:
        beyond = np.maximum(np.abs(z) - a, 0.0)
        return k * np.where(beyond > 0, np.sign(z) * tail(beyond), z)

    def gradient(z: Array) -> Array:
        beyond = np.maximum(np.abs(z) - a, 0.0)
        return k * np.where(beyond > 0, tail_slope(beyond), 1.0)

    return Activation(
        family,
        (("a", a), ("k", k)),
        function,
        gradient,
        kinks=(-a, a),
        is_odd=True,
        slope=k,
        linear_radius=a,
        bound=bound,
    )


# --- Smooth activations ---


def tanh() -> Activation:
    """The hyperbolic tangent."""
    return Activation("tanh", (), np.tanh, lambda z: 1 / np.cosh(np.clip(z, -350, 350)) ** 2, is_odd=True, bound=1.0)


def erf() -> Activation:
    """The error function erf(z)."""
    return Activation(
        "erf",
        (),
        special.erf,
        lambda z: 2 / np.sqrt(np.pi) * np.exp(-z * z),
        is_odd=True,
        slope=2 / np.sqrt(np.pi),
        bound=1.0,
    )


def sin() -> Activation:
    """The sine."""
    return Activation("sin", (), np.sin, np.cos, is_odd=True, bound=1.0)


def gelu() -> Activation:
    """z P(Z <= z), the exact Gaussian error linear unit, not its tanh approximation."""
    return Activation(
        "gelu", (), lambda z: z * special.ndtr(z), lambda z: special.ndtr(z) + z * normal_density(z), slope=0.5
    )


def silu() -> Activation:
    """z sigmoid(z), also called swish."""

    def gradient(z: Array) -> Array:
        s = special.expit(z)
        return s * (1 + z * (1 - s))

    return Activation("silu", (), lambda z: z * special.expit(z), gradient, slope=0.5)


def softplus() -> Activation:
    """log(1 + exp(z)); positive, so not zero at zero."""
    return Activation("softplus", (), lambda z: np.logaddexp(0.0, z), special.expit, slope=0.5)


def sigmoid() -> Activation:
    """1 / (1 + exp(-z)); positive, so not zero at zero."""
    return Activation(
        "sigmoid", (), special.expit, lambda z: special.expit(z) * special.expit(-z), slope=0.25, bound=1.0
    )


# --- Activations with a kink at zero ---


def softsign() -> Activation:
    """z / (1 + |z|); its second derivative jumps at zero."""
    return Activation(
        "softsign",
        (),
        lambda z: z / (1 + np.abs(z)),
        lambda z: 1 / (1 + np.abs(z)) ** 2,
        kinks=(0.0,),
        is_odd=True,
        bound=1.0,
    )


def elu(alpha: float = 1.0) -> Activation:
    """z for z > 0, alpha (exp(z) - 1) below; alpha in [1e-70, 1e70]."""
    alpha = _slope("alpha", alpha)
    return _exponential_left("elu", (("alpha", alpha),), 1.0, alpha)


def selu() -> Activation:
    """The self-normalising elu: gain 1.0507..., alpha 1.6732..., so that q = 1 is a fixed point for sigma_w2 = 1."""
    return _exponential_left("selu", (), 1.0507009873554805, 1.6732632423543772)


def _exponential_left(family: str, params: tuple[tuple[str, float], ...], gain: float, alpha: float) -> Activation:
    def function(z: Array) -> Array:
        return gain * np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0)))

    def gradient(z: Array) -> Array:
        return gain * np.where(z > 0, 1.0, alpha * np.exp(np.minimum(z, 0.0)))

    return Activation(family, params, function, gradient, kinks=(0.0,), slope=gain * (1 + alpha) / 2)


def relu() -> Activation:
    """max(z, 0)."""
    return _two_slopes("relu", (), 0.0, 1.0)


def leaky_relu(slope: float = 0.01) -> Activation:
    """z for z > 0, slope * z below; slope in [-1e70, 1e70]."""
    slope = scalar("slope", slope, low=-1e70, high=1e70)
    return _two_slopes("leaky_relu", (("slope", slope),), slope, 1.0)


def abs_() -> Activation:
    """The modulus |z|."""
    return _two_slopes("abs_", (), -1.0, 1.0)


def linear() -> Activation:
    """The identity: the linear network that every bound compares with."""
    return Activation(
        "linear",
        (),
        lambda z: np.array(z, dtype=float),
        np.ones_like,
        is_odd=True,
        linear_radius=np.inf,
        piece_slopes=(1.0,),
    )


def _two_slopes(family: str, params: tuple[tuple[str, float], ...], left: float, right: float) -> Activation:
    straight = left == right
    return Activation(
        family,
        params,
        lambda z: np.where(z > 0, right * z, left * z),
        lambda z: np.where(z > 0, right, left),
        kinks=(0.0,),
        is_odd=straight,
        slope=(left + right) / 2,
        linear_radius=np.inf if straight else 0.0,
        piece_slopes=(left, right),
    )


# --- New activations from old ---


def scaled(phi: Activation, a: float) -> Activation:
    """z -> a phi(z / a), the scaling of Section 2.3: it stretches the linear region by a and keeps the slope."""
    require(phi)
    a = _length(a)
    return Activation(
        "scaled",
        (("a", a),),
        lambda z: a * phi.function(z / a),
        lambda z: phi.gradient(z / a),
        kinks=tuple(a * d for d in phi.kinks),
        is_odd=phi.is_odd,
        slope=phi.slope,
        linear_radius=a * phi.linear_radius,
        bound=a * phi.bound,
        scale=a * phi.scale,
        piece_slopes=phi.piece_slopes,
        base=phi,
        rounding=phi.rounding,
    )


def symmetrised(phi: Activation) -> Activation:
    """The odd part of phi, z -> (phi(z) - phi(-z)) / 2. Its derivative is (phi'(z) + phi'(-z)) / 2.

    Of an even phi, which is tested on a grid, it is the constant 0, free of rounding.
    """
    require(phi)
    if looks_even(phi.function, phi.scale):
        return Activation(
            "symmetrised",
            (),
            np.zeros_like,
            np.zeros_like,
            is_odd=True,
            slope=0.0,
            linear_radius=np.inf,
            bound=0.0,
            scale=phi.scale,
            piece_slopes=(0.0,),
            base=phi,
        )
    kinks = tuple(sorted({*phi.kinks, *(-d for d in phi.kinks)}))
    pieces = None

    def gradient(z: Array) -> Array:
        return 0.5 * (phi.gradient(z) + phi.gradient(-z))

    if phi.piece_slopes is not None:
        outer = kinks or (0.0,)
        edges = np.array([outer[0] - 1.0, *kinks, outer[-1] + 1.0])
        pieces = tuple(float(s) for s in gradient(0.5 * (edges[1:] + edges[:-1])))
    radius = np.inf if pieces is not None and len(set(pieces)) == 1 else phi.linear_radius
    return Activation(
        "symmetrised",
        (),
        lambda z: 0.5 * (phi.function(z) - phi.function(-z)),
        gradient,
        kinks=kinks,
        is_odd=True,
        slope=phi.slope,
        linear_radius=radius,
        bound=phi.bound,
        scale=phi.scale,
        piece_slopes=pieces,
        base=phi,
        rounding=phi.rounding,
    )


def get(family: str, **params: float) -> Activation:
    """The activation of that family.

    Parameters
    ----------
    family
        Its name; capitals do not matter, and "swish" is "silu".
    params
        Its parameters.

    Examples
    --------
    >>> get("shtanh", a=2.0).name, get("Swish").name
    ('shtanh(a=2)', 'silu')
    """
    if not isinstance(family, str):
        raise TypeError(f"family must be a str, got {family!r} of type {type(family).__name__}")
    known = ALIASES.get(family.lower(), family.lower())
    if known not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(sorted(FAMILIES))}, got {family!r}")
    return FAMILIES[known](**params)


FAMILIES: dict[str, Callable[..., Activation]] = {
    maker.__name__: maker
    for maker in (
        shtanh,
        ssine,
        sexp,
        ssaw,
        tanh,
        erf,
        sin,
        relu,
        leaky_relu,
        elu,
        selu,
        gelu,
        silu,
        softplus,
        softsign,
        sigmoid,
        abs_,
        linear,
        gelu_tanh,
        mish,
        hardswish,
        hardtanh,
        relu6,
        softshrink,
        hardsigmoid,
        logsigmoid,
        snake,
    )
}
ALIASES = {"swish": "silu", "abs": "abs_", "identity": "linear", "leakyrelu": "leaky_relu"}


# --- Pickling: by family and parameters, since the formulas are closures ---


def _reduced(phi: Activation) -> tuple[Any, ...]:
    params = dict(phi.params)
    if phi.base is not None:
        scales = phi.family == "scaled"
        return (partial(scaled, phi.base, **params) if scales else partial(symmetrised, phi.base)), ()
    if phi.family in FAMILIES:
        return partial(FAMILIES[phi.family], **params), ()
    if phi.family == "custom" and "f" in params:
        return partial(from_callable, kinks=phi.kinks, **params), ()
    return partial(Activation, **{each.name: getattr(phi, each.name) for each in fields(Activation) if each.init}), ()


copyreg.pickle(Activation, _reduced)  # here, where the makers are


# --- Arguments ---


def _length(a: Any) -> float:
    """Within 100 decades of 1, so that its square neither over- nor underflows."""
    return scalar("a", a, low=1e-100, high=1e100)


def _length_and_slope(a: Any, k: Any) -> tuple[float, float]:
    a, k = _length(a), _slope("k", k)
    scalar("a k", a * k, low=1e-140, high=1e140)  # the height of phi, whose square is averaged
    return a, k


def _slope(name: str, value: Any) -> float:
    """Positive, and within 70 decades of 1, so that its fourth power neither over- nor underflows."""
    return scalar(name, value, low=1e-70, high=1e70)

"""Piecewise-linear activations from knots and slopes: examples, counter-examples, and random ones for searches.

Members of Definition 2.1 are built with slope 1 and linear radius 1; every other member of the class with straight
pieces is one of them times a constant, stretched.
"""

from __future__ import annotations

import reprlib
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from afli._inputs import Array, real
from afli.activations import Activation
from afli.custom import Steps

__all__ = [
    "jumping_clip",
    "odd_piecewise_linear",
    "piecewise_linear",
    "random_scaled_bounded",
    "through_heights",
    "two_halves",
    "wild",
    "zigzag",
]


def _line(knots: ArrayLike, slopes: ArrayLike, low: float) -> tuple[Array, Array]:
    """Both as arrays of one axis. ValueError if knots do not increase from above `low`, or slopes do not fit."""
    edge, slope = real("knots", knots, low=low, open_low=True), real("slopes", slopes)
    if edge.ndim != 1 or np.any(np.diff(edge) <= 0):
        raise ValueError(f"knots must be a list of increasing numbers, got {reprlib.repr(knots)}")
    if slope.shape != (len(edge) + 1,):
        raise ValueError(f"slopes must be one more than the {len(edge)} knots, got {reprlib.repr(slopes)}")
    return edge, slope


def odd_piecewise_linear(knots: ArrayLike, slopes: ArrayLike, name: str = "odd, in pieces") -> Activation:
    """The odd continuous phi with these slopes from 0 outwards.

    Parameters
    ----------
    knots
        Where the slope changes, increasing and > 0.
    slopes
        One more than knots; the first is phi'(0).
    """
    edge, slope = _line(knots, slopes, 0.0)
    if not len(edge):
        raise ValueError("knots must have at least one number, got none: a line has no end")
    start = np.concatenate([[0.0], edge])
    height = np.concatenate([[0.0], np.cumsum(np.diff(start) * slope[:-1])])
    return Activation(
        family="custom",
        params=(("name", name), ("knots", tuple(edge.tolist())), ("slopes", tuple(slope.tolist()))),
        function=partial(_odd_lines, edge, start, height, slope),
        gradient=partial(_even_steps, edge, slope),
        kinks=tuple(np.concatenate([-edge[::-1], edge]).tolist()),
        is_odd=True,
        slope=float(slope[0]),
        linear_radius=float(edge[0]),
        piece_slopes=tuple(np.concatenate([slope[:0:-1], slope]).tolist()),
    )


def piecewise_linear(
    knots: ArrayLike, slopes: ArrayLike, *, at_zero: float = 0.0, name: str = "in pieces"
) -> Activation:
    """The continuous phi with these slopes from left to right, and phi(0) = at_zero.

    Parameters
    ----------
    knots
        Where the slope changes, increasing.
    slopes
        One more than knots; the one at 0 is not 0.
    """
    edge, slope = _line(knots, slopes, -np.inf)
    centre = int(np.searchsorted(edge, 0.0))
    intercept = np.concatenate([[0.0], np.cumsum(-np.diff(slope) * edge)])
    intercept += at_zero - intercept[centre]
    return Activation(
        family="custom",
        params=(("name", name), ("knots", tuple(edge.tolist())), ("slopes", tuple(slope.tolist())), ("at 0", at_zero)),
        function=partial(_lines, edge, intercept, slope),
        gradient=Steps(edge, slope),
        kinks=tuple(edge.tolist()),
        slope=float(slope[centre]),
        piece_slopes=tuple(slope.tolist()),
    )


def jumping_clip(jump: float, at: float) -> Activation:
    """z clipped to [-1, 1], with a jump outwards at |z| = at: what continuity excludes. at >= 0."""
    return Activation(  # from_callable would refuse it
        family="custom",
        params=(("name", f"clip with a jump of {jump:g} at |z| = {at:g}"),),
        function=partial(_clip_and_jump, jump, at),
        gradient=_inside,
        kinks=tuple(sorted({-at, -1.0, 1.0, at})) if at else (-1.0, 0.0, 1.0),
        is_odd=True,
    )


# Functions of the module, which pickle finds for other processes.


def _even_steps(edge: Array, slope: Array, z: Array) -> Array:
    return slope[np.searchsorted(edge, np.abs(z))]


def _lines(edge: Array, intercept: Array, slope: Array, z: Array) -> Array:
    piece = np.searchsorted(edge, z)
    return intercept[piece] + slope[piece] * z


def _odd_lines(edge: Array, start: Array, height: Array, slope: Array, z: Array) -> Array:
    piece = np.searchsorted(edge, np.abs(z))
    return np.sign(z) * (height[piece] + slope[piece] * (np.abs(z) - start[piece]))


def _clip_and_jump(jump: float, at: float, z: Array) -> Array:
    return np.clip(z, -1, 1) + jump * np.sign(z) * (np.abs(z) > at)


def _inside(z: Array) -> Array:
    return (np.abs(z) < 1).astype(float)


# --- Members of Definition 2.1, and near misses ---


def through_heights(heights: ArrayLike, slack: ArrayLike, *, name: str) -> Activation:
    """A scaled-bounded function: up to 1 at z = 1, then through these heights, then constant.

    Parameters
    ----------
    heights
        In [-1, 1], at least one.
    slack
        One for each height, >= 0: the slope on the way there is 1 / (1 + slack) in absolute value, never above 1.
    """
    steps = np.diff(np.asarray(heights, dtype=float), prepend=1.0)
    widths = np.maximum(np.abs(steps), 1e-9) * (1 + np.asarray(slack, dtype=float))
    return odd_piecewise_linear(np.cumsum([1.0, *widths]), [1.0, *(steps / widths), 0.0], name=name)


def random_scaled_bounded(rng: np.random.Generator, count: int, pieces: int = 8) -> list[Activation]:
    """Random members of the class, half of them with steep pieces only."""
    members = []
    for i in range(count):
        slack = rng.exponential(2.0, pieces) if i % 2 else np.zeros(pieces)
        members.append(through_heights(rng.uniform(-1, 1, pieces), slack, name=f"random member {i}"))
    return members


def zigzag(height: float, *, reach: float, steepness: float = 1.0) -> Activation:
    """One saw tooth, up to 1 and down to 0, and then teeth of this height as far as `reach`; constant beyond.

    Scaled-bounded if height <= 1 and steepness <= 1. As the height falls it approaches the upper bound of a / sqrt(q*).

    Parameters
    ----------
    height
        Of the teeth, > 0.
    reach
        How far they go; at least one tooth is built.
    steepness
        The slope, up to its sign, of everything outside [-1, 1]; > 0.
    """
    end_of_saw = 1 + 1 / steepness
    teeth = max(2, 2 * round((reach - end_of_saw) * steepness / (2 * height)))
    knots = [1.0, *(end_of_saw + height / steepness * np.arange(teeth + 1))]
    slopes = [1.0, -steepness, *(steepness * (-1.0) ** np.arange(teeth)), 0.0]
    return odd_piecewise_linear(knots, slopes, name=f"saw and zigzag of height {height:g}")


def two_halves(left: Activation, right: Activation) -> Activation:
    """Left of zero the one, right of it the other; both from `odd_piecewise_linear`, with the same slope at zero."""
    (_, _), (_, knots_left), (_, slopes_left) = left.params
    (_, _), (_, knots_right), (_, slopes_right) = right.params
    both = piecewise_linear(
        [*(-d for d in reversed(knots_left)), *knots_right],
        [*reversed(slopes_left[1:]), *slopes_right],
        name=f"{left.name} and {right.name}",
    )
    return replace(both, linear_radius=min(left.linear_radius, right.linear_radius))


# --- Outside the class ---


def wild(rng: np.random.Generator, count: int, *, odd: bool = True, lifted: bool = False) -> list[Activation]:
    """Random ones: up to 12 knots over nearly four decades, slopes of both signs over five, some of them flat.

    If they are not odd each side has its own knots and slopes, and phi(0) is not 0 if they are lifted.
    """

    def one() -> Activation:
        m = int(rng.integers(1, 13))
        slopes = rng.choice([-1.0, 1.0], m + 1) * np.exp(rng.uniform(-6, 6, m + 1))
        slopes[1:][rng.random(m) < 0.1] = 0.0
        knots = np.sort(np.exp(rng.uniform(-4, 4, m)))
        if odd:
            return odd_piecewise_linear(knots, [abs(slopes[0]), *slopes[1:]])
        n = int(rng.integers(1, 13))
        left = -np.sort(np.exp(rng.uniform(-4, 4, n)))[::-1]
        beyond = rng.choice([-1.0, 1.0], n) * np.exp(rng.uniform(-6, 6, n))
        at_zero = float(slopes[0] * rng.normal()) if lifted else 0.0
        return piecewise_linear([*left, *knots], [*beyond, *slopes], at_zero=at_zero)

    return [one() for _ in range(count)]

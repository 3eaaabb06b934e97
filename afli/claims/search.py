"""Activations for adversarial searches: random odd ones, and random members of Definition 2.1."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from afli.activations import Activation


def odd_piecewise_linear(knots: ArrayLike, slopes: ArrayLike, name: str = "odd, in pieces") -> Activation:
    """The odd continuous phi with these slopes from 0 outwards. knots: increasing, > 0; slopes: one more than knots."""
    edge, slope = np.asarray(knots, dtype=float), np.asarray(slopes, dtype=float)
    start = np.concatenate([[0.0], edge])
    height = np.concatenate([[0.0], np.cumsum(np.diff(start) * slope[:-1])])

    def function(z: NDArray[np.float64]) -> NDArray[np.float64]:
        piece = np.searchsorted(edge, np.abs(z))
        return np.sign(z) * (height[piece] + slope[piece] * (np.abs(z) - start[piece]))

    return Activation(
        "custom",
        (("name", name), ("knots", tuple(edge.tolist())), ("slopes", tuple(slope.tolist()))),
        function,
        lambda z: slope[np.searchsorted(edge, np.abs(z))],
        kinks=tuple(np.concatenate([-edge[::-1], edge]).tolist()),
        is_odd=True,
        slope=float(slope[0]),
        linear_radius=float(edge[0]),
        piece_slopes=tuple(np.concatenate([slope[:0:-1], slope]).tolist()),
    )


@lru_cache
def wild_odd_activations(number: int = 300, seed: int = 31) -> tuple[Activation, ...]:
    """Random odd ones: up to 12 knots over nearly four decades, slopes of both signs over five, some of them flat."""
    rng = np.random.default_rng(seed)

    def one() -> Activation:
        m = int(rng.integers(1, 13))
        slopes = rng.choice([-1.0, 1.0], m + 1) * np.exp(rng.uniform(-6, 6, m + 1))
        slopes[1:][rng.random(m) < 0.1] = 0.0
        return odd_piecewise_linear(np.sort(np.exp(rng.uniform(-4, 4, m))), [abs(slopes[0]), *slopes[1:]])

    return tuple(one() for _ in range(number))


@lru_cache
def scaled_bounded_activations(number: int = 100, seed: int = 32) -> tuple[Activation, ...]:
    """Random members of Definition 2.1 with a = k = 1: outside [-1, 1] up to 5 pieces that obey both of its bounds."""
    rng = np.random.default_rng(seed)

    def one() -> Activation:
        lengths = rng.exponential(1.0, int(rng.integers(0, 5)))
        slopes, value = [1.0], 1.0
        for length in lengths:
            low, high = max(-1.0, (-1 - value) / length), min(1.0, (1 - value) / length)
            slopes.append(float(rng.choice([low, high, rng.uniform(low, high)])))
            value += slopes[-1] * length
        return odd_piecewise_linear([1.0, *(1 + np.cumsum(lengths))], [*slopes, 0.0], "random scaled-bounded")

    return tuple(one() for _ in range(number))

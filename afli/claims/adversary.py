"""Members of Definition 2.1 built to approach its bounds, and near misses that break them; slope 1, linear radius 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from afli.activations import Activation
from afli.claims.search import odd_piecewise_linear


def through_heights(heights: ArrayLike, slack: ArrayLike, *, name: str) -> Activation:
    """A scaled-bounded function: up to 1 at z = 1, then through these heights in [-1, 1], then constant.

    slack: >= 0 for each step; its slope is 1 / (1 + slack) in absolute value, so never above 1.
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

    steepness: the slope of everything outside [-1, 1]. Scaled-bounded if height <= 1 and steepness <= 1.
    """
    end_of_saw = 1 + 1 / steepness
    teeth = max(2, 2 * round((reach - end_of_saw) * steepness / (2 * height)))
    knots = [1.0, *(end_of_saw + height / steepness * np.arange(teeth + 1))]
    slopes = [1.0, -steepness, *(steepness * (-1.0) ** np.arange(teeth)), 0.0]
    return odd_piecewise_linear(knots, slopes, name=f"saw and zigzag of height {height:g}")

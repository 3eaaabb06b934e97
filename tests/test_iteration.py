"""Powers of a map against maps whose powers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afli.iteration import steps_until


@given(st.floats(0.01, 0.9), st.floats(1e-7, 1e-2))
def test_a_map_that_adds_one_to_the_reciprocal(start, share):
    """d -> d / (1 + d): after n steps 1 / d has grown by n."""
    goal = share * start
    exact = 1 / goal - 1 / start
    found = steps_until(lambda x: np.log1p(np.exp(x)), start, goal)
    assert found == math.ceil(exact) or (found is None and abs(exact - round(exact)) < 1e-4)


@given(st.floats(0.01, 0.9), st.floats(1e-9, 1e-2), st.floats(1e-3, 1.0))
def test_a_map_that_adds_to_the_reciprocal_root(start, share, c):
    """Kinked activations do so on the edge of chaos, up to higher orders."""
    goal = share * start
    exact = (goal**-0.5 - start**-0.5) / c
    found = steps_until(lambda x: 2 * np.log1p(c * np.exp(0.5 * x)), start, goal)
    assert found == math.ceil(exact) or (found is None and abs(exact - round(exact)) < 1e-4)


@pytest.mark.parametrize("factor", [0.5, 0.99, 1 - 1e-5])
def test_a_map_that_shrinks_by_a_factor(factor):
    fall = -math.log(factor)
    assert steps_until(lambda x: fall + 0 * x, 0.5, 0.5 * factor**100.5) == 101


def test_what_rounding_decides_is_not_said():
    """After exactly 1000 steps d is the goal."""
    assert steps_until(lambda x: np.log1p(np.exp(x)), 1.0, 1 / 1001) is None
    assert steps_until(lambda x: np.log1p(np.exp(x)), 1.0, 1 / 1001.5) == 1001


def test_a_map_that_stands_still_or_jumps_is_left_to_others():
    assert steps_until(lambda x: 0 * x, 0.5, 0.1) is None
    assert steps_until(lambda x: np.where(x > -2.0, 0.1, 0.2), 0.5, 1e-3) is None

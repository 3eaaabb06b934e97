"""Activations made of straight pieces: what their knots, slopes and heights say, and Definition 2.1."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zoo import label

from afli import activations as act
from afli import meanfield as mf
from afli import pieces

Z = np.linspace(-30, 30, 24001)


def holds(phi):
    return all(check.holds for check in act.check_scaled_bounded(phi))


def slopes_between(phi):
    """Difference quotients well inside each piece, from left to right."""
    ends = np.array([phi.kinks[0] - 1.0, *phi.kinks, phi.kinks[-1] + 1.0])
    left, right = ends[:-1] + 0.2 * np.diff(ends), ends[:-1] + 0.8 * np.diff(ends)
    return (phi(right) - phi(left)) / (right - left)


@given(st.integers(0, 10_000))
def test_wild_ones_have_the_slopes_and_kinks_that_they_say(seed):
    for odd, lifted in ((True, False), (False, False), (False, True)):
        (phi,) = pieces.wild(np.random.default_rng(seed), 1, odd=odd, lifted=lifted)
        size = np.abs(phi.piece_slopes).max()
        np.testing.assert_allclose(slopes_between(phi), phi.piece_slopes, rtol=0, atol=1e-9 * size)
        middles = 0.5 * (np.array(phi.kinks[:-1]) + np.array(phi.kinks[1:]))
        np.testing.assert_array_equal(phi.gradient(middles), phi.piece_slopes[1:-1])
        at_kinks = phi(np.nextafter(phi.kinks, np.inf)) - phi(np.nextafter(phi.kinks, -np.inf))
        assert np.abs(at_kinks).max() <= 1e-11 * size * max(np.abs(phi.kinks))
        assert (phi(0.0) == 0.0) == (not lifted)
        if odd:
            np.testing.assert_array_equal(phi(-Z), -phi(Z))


@pytest.mark.parametrize("phi", pieces.random_scaled_bounded(np.random.default_rng(0), 12), ids=label)
def test_random_members_are_members(phi):
    assert holds(phi)
    assert (phi.slope, phi.linear_radius) == (1.0, 1.0)
    assert np.abs(phi(Z)).max() == 1.0


def test_it_goes_through_its_heights_at_the_slopes_that_slack_allows():
    phi = pieces.through_heights([0.5, -1.0, 0.25], [0.0, 1.0, 3.0], name="three heights")
    assert phi.name == "three heights"
    knots = np.cumsum([1.0, 0.5, 1.5 * 2, 1.25 * 4])
    np.testing.assert_allclose(phi(knots), [1.0, 0.5, -1.0, 0.25], atol=1e-14)
    assert slopes_between(phi)[5:] == pytest.approx([-1.0, -0.5, 0.25, 0.0])


@pytest.mark.parametrize(("height", "steepness", "member"), [(0.5, 1.0, True), (1.0, 0.5, True), (0.5, 2.0, False)])
def test_a_zigzag_is_a_member_while_it_is_not_steeper_than_at_zero(height, steepness, member):
    phi = pieces.zigzag(height, reach=12.0, steepness=steepness)
    assert holds(phi) == member
    beyond = phi(np.linspace(1 + 1 / steepness, 12.0, 5001))
    assert beyond.min() == pytest.approx(0.0, abs=1e-12)
    assert beyond.max() == pytest.approx(height, rel=1e-3)


def test_as_its_teeth_fall_a_zigzag_approaches_the_sharp_upper_ratio_from_below():
    from afli import bounds

    sharp = bounds.linear_ratio_sharp(0.1)[1]
    ratios = [1 / np.sqrt(mf.edge_of_chaos(pieces.zigzag(h, reach=8.0), sigma_b2=0.1).q) for h in (0.4, 0.2, 0.1, 0.05)]
    assert np.all(np.diff(ratios) > 0)
    assert ratios[-1] < sharp
    assert sharp - ratios[-1] < 0.5 * (sharp - ratios[-2])  # quadratic in the height


def test_two_halves_are_the_one_and_the_other():
    left, right = (pieces.odd_piecewise_linear(*k) for k in (([1.0, 2.0], [1.0, -1.0, 0.0]), ([1.5], [1.0, 0.25])))
    both = pieces.two_halves(left, right)
    np.testing.assert_allclose(both(Z[Z <= 0]), left(Z[Z <= 0]), atol=1e-13)
    np.testing.assert_allclose(both(Z[Z >= 0]), right(Z[Z >= 0]), atol=1e-13)
    assert both.linear_radius == 1.0
    assert both.kinks == (-2.0, -1.0, 1.5)
    # E phi^2 is the mean of those of the two, since each half of an odd function has half of its square.
    q = np.array([0.3, 2.0])
    square = [mf.variance_map(phi, q, sigma_w2=1.0, sigma_b2=0.0) for phi in (both, left, right)]
    np.testing.assert_allclose(square[0], 0.5 * (square[1] + square[2]), rtol=1e-13)


def test_a_jump_is_what_continuity_excludes_and_nothing_else():
    clip = pieces.jumping_clip(0.5, 2.0)
    failed = [check.requirement for check in act.check_scaled_bounded(clip) if not check.holds]
    assert failed[0] == "continuous"
    assert clip(2.1) - clip(1.9) == 0.5
    at_zero = pieces.jumping_clip(0.25, 0.0)
    assert at_zero.kinks == (-1.0, 0.0, 1.0)
    assert at_zero(1e-9) == pytest.approx(0.25, abs=1e-8)


def test_all_of_them_go_to_other_processes():
    rng = np.random.default_rng(5)
    lifted, odd = pieces.wild(rng, 1, odd=False, lifted=True)[0], pieces.random_scaled_bounded(rng, 2)
    for phi in (*odd, lifted, pieces.two_halves(*odd), pieces.jumping_clip(0.1, 2.0), act.scaled(odd[0], 2.0)):
        again = pickle.loads(pickle.dumps(phi))
        assert again == phi
        np.testing.assert_array_equal(again(Z), phi(Z))
        np.testing.assert_array_equal(again.derivative(Z), phi.derivative(Z))


@pytest.mark.parametrize("make", [pieces.piecewise_linear, pieces.odd_piecewise_linear])
@pytest.mark.parametrize(
    ("knots", "slopes", "named"),
    [
        ([2.0, 1.0], [1.0, 0.5, 0.0], "knots"), ([1.0, 1.0], [1.0, 0.5, 0.0], "knots"), ([np.nan], [1.0, 0.0], "knots"),
        (1.0, [1.0, 0.0], "knots"), ([1.0], [1.0], "slopes"), ([1.0], [1.0, np.inf], "slopes"),
    ],
)  # fmt: skip
def test_knots_that_do_not_increase_and_slopes_that_do_not_fit_are_named(make, knots, slopes, named):
    with pytest.raises(ValueError, match=named):
        make(knots, slopes)


@pytest.mark.parametrize("knots", [[], [-1.0, 1.0], [0.0]])
def test_an_odd_line_bends_at_positive_knots(knots):
    with pytest.raises(ValueError, match="knots"):
        pieces.odd_piecewise_linear(knots, np.ones(len(knots) + 1))

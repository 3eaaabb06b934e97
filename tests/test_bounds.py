"""Section 3: Lemma 3.4, Theorem 2.1, their sharp versions, and the radius that a depth needs."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from zoo import SCALED_BOUNDED, bias_variances, family_members, label, piecewise_scaled_bounded

from afli import activations as act
from afli import bounds, isometry
from afli import meanfield as mf
from afli.gaussian import normal_density
from afli.pieces import odd_piecewise_linear

Y = np.geomspace(1e-12, 1e4, 81)
WIDE = np.concatenate([np.geomspace(1e-300, 1e-13, 60), Y, np.geomspace(1e5, 1e150, 40)])


def g(l):
    return np.sqrt(2 / np.pi) * np.exp(-(l**2) / 2) / l


# --- The functions of y ---


def test_the_tangent_to_g_at_delta_meets_the_axis_at_beta():
    delta, beta = bounds.tangent_point(Y)
    np.testing.assert_allclose(g(delta), Y, rtol=1e-11)
    slope = -g(delta) * (1 / delta + delta)
    np.testing.assert_allclose(g(delta) - slope * delta, beta, rtol=1e-11)


def test_nu_solves_its_equation():
    nu, _ = bounds.linear_ratio(Y)
    np.testing.assert_allclose(g(nu), bounds.tangent_point(Y)[1], rtol=1e-11)


def test_the_sharp_lower_ratio_is_that_of_shtanh():
    l, _ = bounds.linear_ratio_sharp(Y)
    np.testing.assert_allclose(g(l), special.erfc(l / np.sqrt(2)) + Y * special.erf(l / np.sqrt(2)), rtol=1e-11)
    for y in (1e-6, 1e-2, 0.1, 1.0, 30.0):
        net = mf.edge_of_chaos(act.shtanh(3.0), sigma_b2=9 * y)
        assert bounds.linear_ratio_sharp(y)[0] == pytest.approx(3 / np.sqrt(net.q), rel=1e-12)


def test_the_sharp_upper_ratio_is_that_of_a_saw_with_a_vanishing_zigzag():
    """1 - S(l) = y l^2: the saw's E phi^2, and E phi'^2 = 1, which teeth of vanishing height supply."""
    for y in (1e-4, 0.01, 0.1, 1.0):
        sharp = bounds.linear_ratio_sharp(y)[1]
        q = 1 / sharp**2
        assert mf.variance_map(act.ssaw(1.0), q, sigma_w2=1, sigma_b2=y) == pytest.approx(q, rel=1e-12)


@pytest.mark.parametrize("y", [0.1, 1.0])
def test_a_saw_with_small_teeth_comes_close_to_the_sharp_upper_ratio_from_below(y):
    height = 1e-2
    teeth = 2 * int(8 / np.sqrt(y) / height / 2)
    knots = [1.0, 2.0, *(2 + height * np.arange(1, teeth + 1))]
    slopes = [1.0, -1.0, *((-1.0) ** np.arange(teeth)), 0.0]
    net, sharp = mf.edge_of_chaos(odd_piecewise_linear(knots, slopes), sigma_b2=y), bounds.linear_ratio_sharp(y)[1]
    assert sharp * (1 - 1e-5) < 1 / np.sqrt(net.q) < sharp


def test_all_ratios_are_in_order_for_every_y():
    """nu < sharp lower <= sharp upper < closed upper <= printed upper, from 1e-300 to 1e150."""
    (nu, printed), (low, high) = bounds.linear_ratio(WIDE), bounds.linear_ratio_sharp(WIDE)
    closed = bounds.linear_ratio_closed(WIDE)
    assert (nu < low * (1 + 1e-12)).all()
    assert (low <= high * (1 + 1e-12)).all()
    assert (high <= closed * (1 + 1e-12)).all()
    assert (closed <= printed * (1 + 1e-12)).all()
    assert (nu[WIDE >= 1e-200] < low[WIDE >= 1e-200]).all()


def test_ratios_fall_and_gaps_grow_with_y():
    for ratio in (*bounds.linear_ratio(WIDE), *bounds.linear_ratio_sharp(WIDE), bounds.linear_ratio_closed(WIDE)):
        assert (np.diff(ratio) < 0).all()
    gaps = (
        bounds.correlation_gap,
        bounds.correlation_gap_sharp,
        bounds.moment_ratio_gap,
        bounds.moment_ratio_gap_sharp,
    )
    for gap in gaps:
        assert (np.diff(gap(WIDE)) >= -1e-12 * gap(WIDE[1:])).all()
        assert (gap(WIDE) > 0).all()


def test_the_theorem_follows_from_the_lemma():
    """(15) is y times the square of the upper ratio; (16) is the moment ratio at the lower one."""
    nu, upper = bounds.linear_ratio(Y)
    np.testing.assert_allclose(bounds.correlation_gap(Y), Y * upper**2, rtol=1e-13)
    np.testing.assert_allclose(
        bounds.moment_ratio_gap(Y), special.erf(nu / np.sqrt(2)) ** -2 - 1, rtol=1e-3, atol=1e-14
    )
    assert bounds.correlation_gap(np.pi / 8) == pytest.approx(1.0, rel=1e-14)


def test_small_gaps_keep_their_digits():
    """erf^-2 - 1 ~ 2 erfc and 1 / erf - 1 ~ erfc, where 1 - erf would have lost everything."""
    nu, low = bounds.linear_ratio(1e-200)[0], bounds.linear_ratio_sharp(1e-200)[0]
    assert bounds.moment_ratio_gap(1e-200) == pytest.approx(2 * special.erfc(nu / np.sqrt(2)), rel=1e-12)
    assert bounds.moment_ratio_gap_sharp(1e-200) == pytest.approx(special.erfc(low / np.sqrt(2)), rel=1e-12)


def test_the_sharp_gaps_are_sharper():
    assert (bounds.correlation_gap_sharp(WIDE) < bounds.correlation_gap(WIDE)).all()
    assert (bounds.moment_ratio_gap_sharp(WIDE) < bounds.moment_ratio_gap(WIDE)).all()
    assert (bounds.correlation_gap_sharp(WIDE) <= 1 + 1e-12).all()


# --- Activations obey them ---


def respects_all_bounds(phi, sigma_b2):
    net, y = mf.edge_of_chaos(phi, sigma_b2=sigma_b2), sigma_b2 / phi.linear_radius**2
    ratio = phi.linear_radius / np.sqrt(net.q)
    nu, upper = bounds.linear_ratio(y)
    low, high = bounds.linear_ratio_sharp(y)
    assert nu < low <= ratio * (1 + 1e-12)
    assert ratio < high < upper
    gap = net.correlation_gap(np.linspace(0, 1, 21)).max()
    assert gap < bounds.correlation_gap_sharp(y) < bounds.correlation_gap(y)
    moments = isometry.moment_ratio(phi, net.q) - 1
    assert moments >= -1e-14
    assert moments <= bounds.moment_ratio_gap_sharp(y) * (1 + 1e-12) + 1e-14
    assert bounds.moment_ratio_gap_sharp(y) < bounds.moment_ratio_gap(y)


@given(family_members(largest=10.0), bias_variances)
def test_the_four_families_respect_all_bounds(phi, sigma_b2):
    respects_all_bounds(phi, sigma_b2)


@given(piecewise_scaled_bounded(), bias_variances)
def test_random_members_of_the_class_respect_all_bounds(phi, sigma_b2):
    respects_all_bounds(phi, sigma_b2)


@given(st.floats(0.1, 100.0), bias_variances)
def test_shtanh_attains_the_sharp_lower_ratio_and_the_sharp_moment_gap(a, sigma_b2):
    phi, y = act.shtanh(a), sigma_b2 / a**2
    net = mf.edge_of_chaos(phi, sigma_b2=sigma_b2)
    assert a / np.sqrt(net.q) == pytest.approx(bounds.linear_ratio_sharp(y)[0], rel=1e-12)
    excess = isometry.moment_ratio(phi, net.q) - 1
    assert excess == pytest.approx(bounds.moment_ratio_gap_sharp(y), rel=1e-11, abs=1e-15)


@pytest.mark.parametrize("phi", SCALED_BOUNDED, ids=label)
@pytest.mark.parametrize("sigma_b2", [1e-3, 0.1, 1.0])
def test_any_scaled_bounded_activation_lies_under_its_shtanh(phi, sigma_b2):
    """Shtanh has the largest q*, the smallest largest gap, and the largest moment ratio of its radius."""
    net = mf.edge_of_chaos(phi, sigma_b2=sigma_b2)
    shtanh = mf.edge_of_chaos(act.shtanh(phi.linear_radius), sigma_b2=sigma_b2)
    assert net.q <= shtanh.q * (1 + 1e-13)
    assert net.correlation_gap(0.0) >= shtanh.correlation_gap(0.0) * (1 - 1e-13)
    assert isometry.moment_ratio(phi, net.q) <= isometry.moment_ratio(shtanh.phi, shtanh.q) + 1e-13


# --- The radius that a depth needs ---


PROMISES = [(10, 0.1, 0.1), (100, 0.1, 0.1), (1000, 0.01, 0.05), (1, 1.0, 0.5)]


@pytest.mark.parametrize(("depth", "sigma_b2", "gain"), PROMISES)
def test_at_that_radius_no_correlation_rises_by_more_than_promised(depth, sigma_b2, gain):
    a = bounds.linear_radius(depth, sigma_b2=sigma_b2, correlation_gain=gain)
    for family in ("shtanh", "ssine", "sexp", "ssaw"):
        for radius in (a, 1.5 * a):
            net = mf.edge_of_chaos(act.get(family, a=radius), sigma_b2=sigma_b2)
            # The gap is largest at 0, so this bounds the rise from anywhere in [0, 1].
            assert depth * net.sigma_b2 / net.q <= gain
            if family in ("shtanh", "ssaw"):
                start = np.array([0.0, 0.2, 0.9])
                assert (net.correlation_trajectory(start, depth)[-1] - start <= gain).all()


def test_the_gain_rule_spends_its_promise_on_the_saw_with_zigzag():
    """L y l_zz^2 = gain at y = sigma_b2 / a^2: no smaller radius would do for the whole class."""
    for depth, gain in ((10, 0.1), (100, 0.01), (3, 0.9)):
        y = 0.1 / bounds.linear_radius(depth, sigma_b2=0.1, correlation_gain=gain) ** 2
        assert depth * bounds.correlation_gap_sharp(y) == pytest.approx(gain, rel=1e-11)


@pytest.mark.parametrize("variance", [1e-6, 0.1, 1.0, 50.0, 1e6])
def test_the_isometry_rule_is_exact_for_shtanh(variance):
    depth, sigma_b2 = 30, 0.2
    a = bounds.linear_radius(depth, sigma_b2=sigma_b2, jacobian_variance=variance)
    net = mf.edge_of_chaos(act.shtanh(a), sigma_b2=sigma_b2)
    assert isometry.jacobian_variance(net, depth, weights="orthogonal") == pytest.approx(variance, rel=1e-9)


def test_radii_grow_with_depth_and_bias_and_shrink_with_the_promise():
    def radius(depth=50, sigma_b2=0.1, gain=0.1):
        return bounds.linear_radius(depth, sigma_b2=sigma_b2, correlation_gain=gain)

    assert radius(depth=100) > radius() > radius(gain=0.2)
    assert radius(sigma_b2=0.4) == pytest.approx(2 * radius(), rel=1e-12)


def test_two_promises_need_the_larger_radius():
    one = bounds.linear_radius(20, sigma_b2=0.1, correlation_gain=0.2)
    other = bounds.linear_radius(20, sigma_b2=0.1, jacobian_variance=0.5)
    both = bounds.linear_radius(20, sigma_b2=0.1, correlation_gain=0.2, jacobian_variance=0.5)
    assert both == max(one, other)


def test_promises_at_the_ends_of_their_range():
    assert bounds.linear_radius(1, sigma_b2=0.1, correlation_gain=1.0) < 1e-8  # no gap reaches 1: any radius will do
    assert bounds.linear_radius(10**9, sigma_b2=0.1, correlation_gain=1e-12) > 1e10
    tiny, huge = (bounds.linear_radius(1, sigma_b2=0.1, jacobian_variance=v) for v in (1e-200, 1e200))
    assert 0 < huge < 1e-90 < 1e90 < tiny
    with pytest.raises(ValueError, match="needs correlation_gain or jacobian_variance, got neither"):
        bounds.linear_radius(10, sigma_b2=0.1)
    for promise in ("correlation_gain", "jacobian_variance"):
        with pytest.raises(ValueError, match=f"{promise} / depth must be at least 1e-290, got 1e-300 / 2"):
            bounds.linear_radius(2, sigma_b2=0.1, **{promise: 1e-300})


def test_density_is_the_normal_one():
    assert normal_density(np.array(0.0)) == pytest.approx(1 / np.sqrt(2 * np.pi))


def test_the_bound_for_nearly_linear_activations_holds_for_tanh_and_tends_to_twice_epsilon():
    for a in (0.1, 0.5, 1.0):
        for sigma_b2 in (1e-6, 1e-3, 0.1):
            net = mf.edge_of_chaos(act.tanh(), sigma_b2=sigma_b2)
            epsilon = 1 - np.tanh(a) / a
            assert sigma_b2 / net.q <= bounds.nearly_linear_gap(sigma_b2 / a**2, epsilon)
    assert bounds.nearly_linear_gap(1e-12, 0.01) == pytest.approx(0.02, rel=1e-6)
    assert np.isfinite(bounds.nearly_linear_gap([1e-300, 1e150], 0.0)).all()
    y = np.geomspace(1e-12, 10, 30)
    assert (bounds.nearly_linear_gap(y, 0.0) >= bounds.correlation_gap_sharp(y) * (1 - 1e-12)).all()  # S >= its middle
    with pytest.raises(ValueError, match="epsilon"):
        bounds.nearly_linear_gap(0.1, 1.5)


# --- The ends of the range ---


@pytest.mark.parametrize("y", [9e-287, 1e-200, 1e-50, 1e-30, 1e-12, 1e-3, 1.0, 1e6, 1e100])
def test_the_sharp_moment_gap_keeps_its_digits_at_both_ends(y):
    """In 60 digits: erfc / erf at the root of g = erfc + y erf."""
    ratio = bounds.linear_ratio_sharp(y)[0]
    with mpmath.workdps(60):
        parameter = mpmath.mpf(y)

        def tail(l):
            return mpmath.erfc(l / mpmath.sqrt(2))

        def excess(log_l):
            l = mpmath.exp(log_l)
            return mpmath.log(2 * mpmath.npdf(l) / l / (tail(l) + parameter * mpmath.erf(l / mpmath.sqrt(2))))

        start = mpmath.log(ratio)
        l = mpmath.exp(mpmath.findroot(excess, (start, start + mpmath.mpf(10) ** -9)))
        assert bounds.moment_ratio_gap_sharp(y) == pytest.approx(
            float(tail(l) / mpmath.erf(l / mpmath.sqrt(2))), rel=1e-12
        )


@pytest.mark.parametrize("variance", [1e-200, 1e-30, 1e-3, 2.0])
def test_the_radius_for_a_jacobian_keeps_its_digits_too(variance):
    """erfc / erf = variance / depth at l, a = l sqrt(sigma_b2 / R(0)), R(0) = (g - erfc) l^2 / erf, in 300 digits."""
    with mpmath.workdps(300):
        excess = mpmath.mpf(variance) / 20
        l = mpmath.sqrt(2) * mpmath.erfinv(1 / (1 + excess))
        gap = (2 * mpmath.npdf(l) / l - mpmath.erfc(l / mpmath.sqrt(2))) * l**2 / mpmath.erf(l / mpmath.sqrt(2))
        exact = float(l * mpmath.sqrt(3 / gap))
    assert bounds.linear_radius(20, sigma_b2=3, jacobian_variance=variance) == pytest.approx(exact, rel=1e-12)


def test_a_gain_of_one_in_one_layer_asks_for_no_linear_region():
    assert bounds.linear_radius(1, sigma_b2=1.0, correlation_gain=1.0) == 0.0
    assert 0 < bounds.linear_radius(1, sigma_b2=1.0, correlation_gain=1 - 1e-9) < 2e-3
    assert bounds.linear_radius(2, sigma_b2=1.0, correlation_gain=1.0) > 0.5


def test_the_largest_bias_variance_leaves_a_float():
    for promise in ({"correlation_gain": 0.1}, {"jacobian_variance": 0.1}):
        large, unit = (bounds.linear_radius(3, sigma_b2=b, **promise) for b in (1e308, 1.0))
        assert large == pytest.approx(1e154 * unit, rel=1e-13)

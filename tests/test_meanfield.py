"""Section 2.1: the maps, the network at its fixed point, and the edge of chaos."""

from __future__ import annotations

import copy
import pickle

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zoo import (
    CRITICAL,
    HOMOGENEOUS,
    ODD,
    SCALED_BOUNDED,
    bias_variances,
    family_members,
    label,
    piecewise_scaled_bounded,
    radii,
)

from afli import activations as act
from afli import gaussian
from afli import meanfield as mf
from afli.errors import ConvergenceError, NoFixedPointError
from afli.pieces import odd_piecewise_linear

HARD_TANH, TANH, RELU = act.shtanh(1.0), act.tanh(), act.relu()
RHO = np.linspace(-1, 1, 81)
# Ordered, chaotic and critical networks, of every class of activation.
NETWORKS = [
    *(mf.edge_of_chaos(phi, sigma_b2=0.1) for phi in CRITICAL),
    *(mf.MeanField(phi, sigma_w2=w, sigma_b2=0.05) for phi in (HARD_TANH, TANH, act.sexp(1.0)) for w in (0.7, 2.5)),
    mf.MeanField(act.elu(), sigma_w2=1.2, sigma_b2=0.02),
    mf.MeanField(act.sigmoid(), sigma_w2=2.0, sigma_b2=0.1),
    mf.MeanField(act.softplus(), sigma_w2=0.5, sigma_b2=0.1),
    mf.MeanField(RELU, sigma_w2=1.5, sigma_b2=0.3),
    *(mf.edge_of_chaos(phi, sigma_b2=0.0) for phi in HOMOGENEOUS),
]


def derivative(f, x, h=1e-3):
    """To O(h^4)."""
    return (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h)


# --- The variance map V and the critical map W ---


@pytest.mark.parametrize("net", NETWORKS, ids=repr)
def test_the_network_is_at_a_fixed_point_of_its_variance_map(net):
    there = mf.variance_map(net.phi, net.q, sigma_w2=net.sigma_w2, sigma_b2=net.sigma_b2)
    assert there == pytest.approx(net.q, rel=1e-13)


@pytest.mark.parametrize("net", NETWORKS, ids=repr)
def test_the_variance_slope_is_the_derivative_of_the_variance_map(net):
    def map_(q):
        return mf.variance_map(net.phi, q, sigma_w2=net.sigma_w2, sigma_b2=net.sigma_b2)

    assert net.variance_slope == pytest.approx(derivative(map_, net.q, 1e-3 * net.q), abs=1e-9)


@pytest.mark.parametrize("phi", [phi for phi in CRITICAL if phi.linear_radius == 0], ids=label)
@pytest.mark.parametrize("q", [1e-6, 1e-3, 1.0, 30.0])
def test_the_critical_map_is_the_quotient_of_two_means(phi, q):
    quotient = mf.variance_map(phi, q, sigma_w2=1, sigma_b2=0) / mf.chi1(phi, q, sigma_w2=1)
    assert mf.critical_map(phi, q, sigma_b2=0.2) == pytest.approx(quotient + 0.2, rel=1e-13)


def test_at_variance_zero_the_maps_are_values_at_zero():
    assert mf.variance_map(act.sigmoid(), 0.0, sigma_w2=2, sigma_b2=0.1) == pytest.approx(2 * 0.25 + 0.1)
    assert mf.chi1(TANH, 0.0, sigma_w2=1.7) == pytest.approx(1.7)
    assert mf.chi1(RELU, 0.0, sigma_w2=1.0) == 0.25  # (17): the mean slope at the kink, squared


@given(piecewise_scaled_bounded(), st.floats(-3.0, 3.0))
def test_w_has_slope_between_minus_one_and_one(phi, log_q):
    """So that W(q) = q has one solution on the class, and even the plain iteration finds it."""
    q = 10**log_q
    slope = derivative(lambda v: mf.critical_map(phi, v, sigma_b2=0.1), q, 1e-3 * q)
    assert -1 < slope < 1 + 1e-11


@given(st.lists(st.floats(0.1, 3.0), min_size=1, max_size=4), st.lists(st.floats(-3, 3), min_size=5, max_size=5))
def test_for_odd_functions_r_over_root_q_never_falls(lengths, slopes):
    """r(q) = q - W(q) + sigma_b2 grows at least like sqrt(q): existence and uniqueness of q*, beyond the class."""
    phi = odd_piecewise_linear(np.cumsum(lengths), [1.0, *slopes[: len(lengths)]])
    q = np.geomspace(1e-3, 1e4, 60)
    r = q - mf.critical_map(phi, q, sigma_b2=0.0)
    assert (r > -1e-15 * q).all()
    assert (np.diff(r / np.sqrt(q)) >= -1e-12 * np.sqrt(q[1:])).all()


# --- The edge of chaos ---


@pytest.mark.parametrize("phi", CRITICAL, ids=label)
@pytest.mark.parametrize("sigma_b2", [1e-4, 0.1, 1.0])
def test_on_the_edge_of_chaos_w_is_at_a_fixed_point_and_chi_1_is_one(phi, sigma_b2):
    net = mf.edge_of_chaos(phi, sigma_b2=sigma_b2)
    assert mf.critical_map(phi, net.q, sigma_b2=sigma_b2) == pytest.approx(net.q, rel=1e-13)
    assert mf.chi1(phi, net.q, sigma_w2=net.sigma_w2) == pytest.approx(1.0, rel=1e-14)
    assert net.chi1 == 1.0


@pytest.mark.parametrize("phi", CRITICAL, ids=label)
def test_the_curve_by_variance_and_the_curve_by_bias_are_the_same(phi):
    net = mf.critical_at(phi, q=1.3)
    again = mf.edge_of_chaos(phi, sigma_b2=net.sigma_b2)
    assert (again.q, again.sigma_w2) == pytest.approx((net.q, net.sigma_w2), rel=1e-12)


@given(st.sampled_from(["shtanh", "ssaw"]), radii, bias_variances)
def test_q_star_scales_with_the_radius(family, a, sigma_b2):
    """q*(a, sigma_b2) = a^2 q*(1, sigma_b2 / a^2)."""
    net = mf.edge_of_chaos(act.get(family, a=a), sigma_b2=sigma_b2)
    unit = mf.edge_of_chaos(act.get(family, a=1.0), sigma_b2=sigma_b2 / a**2)
    assert (net.q, net.sigma_w2) == pytest.approx((a**2 * unit.q, unit.sigma_w2), rel=1e-12)


@pytest.mark.parametrize("phi", [TANH, act.erf(), act.elu(), act.ssine(1.0), act.sexp(1.0)], ids=label)
def test_q_star_of_a_scaled_activation_scales_with_its_square(phi):
    a = 2.7
    net, unit = mf.edge_of_chaos(act.scaled(phi, a), sigma_b2=0.3), mf.edge_of_chaos(phi, sigma_b2=0.3 / a**2)
    assert (net.q, net.sigma_w2) == pytest.approx((a**2 * unit.q, unit.sigma_w2), rel=1e-12)
    np.testing.assert_allclose(net.correlation_map(RHO), unit.correlation_map(RHO), atol=1e-13)


@pytest.mark.parametrize("family", ["ssine", "sexp"])
def test_ssine_and_sexp_have_a_length_of_their_own(family):
    """They are not a phi(z / a): q* depends on a and sigma_b2, not on sigma_b2 / a^2 alone."""
    two = mf.edge_of_chaos(act.get(family, a=2.0), sigma_b2=0.4)
    assert two.q != pytest.approx(4 * mf.edge_of_chaos(act.get(family, a=1.0), sigma_b2=0.1).q, rel=0.01)


@given(st.sampled_from(["shtanh", "ssine", "sexp", "ssaw"]), st.floats(0.01, 50.0))
def test_the_slope_k_drops_out_on_the_edge_of_chaos(family, k):
    one, many = (mf.edge_of_chaos(act.get(family, a=2.0, k=s), sigma_b2=0.1) for s in (1.0, k))
    assert many.q == pytest.approx(one.q, rel=1e-12)
    assert k**2 * many.sigma_w2 == pytest.approx(one.sigma_w2, rel=1e-12)
    assert many.variance_slope == pytest.approx(one.variance_slope, rel=1e-12)
    np.testing.assert_allclose(many.correlation_map(RHO), one.correlation_map(RHO), atol=1e-13)
    q = np.array([0.1, 1.0, 20.0])
    w = [mf.critical_map(net.phi, q, sigma_b2=0.1) for net in (one, many)]
    np.testing.assert_allclose(w[1], w[0], rtol=1e-13)


@given(piecewise_scaled_bounded(), bias_variances, st.floats(1.01, 10.0))
def test_q_star_grows_with_the_bias_but_at_most_quadratically(phi, sigma_b2, factor):
    """0 < dq* / dsigma_b2 <= 2 q* / sigma_b2."""
    low, high = (mf.edge_of_chaos(phi, sigma_b2=b).q for b in (sigma_b2, factor * sigma_b2))
    assert low < high <= factor**2 * low * (1 + 1e-12)


@given(family_members(), bias_variances)
def test_q_star_attracts_on_the_class(phi, sigma_b2):
    assert -0.36 < mf.edge_of_chaos(phi, sigma_b2=sigma_b2).variance_slope < 1


@pytest.mark.parametrize("phi", SCALED_BOUNDED[::3], ids=label)
def test_every_start_is_drawn_to_q_star(phi):
    net = mf.edge_of_chaos(phi, sigma_b2=1.0)
    q = np.geomspace(1e-6, 1e6, 9)
    for _ in range(80):
        q = mf.variance_map(phi, q, sigma_w2=net.sigma_w2, sigma_b2=net.sigma_b2)
    np.testing.assert_allclose(q, net.q, rtol=1e-10)
    for start in (1e-6, net.q, 1e6):
        again = mf.MeanField(phi, sigma_w2=net.sigma_w2, sigma_b2=1.0, start=start)
        assert again.q == pytest.approx(net.q, rel=1e-12)


@pytest.mark.parametrize(("phi", "sigma_b2"), [(act.gelu(), 0.01), (act.silu(), 0.1)], ids=["gelu", "silu"])
def test_the_critical_point_of_gelu_and_silu_repels(phi, sigma_b2):
    """From below the variance drifts to an ordered network, from above it grows without bound."""
    net = mf.edge_of_chaos(phi, sigma_b2=sigma_b2)
    assert net.variance_slope > 1
    settings = {"sigma_w2": net.sigma_w2, "sigma_b2": sigma_b2}
    below = mf.MeanField(phi, **settings, start=0.99 * net.q)
    assert below.q == mf.MeanField(phi, **settings).q < net.q
    assert below.chi1 < 1
    assert below.variance_slope < 1
    with pytest.raises(NoFixedPointError, match=r"from start=.* grows without bound"):
        mf.MeanField(phi, **settings, start=1.01 * net.q)


@pytest.mark.parametrize("phi", [act.gelu(), act.silu()], ids=label)
def test_a_variance_map_that_all_but_touches_the_diagonal(phi):
    """sigma_b2 = max (q - sigma_w2 E phi^2) is a tangency: a millionth below are two points, a millionth above none."""
    from scipy.optimize import minimize_scalar

    sigma_w2 = 3.0
    best = minimize_scalar(
        lambda t: mf.variance_map(phi, np.exp(t), sigma_w2=sigma_w2, sigma_b2=0) - np.exp(t), bounds=(-8, 0)
    )
    touch, q = -best.fun, np.exp(best.x)
    net = mf.MeanField(phi, sigma_w2=sigma_w2, sigma_b2=touch * (1 - 1e-6))
    assert net.q == pytest.approx(q, rel=0.01)
    assert net.q < q
    assert net.variance_slope < 1
    with pytest.raises(NoFixedPointError, match="grows without bound"):
        mf.MeanField(phi, sigma_w2=sigma_w2, sigma_b2=touch * (1 + 1e-6))
    exists = mf.phase_diagram(phi, sigma_w2=sigma_w2, sigma_b2=[touch * (1 - 1e-6), touch * (1 + 1e-6)]).exists
    assert exists.tolist() == [[True, False]]


# --- Homogeneous activations ---


@pytest.mark.parametrize("phi", HOMOGENEOUS, ids=label)
def test_homogeneous_activations_are_critical_at_every_variance_without_bias(phi):
    net = mf.edge_of_chaos(phi, sigma_b2=0.0)
    assert (net.q, net.chi1, net.variance_slope) == pytest.approx((1.0, 1.0, 1.0))
    np.testing.assert_allclose(mf.critical_at(phi, q=7.0).correlation_map(RHO), net.correlation_map(RHO), atol=1e-14)
    assert mf.MeanField(phi, sigma_w2=net.sigma_w2, sigma_b2=0.0).q == 1.0
    assert mf.MeanField(phi, sigma_w2=net.sigma_w2, sigma_b2=0.0, start=3.0).q == 3.0
    with pytest.raises(NoFixedPointError, match=r"W\(q\) = q \+ sigma_b2 for every q"):
        mf.edge_of_chaos(phi, sigma_b2=0.1)


def test_below_the_edge_relu_has_a_fixed_point_if_there_is_bias():
    net = mf.MeanField(RELU, sigma_w2=1.5, sigma_b2=0.3)
    assert (net.q, net.chi1) == pytest.approx((0.3 / (1 - 0.75), 0.75))


OWN = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0, RELU),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.3 * z), lambda z: np.where(z > 0, 1.0, 0.3), act.leaky_relu(0.3)),
    "abs": (np.abs, np.sign, act.abs_()),
    "linear": (lambda z: 1.0 * z, np.ones_like, act.linear()),
}


@pytest.mark.parametrize("with_derivative", [True, False])
@pytest.mark.parametrize("name", OWN)
def test_a_homogeneous_function_of_ones_own_is_as_critical_as_the_built_in_one(name, with_derivative):
    f, df, built_in = OWN[name]
    own, reference = act.from_callable(f, df if with_derivative else None, kinks=(0,), name=name), built_in
    net, expected = (mf.edge_of_chaos(phi, sigma_b2=0.0) for phi in (own, reference))
    assert (net.q, net.sigma_w2) == pytest.approx((1.0, expected.sigma_w2), rel=1e-14)
    np.testing.assert_allclose(net.correlation_map(RHO), expected.correlation_map(RHO), atol=1e-14)
    for sigma_b2 in (1e-12, 0.1):
        with pytest.raises(NoFixedPointError, match=rf"{name} has no critical point .*: W\(q\) = q \+ sigma_b2 for"):
            mf.edge_of_chaos(own, sigma_b2=sigma_b2)
    assert (mf.critical_at(own, q=3.0).sigma_b2, mf.critical_at(own, q=3.0).sigma_w2) == pytest.approx(
        (0.0, expected.sigma_w2)
    )
    assert mf.MeanField(own, sigma_w2=net.sigma_w2, sigma_b2=0.0).q == 1.0
    diagram = mf.phase_diagram(own, sigma_w2=[0.5 * net.sigma_w2, net.sigma_w2], sigma_b2=[0.0, 0.1])
    np.testing.assert_allclose(diagram.q, [[np.nan, 0.2], [1.0, np.nan]], rtol=1e-12)


@pytest.mark.parametrize(
    ("phi", "bracket"),
    [
        (act.sigmoid(), (20.0, 80.0)),
        (
            act.from_callable(lambda z: np.tanh(z + 0.5), lambda z: 1 / np.cosh(np.clip(z + 0.5, -9, 9)) ** 2),
            (0.5, 2.0),
        ),
    ],
    ids=["sigmoid", "tanh(z + 1/2)"],
)
def test_a_function_that_is_not_zero_at_zero_can_be_critical_without_bias(phi, bracket):
    """Against W from the trapezoidal rule, which is exact to rounding for analytic integrands."""
    from scipy.optimize import brentq

    z = np.linspace(-14, 14, 40001)
    weight = gaussian.normal_density(z)

    def excess(q):
        u = np.sqrt(q) * z
        return np.sum(weight * phi.function(u) ** 2) / np.sum(weight * phi.gradient(u) ** 2) - q

    net = mf.edge_of_chaos(phi, sigma_b2=0.0)
    assert net.q == pytest.approx(brentq(excess, *bracket, xtol=1e-14), rel=1e-12)
    assert mf.MeanField(phi, sigma_w2=net.sigma_w2, sigma_b2=0.0, start=net.q).q == pytest.approx(net.q, rel=1e-10)
    assert mf.edge_of_chaos(phi, sigma_b2=1e-9).q == pytest.approx(net.q, rel=1e-6)


@given(st.lists(st.floats(0.1, 3.0), min_size=2, max_size=5), st.lists(st.floats(-3, 3), min_size=6, max_size=6))
def test_a_function_that_is_zero_at_zero_is_not_critical_without_bias(lengths, slopes):
    """W(q) <= q + sigma_b2, odd or not, by the Poincare inequality on each half of the line."""
    knots = np.cumsum(lengths) - lengths[0] - lengths[1] / 2
    height = np.concatenate([[0.0], np.cumsum(slopes[1 : len(knots)] * np.diff(knots))])

    def line(z):
        ends = np.concatenate([[knots[0] - 1e3], knots, [knots[-1] + 1e3]])
        tails = height[0] - 1e3 * slopes[0], height[-1] + 1e3 * slopes[-1]
        return np.interp(z, ends, np.concatenate([[tails[0]], height, [tails[1]]]))

    def slope(z):
        return np.array([slopes[0], *slopes[1 : len(knots)], slopes[-1]])[np.searchsorted(knots, z)]

    phi = act.from_callable(lambda z: line(z) - line(0.0), slope, kinks=knots)
    q = np.geomspace(1e-2, 1e2, 7)
    square, slope2 = (
        gaussian.expectation(f, q, kinks=phi.kinks) for f in (lambda u: phi(u) ** 2, lambda u: slope(u) ** 2)
    )
    assert (square <= q * slope2 * (1 + 1e-12)).all()


@pytest.mark.parametrize(
    "phi",
    [
        act.symmetrised(act.abs_()),
        act.scaled(act.symmetrised(act.from_callable(np.cos)), 3.0),
        act.from_callable(np.ones_like, np.zeros_like),
    ],
    ids=label,
)
def test_a_constant_has_no_critical_map(phi):
    calls = [
        lambda: mf.critical_map(phi, [1.0, 2.0], sigma_b2=0.1),
        lambda: mf.critical_at(phi, q=1.0),
        *(lambda b=b: mf.edge_of_chaos(phi, sigma_b2=b) for b in (0.0, 0.1)),
    ]
    for call in calls:
        with pytest.raises(
            ValueError, match=r"E\[phi'\(sqrt\(q\) Z\)\^2\] must be > 0 and finite, got 0 for .* at q=1"
        ):
            call()


def test_a_function_that_overflows_far_out_still_has_its_small_fixed_point():
    """E sinh^2 = (e^(2q) - 1) / 2."""
    phi = act.from_callable(np.sinh, np.cosh, name="sinh")
    net = mf.MeanField(phi, sigma_w2=0.5, sigma_b2=0.01)
    assert net.q == pytest.approx(0.25 * np.expm1(2 * net.q) + 0.01, rel=1e-13)
    assert mf.phase_diagram(phi, sigma_w2=0.5, sigma_b2=0.01).q[0, 0] == pytest.approx(net.q, rel=1e-12)
    with pytest.raises((ConvergenceError, NoFixedPointError)):
        mf.MeanField(phi, sigma_w2=2.0, sigma_b2=0.1)
    assert not mf.phase_diagram(phi, sigma_w2=2.0, sigma_b2=0.1).exists[0, 0]


# --- The correlation map R ---


@pytest.mark.parametrize("net", NETWORKS, ids=repr)
def test_r_of_one_is_one_and_its_slope_there_is_chi_1(net):
    assert net.correlation_map(1.0) == pytest.approx(1.0, abs=1e-14)
    assert net.correlation_gap(1.0) == pytest.approx(0.0, abs=1e-15)
    assert net.correlation_slope(1.0) == pytest.approx(net.chi1, rel=1e-13)


@pytest.mark.parametrize("net", NETWORKS, ids=repr)
def test_the_gap_is_r_minus_rho(net):
    np.testing.assert_allclose(net.correlation_gap(RHO), net.correlation_map(RHO) - RHO, atol=2e-14)


@pytest.mark.parametrize("net", NETWORKS, ids=repr)
def test_r_is_convex_and_increasing_for_positive_correlations(net):
    slope = net.correlation_slope(np.linspace(0, 1, 101))
    assert (slope >= -1e-14).all()
    assert (np.diff(slope) >= -1e-13).all()


@pytest.mark.parametrize("net", NETWORKS, ids=repr)
def test_the_slope_of_r_is_its_derivative(net):
    rho = np.linspace(-0.9, 0.9, 13)
    np.testing.assert_allclose(net.correlation_slope(rho), derivative(net.correlation_map, rho), atol=1e-9)


@pytest.mark.parametrize("net", [n for n in NETWORKS if n.phi.is_odd and not n.phi.is_homogeneous], ids=repr)
def test_for_odd_activations_r_less_its_value_at_zero_is_odd(net):
    r0 = net.sigma_b2 / net.q
    assert net.correlation_map(0.0) == pytest.approx(r0, rel=1e-13)
    assert net.correlation_map(-1.0) == pytest.approx(-1 + 2 * r0, abs=1e-14)
    np.testing.assert_allclose(net.correlation_map(-RHO) - r0, r0 - net.correlation_map(RHO), atol=1e-14)


@pytest.mark.parametrize("phi", ODD, ids=label)
def test_on_the_edge_the_gap_of_an_odd_activation_falls_from_minus_one_to_one(phi):
    """Lemma 3.3: on [0, 1] it is largest at 0, where it is sigma_b2 / q*; on [-1, 1] at -1, twice as large."""
    net = mf.edge_of_chaos(phi, sigma_b2=0.2)
    gap = net.correlation_gap(RHO)
    assert (np.diff(gap) < 0).all()
    assert net.correlation_gap(0.0) == pytest.approx(net.sigma_b2 / net.q, rel=1e-13)
    assert gap.max() == gap[0] == pytest.approx(2 * net.sigma_b2 / net.q, rel=1e-13)
    assert (np.abs(net.correlation_slope(RHO[1:-1])) < 1).all()


@given(piecewise_scaled_bounded(), bias_variances, st.floats(-16.0, -1.0))
def test_close_to_one_the_gap_keeps_its_sign_and_its_order(phi, sigma_b2, log_distance):
    net, distance = mf.edge_of_chaos(phi, sigma_b2=sigma_b2), 10**log_distance
    gap = net.correlation_gap(np.array([1 - 2 * distance, 1 - distance]))
    assert gap[0] >= gap[1] >= 0


@given(family_members(largest=3.0), st.floats(0.05, 4.0), st.just(0.0) | bias_variances)
def test_rho_star_is_a_fixed_point_at_which_r_is_flatter_than_the_diagonal(phi, sigma_w2, sigma_b2):
    try:
        net = mf.MeanField(phi, sigma_w2=sigma_w2, sigma_b2=sigma_b2)
    except NoFixedPointError:
        assert sigma_b2 == 0
        assert sigma_w2 <= 1 + 1e-12
        return
    rho = net.correlation_fixed_point()
    assert (rho == 1.0) == (net.chi1 <= 1 + 2e-15)
    if rho < 1 - 1e-6:
        assert net.correlation_gap(rho) == pytest.approx(0.0, abs=1e-12)
        assert net.correlation_slope(rho) < 1
        assert net.correlation_gap(np.linspace(0, rho, 9)[:-1]).min() >= -1e-15


@pytest.mark.parametrize("phi", ODD, ids=label)
@pytest.mark.parametrize("sigma_w2", [1.6, 2.75, 20.0])
def test_an_odd_activation_without_bias_leaves_correlation_zero_exactly_where_it_is(phi, sigma_w2):
    net = mf.MeanField(phi, sigma_w2=sigma_w2, sigma_b2=0.0)
    assert net.correlation_map(0.0) == net.correlation_gap(0.0) == net.correlation_fixed_point() == 0.0


@pytest.mark.parametrize("phi", [act.shtanh(0.75), act.ssaw(1.0), TANH, act.sexp(1.0)], ids=label)
@pytest.mark.parametrize(("sigma_w2", "sigma_b2"), [(2.2, 3e-8), (3.0, 1e-12), (1.5, 1e-15)])
def test_in_chaos_too_the_gap_at_zero_is_that_of_the_bias(phi, sigma_w2, sigma_b2):
    net = mf.MeanField(phi, sigma_w2=sigma_w2, sigma_b2=sigma_b2)
    assert net.chi1 > 1
    assert net.correlation_gap(0.0) == pytest.approx(sigma_b2 / net.q, rel=1e-14)


@pytest.mark.parametrize("phi", [TANH, act.sin(), act.sexp(1.0), HARD_TANH], ids=label)
@pytest.mark.parametrize("excess", [1e-3, 1e-6, 1e-9])
def test_rho_star_just_beyond_the_edge(phi, excess):
    """1 - rho* = 2 (chi_1 - 1) / R''(1) for smooth phi, (3 (chi_1 - 1) / 2c)^2 for kinked: no rounding swallows it."""
    edge = mf.edge_of_chaos(phi, sigma_b2=0.1)
    net = mf.MeanField(phi, sigma_w2=edge.sigma_w2 * (1 + excess), sigma_b2=0.1)
    if phi.kinks:
        jumps = np.array([phi.derivative(d + 1e-9) - phi.derivative(d - 1e-9) for d in phi.kinks])
        mass = np.exp(-1 / (2 * net.q)) / np.sqrt(2 * np.pi * net.q)
        c = net.sigma_w2 * np.sqrt(net.q / np.pi) * np.sum(jumps**2) * mass
        distance = (1.5 * (net.chi1 - 1) / c) ** 2
    else:
        curvature = gaussian.expectation(lambda u: derivative(phi.derivative, u) ** 2, net.q)
        distance = 2 * (net.chi1 - 1) / (net.sigma_w2 * net.q * curvature)
    assert 1 - net.correlation_fixed_point() == pytest.approx(distance, rel=20 * np.sqrt(distance) + 1e-5, abs=1e-13)


# --- Depth ---


@pytest.mark.parametrize("net", NETWORKS[::4], ids=repr)
def test_a_trajectory_is_the_map_applied_again_and_again(net):
    path = net.correlation_trajectory([0.1, 0.6], 5)
    assert path.shape == (6, 2)
    np.testing.assert_array_equal(path[0], [0.1, 0.6])
    np.testing.assert_allclose(path[1:], net.correlation_map(path[:-1]), atol=1e-15)
    assert net.correlation_trajectory(0.3, 0).tolist() == [0.3]


@pytest.mark.parametrize("net", NETWORKS[:12:3], ids=repr)
def test_layers_until_counts_the_steps_of_the_trajectory(net):
    layers = net.layers_until(0.7, rho0=-0.2)
    path = net.correlation_trajectory(-0.2, layers)
    assert path[-1] >= 0.7 > path[-2]
    assert net.layers_until(0.7, rho0=0.7) == net.layers_until(-1.0) == 0


def test_in_chaos_correlations_never_reach_what_lies_above_rho_star():
    net = mf.MeanField(HARD_TANH, sigma_w2=2.0, sigma_b2=0.05)
    rest = net.correlation_fixed_point()
    assert net.layers_until(rest - 1e-6) > 10
    with pytest.raises(NoFixedPointError, match=r"settle at 0.3189\d* and never reach target=0.5"):
        net.layers_until(0.5)
    assert net.layers_until(0.5, rho0=0.9) == 0


def test_a_correlation_that_stands_still_is_reported():
    with pytest.raises(ConvergenceError, match=r"needs more than 1000000 layers from 0\.2 to target=0\.9"):
        mf.edge_of_chaos(act.linear(), sigma_b2=0.0).layers_until(0.9)


@pytest.mark.parametrize(
    "net",
    [
        mf.edge_of_chaos(act.shtanh(10.0), sigma_b2=0.1),
        mf.edge_of_chaos(TANH, sigma_b2=1e-3),
        mf.edge_of_chaos(act.elu(), sigma_b2=0.01),
        mf.edge_of_chaos(RELU, sigma_b2=0.0),
        mf.MeanField(TANH, sigma_w2=1.97, sigma_b2=0.1),
    ],
    ids=repr,
)
def test_many_layers_are_counted_as_if_one_by_one(net):
    """Powers of the map against the map, where the layers are in the hundreds and thousands."""
    path = net.correlation_trajectory(0.1, 4000)
    for target in (0.6, 0.97, 0.999):
        reached = path >= target
        if reached[-1]:
            assert net.layers_until(target, rho0=0.1) == int(np.argmax(reached))


# --- Two different variances ---


@pytest.mark.parametrize("net", NETWORKS[::3], ids=repr)
def test_the_covariance_map_at_equal_variances_is_q_times_r(net):
    settings = {"sigma_w2": net.sigma_w2, "sigma_b2": net.sigma_b2}
    rho = np.array([-0.8, 0.0, 0.3, 1.0])
    value = mf.covariance_map(net.phi, rho, q1=net.q, q2=net.q, **settings)
    np.testing.assert_allclose(value, net.q * net.correlation_map(rho), rtol=1e-12, atol=1e-13 * net.q)


@given(st.floats(-1, 1), st.floats(0.05, 5), st.floats(0.05, 5))
def test_covariances_obey_cauchy_and_schwarz(rho, q1, q2):
    settings = {"sigma_w2": 1.3, "sigma_b2": 0.1}
    value = mf.covariance_map(HARD_TANH, rho, q1=q1, q2=q2, **settings)
    v1, v2 = mf.variance_map(HARD_TANH, [q1, q2], **settings)
    assert abs(value) <= np.sqrt(v1 * v2) * (1 + 1e-13)


# --- Extremes ---


@pytest.mark.parametrize("y", [1e-290, 1e-100, 1e-30, 1e-12, 1e6, 1e12, 1e100])
@pytest.mark.parametrize("a", [1e-6, 1.0, 1e50])
def test_the_edge_of_chaos_of_shtanh_over_hundreds_of_decades(y, a):
    """Against the explicit curve y(l) = (g - erfc) / erf, l = a / sqrt(q*), solved in 400 digits."""
    net = mf.edge_of_chaos(act.shtanh(a), sigma_b2=y * a**2)
    with mpmath.workdps(400):

        def excess(log_l):
            l = mpmath.exp(log_l)
            erf, g = mpmath.erf(l / mpmath.sqrt(2)), 2 * mpmath.npdf(l) / l
            return mpmath.log((g - 1) / erf + 1) - mpmath.log(y)

        start = mpmath.log(a / mpmath.sqrt(net.q))
        l = mpmath.exp(mpmath.findroot(excess, (start, start + mpmath.mpf(10) ** -9)))
        assert net.q == pytest.approx(float((a / l) ** 2), rel=1e-12)
        assert net.sigma_w2 == pytest.approx(float(1 / mpmath.erf(l / mpmath.sqrt(2))), rel=1e-12)


@pytest.mark.parametrize("phi", [HARD_TANH, TANH, act.elu(), act.sexp(1.0), act.gelu()], ids=label)
@pytest.mark.parametrize("sigma_b2", [1e-30, 1e-16, 1e10, 1e20])
def test_an_ordered_network_has_its_fixed_point_wherever_it_lies(phi, sigma_b2):
    """Small variances see the slope at 0, large ones the asymptotes: q = sigma_b2 / (1 - sigma_w2 k^2)."""
    sigma_w2 = 0.5
    net = mf.MeanField(phi, sigma_w2=sigma_w2, sigma_b2=sigma_b2)
    # Half of the line is left of elu and gelu far out: E phi^2 = q / 2; a bounded phi contributes nothing.
    growth = phi.slope**2 if sigma_b2 < 1 else (0.0 if np.isfinite(phi.bound) else 0.5)
    assert net.q == pytest.approx(sigma_b2 / (1 - sigma_w2 * growth), rel=1e-4)


@pytest.mark.slow
def test_weights_that_leave_the_range_of_a_float_are_no_growth_without_bound():
    for phi in (HARD_TANH, TANH, act.sigmoid()):
        with pytest.raises(ConvergenceError, match=r"sigma_w2 = 1e\+308 leaves the range of a float"):
            mf.MeanField(phi, sigma_w2=1e308, sigma_b2=0.0)
        diagram = mf.phase_diagram(phi, sigma_w2=[2.0, 1e308], sigma_b2=0.1)
        assert diagram.out_of_reach.ravel().tolist() == [False, True]
        assert diagram.q[0, 0] == pytest.approx(mf.MeanField(phi, sigma_w2=2.0, sigma_b2=0.1).q, rel=1e-12)


def test_a_network_does_not_change():
    net = mf.edge_of_chaos(TANH, sigma_b2=0.1)
    before = net.correlation_map(0.5)
    for name in ("q", "sigma_w2", "sigma_b2", "phi", "chi1", "anything"):
        with pytest.raises(AttributeError, match="a MeanField does not change"):
            setattr(net, name, 3.0)
    assert net.correlation_map(0.5) == before
    assert pickle.loads(pickle.dumps(net)).correlation_map(0.5) == before
    assert copy.deepcopy(net).q == net.q


def test_large_weights_and_small_radii():
    assert mf.MeanField(HARD_TANH, sigma_w2=1e10, sigma_b2=0.1).q == pytest.approx(1e10, rel=1e-4)
    tiny, unit = (mf.MeanField(act.shtanh(a), sigma_w2=2.0, sigma_b2=0.0) for a in (1e-12, 1.0))
    assert tiny.q == pytest.approx(1e-24 * unit.q, rel=1e-12)


def test_the_smallest_variances_are_critical_without_bias():
    for phi in (HARD_TANH, TANH, act.elu(), act.ssine(1.0)):
        net = mf.critical_at(phi, q=1e-20)
        assert 0 <= net.sigma_b2 < 1e-30
        assert net.sigma_w2 == pytest.approx(1.0)


def test_correlations_within_rounding_of_the_ends():
    net = mf.MeanField(HARD_TANH, sigma_w2=0.5, sigma_b2=1e-14)
    rho = np.array([-1.0, np.nextafter(-1, 0), 0.0, np.nextafter(1, 0), 1.0])
    np.testing.assert_allclose(net.correlation_map(rho), 0.5 + 0.5 * rho, atol=1e-15)
    np.testing.assert_allclose(net.correlation_gap(rho), 0.5 - 0.5 * rho, atol=1e-15)


def test_a_pickier_fixed_point_than_the_plain_iteration_of_w_gives():
    """Where W' is close to 1 the step is small long before the error is: a = 10, sigma_b2 = 1e-4."""
    net, q = mf.edge_of_chaos(act.shtanh(10.0), sigma_b2=1e-4), 1.0
    for _ in range(2000):
        q = mf.critical_map(net.phi, q, sigma_b2=1e-4)
    assert abs(mf.critical_map(net.phi, q, sigma_b2=1e-4) - q) < 1e-3
    assert abs(q - net.q) > 0.5


@pytest.mark.parametrize("phi", [HARD_TANH, TANH, act.elu()], ids=label)
def test_a_bias_variance_too_small_for_a_float_is_refused(phi):
    for build in (mf.edge_of_chaos, lambda phi, **b: mf.MeanField(phi, sigma_w2=0.5, **b)):
        with pytest.raises(ValueError, match=r"sigma_b2 must be 0 or at least 1e-290.*, got 1e-300"):
            build(phi, sigma_b2=1e-300)


# --- No fixed point, and why ---


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: mf.MeanField(TANH, sigma_w2=0.9, sigma_b2=0.0), r"tanh at sigma_w2=0.9, sigma_b2=0 shrinks towards 0"),
        (lambda: mf.MeanField(HARD_TANH, sigma_w2=1.0, sigma_b2=0.0), "shrinks towards 0"),
        (lambda: mf.MeanField(act.ssine(1.0), sigma_w2=1.0, sigma_b2=0.0), "shrinks towards 0"),
        (lambda: mf.MeanField(act.elu(), sigma_w2=2.5, sigma_b2=0.1), r"grows without bound: V\(q\) > q up to"),
        (lambda: mf.MeanField(RELU, sigma_w2=2.5, sigma_b2=0.0), r"V\(q\) = 1.25 q \+ 0.* grows without bound"),
        (lambda: mf.MeanField(RELU, sigma_w2=1.5, sigma_b2=0.0), r"V\(q\) = 0.75 q \+ 0.* shrinks to 0"),
        (lambda: mf.MeanField(RELU, sigma_w2=2.0, sigma_b2=0.1), r"V\(q\) = 1 q \+ 0.1.* grows without bound"),
        (lambda: mf.edge_of_chaos(TANH, sigma_b2=0.0), r"phi\(0\) = 0, so W\(q\) = q only at q = 0"),
        (lambda: mf.edge_of_chaos(act.gelu(), sigma_b2=0.0), r"phi\(0\) = 0, so W\(q\) = q only at q = 0"),
        (lambda: mf.edge_of_chaos(act.softplus(), sigma_b2=0.0), r"with q from 1e-16 to 1e21: W\(q\) > q there"),
        (lambda: mf.edge_of_chaos(RELU, sigma_b2=0.1), r"relu has no critical point at sigma_b2=0.1: W\(q\) = q \+"),
        (lambda: mf.edge_of_chaos(act.softplus(), sigma_b2=0.1), "softplus has no critical point at sigma_b2=0.1"),
        (lambda: mf.edge_of_chaos(act.from_callable(lambda z: z), sigma_b2=0.1), r"W\(q\) = q \+ sigma_b2 for every q"),
        (lambda: mf.edge_of_chaos(odd_piecewise_linear([1.0], [1.0, 1 + 1e-6]), sigma_b2=0.1), "nearly linear"),
        (lambda: mf.critical_at(act.sigmoid(), q=1.0), "critical at q=1 only for the negative bias variance"),
    ],
)
def test_where_there_is_no_fixed_point_the_reason_is_given(build, reason):
    with pytest.raises(NoFixedPointError, match=reason):
        build()


def test_rho_star_of_a_nearly_linear_network_has_the_digits_that_it_says_or_none() -> None:
    """sin at sigma_w2 = 1 + e and sigma_b2 = e^3 / 100: rho* by closed forms at 50 digits."""
    net = mf.MeanField(act.sin(), sigma_w2=1 + 1e-3, sigma_b2=1e-11)
    left = 1 - net.correlation_slope(net.correlation_fixed_point())
    with mpmath.workdps(50):
        w, b, exp = mpmath.mpf(1 + 1e-3), mpmath.mpf(1e-11), mpmath.exp
        q = mpmath.findroot(lambda v: w * (1 - exp(-2 * v)) / 2 + b - v, 1e-3)
        exact = mpmath.findroot(lambda r: (w * exp(-q) * mpmath.sinh(q * r) + b) / q - r, 0.0568)
    assert abs(net.correlation_fixed_point() - float(exact)) <= 1e-14 / left
    with pytest.raises(ConvergenceError, match="not known to six digits"):
        mf.MeanField(act.sin(), sigma_w2=1 + 1e-5, sigma_b2=1e-17).correlation_fixed_point()


@pytest.mark.parametrize(
    "call",
    [
        lambda: mf.chi1(act.leaky_relu(1e70), [1.0, 2.0], sigma_w2=1e200),
        lambda: mf.chi1(act.leaky_relu(1e70), 0.0, sigma_w2=1e200),
        lambda: mf.variance_map(act.relu(), [1.0, 1e300], sigma_w2=1e200, sigma_b2=0.0),
        lambda: mf.variance_map(act.tanh(), 1.0, sigma_w2=1e308, sigma_b2=1.79e308),
        lambda: mf.critical_map(act.relu(), 1e308, sigma_b2=1.79e308),
        lambda: mf.covariance_map(act.tanh(), [0.1, 0.2], q1=1.0, q2=1.0, sigma_w2=1e308, sigma_b2=1.79e308),
        lambda: mf.covariance_map(act.relu(), 0.1, q1=1e300, q2=1.0, sigma_w2=1e300, sigma_b2=1.0),
    ],
)  # fmt: skip
def test_a_map_that_leaves_the_range_of_a_float_is_refused(call):
    with np.errstate(all="raise"), pytest.raises(ConvergenceError, match=r"range of a float|not finite"):
        call()


@pytest.mark.parametrize("phi", [act.tanh(), act.shtanh(a=2.0)])
def test_far_out_the_critical_map_grows_like_the_root_of_a_variance(phi):
    """E phi^2 tends to a constant and E phi'^2 falls like 1 / sqrt(q)."""
    at = [float(mf.critical_map(phi, q, sigma_b2=0.0)) / q**0.5 for q in (1e20, 1e30, 1e40)]
    assert at == pytest.approx([at[0]] * 3, rel=1e-9)


@pytest.mark.parametrize("sigma_w2", [1e-300, 1e-17, 1e-6, 1.0])
def test_inputs_keep_their_digits_where_nearly_all_variance_is_bias(sigma_w2):
    """(q - sigma_b2) / sigma_w2 is E tanh(U)^2, at q = 1 by mpmath 0.39429449039784117."""
    net = mf.MeanField(act.tanh(), sigma_w2=sigma_w2, sigma_b2=1 - sigma_w2 * 0.39429449039784117)
    assert net.input_mean_square == pytest.approx(0.39429449039784117, rel=1e-13)

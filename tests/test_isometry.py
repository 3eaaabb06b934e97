"""Section 2.2: moments of phi'^2 and of the spectrum of the Jacobian."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from zoo import CRITICAL, HOMOGENEOUS, ZOO, bias_variances, label, piecewise_scaled_bounded, radii

from afli import activations as act
from afli import isometry
from afli import meanfield as mf
from afli.errors import ConvergenceError
from afli.pieces import piecewise_linear

HARD_TANH = act.shtanh(1.0)


@pytest.mark.parametrize("phi", ZOO, ids=label)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_mu_k_is_the_mean_of_the_derivative_to_the_power_2k(phi, k):
    q = np.array([0.2, 1.0, 6.0])
    mean = phi.mean(lambda u: phi.derivative(u) ** (2 * k), q)
    np.testing.assert_allclose(isometry.derivative_moment(phi, q, k), mean, rtol=1e-12)
    assert isometry.derivative_moment(phi, 1.0, 1) == pytest.approx(mf.chi1(phi, 1.0, sigma_w2=1), rel=1e-14)


@pytest.mark.parametrize("phi", ZOO, ids=label)
def test_the_moment_ratio_is_at_least_one(phi):
    """By Jensen; it is one exactly if |phi'| is constant."""
    ratio = isometry.moment_ratio(phi, np.array([0.1, 1.0, 10.0]))
    assert (ratio >= 1 - 1e-14).all()
    if phi.family in ("linear", "abs_"):
        np.testing.assert_array_equal(ratio, 1.0)


@pytest.mark.parametrize(
    "phi",
    [
        act.symmetrised(act.abs_()),
        act.symmetrised(act.from_callable(np.cos)),
        act.from_callable(np.ones_like, np.zeros_like),
    ],
    ids=label,
)
def test_a_constant_has_no_moment_ratio(phi):
    net = mf.MeanField(phi, sigma_w2=1.0, sigma_b2=0.1)
    for ratio in (
        lambda: isometry.moment_ratio(phi, [1.0, 2.0]),
        lambda: isometry.jacobian_variance(net, 3, weights="gaussian"),
    ):
        with pytest.raises(ValueError, match=r"mu_1\^2 and mu_2 must be > 0 and finite, got mu_1=0 and mu_2=0 for"):
            ratio()


@pytest.mark.parametrize("k", [1e-70, 1e70])
def test_the_ratio_does_not_see_the_slope_however_large_or_small(k):
    for family in ("shtanh", "ssine", "sexp", "ssaw"):
        one, many = act.get(family, a=1.0), act.get(family, a=1.0, k=k)
        assert isometry.moment_ratio(many, 1.0) == pytest.approx(isometry.moment_ratio(one, 1.0), rel=1e-12)
        variances = [
            isometry.jacobian_variance(mf.edge_of_chaos(phi, sigma_b2=0.1), 5, weights="gaussian")
            for phi in (one, many)
        ]
        assert variances[1] == pytest.approx(variances[0], rel=1e-11)
    for phi in (act.leaky_relu(k), act.leaky_relu(-k), act.elu(k)):
        assert np.isfinite(isometry.moment_ratio(phi, 1.0))


@given(radii, st.floats(-2, 3))
def test_for_shtanh_every_mu_k_is_the_mass_of_the_linear_region(a, log_q):
    q = 10**log_q
    inside = special.erf(a / np.sqrt(2 * q))
    assert isometry.derivative_moment(act.shtanh(a), q, 3) == pytest.approx(inside, rel=1e-12)
    assert isometry.moment_ratio(act.shtanh(a), q) == pytest.approx(1 / inside, rel=1e-12)


@given(st.floats(-6, 6))
def test_the_ratio_of_a_homogeneous_activation_does_not_see_the_variance(log_q):
    for phi in HOMOGENEOUS:
        left, right = phi.piece_slopes[0], phi.piece_slopes[-1]
        exact = 2 * (left**4 + right**4) / (left**2 + right**2) ** 2
        assert isometry.moment_ratio(phi, 10**log_q) == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize("phi", [act.erf(), act.tanh(), *CRITICAL[:4]], ids=label)
def test_a_smaller_variance_means_a_smaller_ratio(phi):
    least = 0.2 + 0.02 * phi.linear_radius**2  # below, the ratio is 1 up to rounding
    ratio = isometry.moment_ratio(phi, np.geomspace(least, 100 * least, 30))
    assert (np.diff(ratio) > 0).all()


@given(piecewise_scaled_bounded(), bias_variances)
def test_on_the_class_the_ratio_is_at_most_the_critical_weight_variance(phi, sigma_b2):
    """0 <= mu_2 / mu_1^2 - 1 <= sigma_w2 k^2 - 1, because phi'^4 <= k^2 phi'^2; equal for Shtanh."""
    net = mf.edge_of_chaos(phi, sigma_b2=sigma_b2)
    ratio = isometry.moment_ratio(phi, net.q)
    assert 1 - 1e-14 <= ratio <= net.sigma_w2 * (1 + 1e-13)
    shtanh = mf.edge_of_chaos(HARD_TANH, sigma_b2=sigma_b2)
    assert isometry.moment_ratio(HARD_TANH, shtanh.q) == pytest.approx(shtanh.sigma_w2, rel=1e-13)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("sigma_w2", [0.8, 1.7])
def test_moments_and_variance_of_the_spectrum(weights, sigma_w2):
    """(12): m_1 = (sigma_w2 mu_1)^L, m_2 = m_1^2 L (mu_2 / mu_1^2 + 1/L - 1 - s_1); the variance is m_2 - m_1^2."""
    net, depth = mf.MeanField(HARD_TANH, sigma_w2=sigma_w2, sigma_b2=0.1), 7
    s1 = {"gaussian": -1, "orthogonal": 0}[weights]
    mu1, mu2 = (isometry.derivative_moment(HARD_TANH, net.q, k) for k in (1, 2))
    m1, m2 = isometry.jacobian_moments(net, depth, weights=weights)
    assert m1 == pytest.approx((sigma_w2 * mu1) ** depth, rel=1e-13)
    assert m2 == pytest.approx((sigma_w2 * mu1) ** (2 * depth) * depth * (mu2 / mu1**2 + 1 / depth - 1 - s1), rel=1e-12)
    assert isometry.jacobian_variance(net, depth, weights=weights) == pytest.approx(m2 - m1**2, rel=1e-11)


@pytest.mark.parametrize("phi", CRITICAL, ids=label)
@pytest.mark.parametrize("depth", [1, 10, 1000])
def test_on_the_edge_gaussian_weights_cost_one_unit_a_layer(phi, depth):
    """(13): s_1 is -1 for Gaussian weights and 0 for orthogonal ones, so the variances differ by the depth."""
    net = mf.edge_of_chaos(phi, sigma_b2=0.1)
    gaussian_, orthogonal = (isometry.jacobian_variance(net, depth, weights=w) for w in ("gaussian", "orthogonal"))
    assert gaussian_ - orthogonal == pytest.approx(depth, rel=1e-12)
    assert orthogonal == pytest.approx(depth * (isometry.moment_ratio(phi, net.q) - 1), rel=1e-12)
    assert isometry.jacobian_moments(net, depth, weights="orthogonal")[0] == 1.0


def test_the_modulus_has_a_perfect_spectrum():
    net = mf.edge_of_chaos(act.abs_(), sigma_b2=0.0)
    assert isometry.jacobian_moments(net, 500, weights="orthogonal") == pytest.approx((1.0, 1.0), rel=1e-12)
    assert isometry.jacobian_variance(net, 500, weights="orthogonal") == pytest.approx(0.0, abs=1e-12)


def test_the_formulas_describe_sampled_jacobians():
    """m_2 / m_1^2 - 1 of D W D W ... at width 400, both kinds of weights, within 10%."""
    net, width, depth, rng = mf.edge_of_chaos(act.shtanh(2.0), sigma_b2=0.1), 400, 8, np.random.default_rng(5)
    for weights in ("gaussian", "orthogonal"):
        jacobian = np.eye(width)
        for _ in range(depth):
            w = rng.normal(size=(width, width)) / np.sqrt(width)
            if weights == "orthogonal":
                q, r = np.linalg.qr(w)
                w = q * np.sign(np.diag(r))
            slopes = net.phi.derivative(np.sqrt(net.q) * rng.normal(size=width))
            jacobian = slopes[:, None] * (np.sqrt(net.sigma_w2) * w @ jacobian)
        spectrum = np.linalg.svd(jacobian, compute_uv=False) ** 2
        spread = (spectrum**2).mean() / spectrum.mean() ** 2 - 1
        assert spread == pytest.approx(isometry.jacobian_variance(net, depth, weights=weights), rel=0.1)


@pytest.mark.parametrize("sigma_w2", [0.8, 1.7])
def test_errors_change_by_chi_1_a_layer_on_their_way_back(sigma_w2):
    net = mf.MeanField(HARD_TANH, sigma_w2=sigma_w2, sigma_b2=0.1)
    variances = isometry.backward_variance(net, 12)
    assert variances.shape == (13,)
    assert variances[0] == 1.0
    np.testing.assert_allclose(variances[1:] / variances[:-1], net.chi1, rtol=1e-13)
    np.testing.assert_array_equal(isometry.backward_variance(mf.edge_of_chaos(HARD_TANH, sigma_b2=0.1), 50), 1.0)
    assert isometry.backward_variance(net, 0).tolist() == [1.0]


def test_a_depth_that_leaves_the_range_of_a_float_is_refused():
    net = mf.MeanField(HARD_TANH, sigma_w2=3.0, sigma_b2=0.1)
    for moments in (isometry.jacobian_moments, isometry.jacobian_variance):
        with pytest.raises(ValueError, match=r"depth=10000 is too deep for chi_1=1.55"):
            moments(net, 10000, weights="orthogonal")
    with pytest.raises(ValueError, match=r"depth=10000 is too deep for chi_1=1.55"):
        isometry.backward_variance(net, 10000)
    assert isometry.jacobian_moments(
        mf.MeanField(HARD_TANH, sigma_w2=0.5, sigma_b2=0.1), 10**6, weights="gaussian"
    ) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("d", "exact"),
    [(50.0, 0.5), (40.0, 629489278289.877)],  # 1/2 + (2^1200 - 1) P(Z > d), from mpmath
)
def test_a_high_power_of_a_slope_may_meet_a_mass_too_small_for_a_float(d, exact):
    phi = piecewise_linear([0.0, d], [0.0, 1.0, 2.0])
    assert isometry.derivative_moment(phi, 1.0, 600) == pytest.approx(exact, rel=1e-11)


def test_a_moment_beyond_the_floats_is_refused():
    assert isometry.derivative_moment(act.leaky_relu(2.0), 1.0, 500) == pytest.approx(2.0**999, rel=1e-11)
    for phi in (act.leaky_relu(2.0), act.snake()):
        with pytest.raises(ConvergenceError):
            isometry.derivative_moment(phi, [1.0, 2.0], 600)


@pytest.mark.parametrize(("k", "exact"), [(10, 0.157104742168015), (1000, 0.0158103998729681)])
def test_a_high_power_of_a_smooth_slope_is_a_peak_that_is_seen(k, exact):
    """E sech(Z)^(4 k), from mpmath; at 10^9 a peak of width 1e-5, which no rule sees, is refused."""
    assert isometry.derivative_moment(act.tanh(), 1.0, k) == pytest.approx(exact, rel=1e-12)
    with pytest.raises(ValueError, match=r"^k must be at most 1000000"):
        isometry.derivative_moment(act.tanh(), 1.0, 10**9)


def test_backward_variances_have_a_longest_array():
    with pytest.raises(ValueError, match=r"^depth must be at most 10000000"):
        isometry.backward_variance(mf.edge_of_chaos(HARD_TANH, sigma_b2=0.1), 10**12)

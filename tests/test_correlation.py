"""Section 2.1: E phi(U1) phi(U2) as a curve in rho, by Price's theorem, by Chebyshev series, and by brute force."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import chebyshev
from zoo import CRITICAL, ZOO, label, piecewise_scaled_bounded

from afli import activations as act
from afli import correlation
from afli import meanfield as mf
from afli.errors import ConvergenceError
from afli.gaussian import expectation2

RHO = np.array([-1.0, -0.999, -0.5, -1e-3, 0.0, 0.2, 0.7, 0.95, 0.9999, 1 - 1e-9, 1.0])
PIECEWISE_LINEAR = [phi for phi in ZOO if phi.piece_slopes is not None]


def brute_force(phi, f, q, rho):
    return expectation2(f, f, rho, q1=q, q2=q, kinks_f=phi.kinks, kinks_g=phi.kinks, scale=phi.scale)


@pytest.mark.parametrize("phi", CRITICAL, ids=label)
@pytest.mark.parametrize("q", [0.3, 2.5])
def test_the_curve_agrees_with_two_nested_integrals(phi, q):
    curve = correlation.curve(phi, q)
    np.testing.assert_allclose(curve.value(RHO), brute_force(phi, phi, q, RHO) / q, atol=2e-14)
    slope = brute_force(phi, phi.derivative, q, RHO)
    np.testing.assert_allclose(curve.slope(RHO), slope, atol=2e-12 if phi.kinks else 1e-13)


@pytest.mark.parametrize("phi", PIECEWISE_LINEAR, ids=label)
@pytest.mark.parametrize("q", [0.3, 2.5])
def test_prices_theorem_agrees_with_the_chebyshev_series(phi, q):
    """Two routes with nothing in common, for the activations that allow both."""
    price, series = correlation.PriceCurve(phi, q), correlation.ChebyshevCurve(phi, q)
    rho = np.linspace(-1, 1, 101)
    np.testing.assert_allclose(price.value(rho), series.value(rho), atol=1e-13)
    np.testing.assert_allclose(price.slope(rho), series.slope(rho), atol=1e-12)


@given(piecewise_scaled_bounded(), st.floats(-1.0, 1.0), st.floats(-0.5, 1.5))
def test_prices_theorem_agrees_with_brute_force_for_random_pieces(phi, rho, log_q):
    q = 10**log_q
    value = correlation.PriceCurve(phi, q).value(np.array(rho))
    assert value == pytest.approx(brute_force(phi, phi, q, rho) / q, abs=1e-12)


@pytest.mark.parametrize(
    ("phi", "kernel"),
    [
        (act.erf(), lambda q, c: 2 / np.pi * np.arcsin(2 * q * c / (1 + 2 * q))),
        (act.sin(), lambda q, c: np.exp(-q) * np.sinh(q * c)),
        (act.relu(), lambda q, c: q / (2 * np.pi) * (np.sqrt(1 - c * c) + (np.pi - np.arccos(c)) * c)),
        (act.abs_(), lambda q, c: 2 * q / np.pi * (np.sqrt(1 - c * c) + np.arcsin(c) * c)),
    ],
    ids=["erf", "sin", "relu", "abs"],
)
def test_known_kernels(phi, kernel):
    for q in (1e-3, 0.7, 4.0):
        np.testing.assert_allclose(q * correlation.curve(phi, q).value(RHO), kernel(q, RHO), atol=3e-15 * max(1, q))


@pytest.mark.parametrize("phi", CRITICAL, ids=label)
def test_the_slope_is_the_numerical_derivative(phi):
    """Formula (21), for odd activations and for others (elu, selu, gelu, silu) alike."""
    curve, rho, h = correlation.curve(phi, 0.8), np.linspace(-0.9, 0.9, 19), 1e-3
    far, close = (curve.value(rho + t) - curve.value(rho - t) for t in (2 * h, h))
    np.testing.assert_allclose((8 * close - far) / (12 * h), curve.slope(rho), atol=1e-9)


@pytest.mark.parametrize("phi", CRITICAL, ids=label)
def test_at_full_correlation_the_slope_is_the_mean_square_of_the_derivative(phi):
    q = 1.7
    curve = correlation.curve(phi, q)
    assert curve.slope(np.array(1.0)) == pytest.approx(phi.mean(lambda u: phi.derivative(u) ** 2, q), rel=1e-13)
    assert curve.value(np.array(1.0)) == pytest.approx(phi.mean(lambda u: phi(u) ** 2, q) / q, rel=1e-13)


# --- Next to rho = 1, where the distance to the tangent must be measured and not subtracted ---


def gap_of_erf(q, sigma_w2, sigma_b2, rho):
    """R(rho) - rho to 40 digits, from the closed kernel."""
    with mpmath.workdps(40):
        c = mpmath.mpf(rho)
        kernel = 2 / mpmath.pi * mpmath.asin(2 * mpmath.mpf(q) * c / (1 + 2 * mpmath.mpf(q)))
        top = 2 / mpmath.pi * mpmath.asin(2 * mpmath.mpf(q) / (1 + 2 * mpmath.mpf(q)))
        # sigma_w2 and sigma_b2 are rounded: rescale so that R(1) = 1 and R'(1) = 1 hold in all 40 digits.
        slope = 4 * mpmath.mpf(q) / mpmath.pi / mpmath.sqrt(1 + 4 * mpmath.mpf(q))
        return float((kernel - top) / slope + 1 - c)


@pytest.mark.parametrize("distance", [2e-3, 9e-4, 1e-5, 1e-7, 1e-9])
def test_the_gap_of_a_smooth_activation_keeps_its_relative_accuracy(distance):
    net = mf.edge_of_chaos(act.erf(), sigma_b2=0.1)
    rho = 1 - distance
    exact = gap_of_erf(net.q, net.sigma_w2, net.sigma_b2, rho)
    assert net.correlation_gap(rho) == pytest.approx(exact, rel=1e-12 / np.sqrt(distance) if distance < 1e-3 else 1e-9)


@pytest.mark.parametrize("phi", [phi for phi in CRITICAL if phi.kinks and phi.linear_radius > 0], ids=label)
def test_the_gap_of_a_kinked_activation_closes_as_the_power_three_halves(phi):
    """R - rho ~ (2 c / 3) (1 - rho)^(3/2), c = sigma_w2 sqrt(q / pi) sum_i J_i^2 p_q(d_i) (J: jumps of the slope)."""
    net = mf.edge_of_chaos(phi, sigma_b2=0.1 * phi.linear_radius**2)
    jumps = [phi.derivative(d + 1e-9) - phi.derivative(d - 1e-9) for d in phi.kinks]
    masses = np.exp(-(np.array(phi.kinks) ** 2) / (2 * net.q)) / np.sqrt(2 * np.pi * net.q)
    c = net.sigma_w2 * np.sqrt(net.q / np.pi) * np.sum(np.square(jumps) * masses)
    assert net.correlation_gap(1 - 1e-10) == pytest.approx(2 * c / 3 * 1e-15, rel=1e-4)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=40), st.floats(-0.999, 1.0))
def test_the_divided_series_is_the_difference_quotient(coefficients, x):
    series = np.array(coefficients)
    quotient = chebyshev.chebval(x, correlation.divided(series))
    exact = (chebyshev.chebval(-1.0, series) - chebyshev.chebval(x, series)) / (1 + x)
    assert quotient == pytest.approx(exact, abs=1e-11 * len(series))


def test_kinks_too_close_for_the_variance_are_reported():
    phi = act.from_callable(lambda z: np.clip(z, -1e-3, 1e-3) + np.tanh(z), kinks=(-1e-3, 1e-3))
    with pytest.raises(ConvergenceError, match="did not settle"):
        correlation.ChebyshevCurve(phi, 1.0)


@pytest.mark.slow
def test_a_kink_that_was_not_declared_is_reported():
    name = (("name", "clip that hides its kinks"),)
    phi = act.Activation("custom", name, lambda z: np.clip(z, -1, 1), lambda z: (np.abs(z) < 1) * 1.0)
    with pytest.raises(ConvergenceError):
        correlation.ChebyshevCurve(phi, 1.0)


def test_pieces_of_very_different_lengths():
    """Kinks 1e-3 and 1 apart in one activation: the nodes crowd for the closer pair and still serve the other."""
    from afli.pieces import odd_piecewise_linear

    phi = odd_piecewise_linear([1.0, 1.001, 2.0], [1.0, -1.0, 0.5, 0.0])
    curve = correlation.PriceCurve(phi, 1.0)
    np.testing.assert_allclose(curve.value(RHO), brute_force(phi, phi, 1.0, RHO), atol=1e-12)


def test_an_even_function_has_opposite_slopes_at_both_ends() -> None:
    """R(-rho) = R(rho): at rho = -1 too the series is held to a known value."""
    net = mf.MeanField(act.from_callable(lambda z: np.exp(-75 * z * z)), sigma_w2=4.0, sigma_b2=0.0)
    assert net.correlation_slope(-1.0) == pytest.approx(-net.correlation_slope(1.0), rel=1e-11)
    assert net.correlation_map(-1.0) == pytest.approx(1.0, abs=1e-12)

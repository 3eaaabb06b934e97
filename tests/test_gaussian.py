"""Section 2, the integrals: E f(sqrt(q) Z) and E f(U1) g(U2) against closed forms, identities and each other."""

from __future__ import annotations

from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from zoo import CRITICAL, HOMOGENEOUS, ZOO, correlations, label, piecewise_scaled_bounded

from afli import activations as act
from afli import gaussian, moments
from afli.errors import ConvergenceError
from afli.gaussian import expectation, expectation2, normal_density

variances = st.floats(-8.0, 6.0).map(lambda t: float(10**t))


def near(value, rel=1e-13):
    return pytest.approx(value, rel=rel, abs=rel)


# --- One dimension ---


@given(st.integers(0, 10), variances)
def test_even_moments_are_double_factorials(n, q):
    assert expectation(lambda u: u ** (2 * n), q) == near(q**n * factorial(2 * n) / (2**n * factorial(n)))


@given(st.integers(0, 5), variances)
def test_odd_moments_vanish(n, q):
    assert abs(expectation(lambda u: u ** (2 * n + 1), q)) <= 1e-13 * (100 * q) ** (n + 0.5)


@given(st.floats(0.0, 40.0), st.floats(0.0, 30.0))
def test_the_mean_of_a_cosine_is_the_characteristic_function(t, root):
    assert expectation(lambda u: np.cos(t * u), root**2, scale=1 / max(1, t)) == near(np.exp(-((t * root) ** 2) / 2))


@given(st.floats(-4.0, 4.0), variances)
def test_a_ramp_has_its_closed_mean(d, q):
    """E max(U - d, 0) = sqrt(q) p(x) - d P(Z > x), x = d / sqrt(q)."""
    x = d / np.sqrt(q)
    exact = np.sqrt(q) * normal_density(x) - d * special.ndtr(-x)
    assert expectation(lambda u: np.maximum(u - d, 0), q, kinks=[d]) == pytest.approx(exact, rel=1e-12, abs=1e-14)


@given(st.floats(-3.0, 3.0), st.floats(-1.0, 2.0))
def test_steins_lemma_counts_the_jumps(d, log_q):
    """Lemma A.3: E[Z f(Z)] = E f'(Z) + sum_i p(d_i) (jump of f at d_i)."""
    assert expectation(lambda z: z * (np.sin(z) + 2 * (z > d)), 1.0, kinks=[d]) == near(
        np.exp(-0.5) + 2 * normal_density(d)
    )
    q = 10**log_q
    left = expectation(lambda u: u * np.tanh(u), q)
    assert left == near(q * expectation(lambda u: 1 / np.cosh(u) ** 2, q), rel=1e-12)


@pytest.mark.parametrize("q", [1e6, 1e9, 1e12, 1e20])
def test_far_out_of_its_bend_tanh_is_a_sign(q):
    """1 - E tanh^2 = E sech^2 = 2 p(0) / sqrt(q) (1 - pi^2 / (24 q) + ...)."""
    value = expectation(lambda u: 1 / np.cosh(np.clip(u, -300, 300)) ** 2, q)
    assert value == pytest.approx(2 * normal_density(0.0) / np.sqrt(q) * (1 - np.pi**2 / (24 * q)), rel=1e-10)


def test_at_variance_zero_it_is_the_value_at_zero():
    assert expectation(lambda u: np.cos(u) + 1, 0.0) == 2.0
    np.testing.assert_array_equal(expectation(np.cosh, [0.0, 0.0]), [1.0, 1.0])
    assert [expectation(lambda u: 3.0, q) for q in (0.0, 1.0)] == near([3.0, 3.0])


def test_it_is_linear_and_scales():
    f, g = np.tanh, np.exp
    both = expectation(lambda u: 2 * f(u) - g(u), 0.7)
    assert both == near(2 * expectation(f, 0.7) - expectation(g, 0.7))
    assert expectation(lambda u: g(3 * u), 0.1) == near(expectation(g, 0.9))


@pytest.mark.parametrize("phi", [p for p in ZOO if p.piece_slopes is not None], ids=label)
def test_closed_moments_agree_with_quadrature(phi):
    """Two routes to the same five numbers: truncated moments, and panels cut at the kinks."""
    q = np.array([1e-3, 0.4, 1.0, 7.0, 300.0])
    routes = [
        (moments.mean(phi, q), phi),
        (moments.square(phi, q), lambda u: phi(u) ** 2),
        *((moments.slope_power(phi, q, n), lambda u, n=n: phi.derivative(u) ** n) for n in (1, 2, 4)),
        (moments.radial(phi, q), lambda u: phi(u) * phi.derivative(u) * u),
    ]
    for closed, f in routes:
        np.testing.assert_allclose(closed, phi.mean(f, q), rtol=1e-12, atol=1e-13)


@given(piecewise_scaled_bounded(), st.floats(-2.0, 3.0))
def test_the_pieces_partition_mass_and_variance(phi, log_q):
    q = np.array(10**log_q)
    p0, p1, p2, p02 = gaussian.piece_moments(q, phi.kinks)
    assert (p0.sum(), p2.sum()) == (near(1.0), near(float(q)))
    assert p1.sum() == pytest.approx(0, abs=1e-15 * np.sqrt(q))
    np.testing.assert_allclose(p02, q * p0 - p2, atol=1e-14 * q)
    assert (p0 >= 0).all()


@pytest.mark.parametrize("root_q", [1.0, 10.0, 1e4, 1e30])
def test_a_piece_much_narrower_than_the_deviation_keeps_its_digits(root_q):
    """On [d, d + w], w << sqrt(q): mass w p, mean d + w / 2, ... with p = p(0) / sqrt(q)."""
    mass, first, second, shortfall = gaussian.piece_moments(np.array(root_q**2), [0.0, 1e-4])
    p = normal_density(0.0) / root_q
    exact = np.array([1e-4, 0.5e-8, 1e-12 / 3, 1e-4 * root_q**2]) * p
    np.testing.assert_allclose([mass[1], first[1], second[1], shortfall[1]], exact, rtol=2e-8)
    closer = [expectation(lambda u, n=n: u**n * (u > 0) * (u < 1e-4), root_q**2, kinks=[0, 1e-4]) for n in range(3)]
    np.testing.assert_allclose([mass[1], first[1], second[1]], closer, rtol=1e-13)


# --- It refuses to guess ---


def test_a_kink_that_was_not_declared_is_noticed():
    with pytest.raises(ConvergenceError, match=r"did not settle at q = 1.*a kink not declared"):
        expectation(lambda u: np.abs(u - 0.3) ** 0.5, 1.0)
    with pytest.raises(ConvergenceError, match="a kink not declared"):
        expectation2(lambda u: np.clip(u, -0.31, 0.77), np.tanh, 0.5, q1=1.0, q2=1.0)


@pytest.mark.parametrize("scale", [30.0, 1e6])
def test_a_scale_that_is_too_long_costs_time_but_not_accuracy(scale):
    """The panels are refined until they agree, so a function that bends on the length 0.05 is still right."""
    exact = expectation(lambda u: np.tanh(20 * u) ** 2, 1.0, scale=0.05)
    assert expectation(lambda u: np.tanh(20 * u) ** 2, 1.0, scale=scale) == near(exact)


def test_a_function_that_is_not_finite_is_noticed():
    with pytest.raises(ConvergenceError, match="f is not finite"):
        expectation(lambda u: np.where(u > 1, np.nan, u), 1.0)


def test_a_wave_beyond_all_panels_is_noticed():
    with pytest.raises(ConvergenceError, match="did not settle"):
        expectation(lambda u: np.sin(u) ** 2, 1e13)


def test_two_dimensions_have_a_reach():
    with pytest.raises(ConvergenceError, match="out of reach"):
        expectation2(np.sin, np.sin, 0.5, q1=1e6, q2=1e6)


def test_a_spike_that_all_coarse_nodes_miss_is_noticed():
    def spike(u):
        return 1.0 * (np.abs(u - 3.3) < 1e-3)

    with pytest.raises(ConvergenceError, match="did not settle"):
        expectation(spike, 1.0)
    with pytest.raises(ConvergenceError, match="did not settle"):
        expectation2(spike, np.cos, 0.3, q1=1.0, q2=1.0)
    assert expectation(spike, 1.0, kinks=[3.299, 3.301]) == near(special.ndtr(-3.299) - special.ndtr(-3.301))
    assert expectation(lambda u: 0 * u, 1.0) == expectation2(lambda u: 0 * u, np.cos, 0.3, q1=1.0, q2=1.0) == 0.0


@pytest.mark.parametrize("f", [lambda u: u * np.nan, lambda u: 1 / u, np.log])
def test_at_variance_zero_the_value_at_zero_must_be_finite(f):
    with pytest.raises(ConvergenceError, match="at q = 0"):
        expectation(f, 0.0)


@pytest.mark.parametrize(
    ("f", "error"),
    [
        (lambda u: 1j * u**2, TypeError),
        (lambda u: None, TypeError),
        (lambda u: "u", TypeError),
        (lambda u: u.astype(object), TypeError),
        (lambda u: u[:1] if len(u) > 1 else np.ones(2), ValueError),
        (lambda u: u[:, None], ValueError),
        (lambda u: [1.0, 2.0], ValueError),
        (lambda u: np.ma.masked_array(u, u <= 0), ValueError),
    ],
)
def test_what_is_no_real_function_is_named(f, error):
    for call in (
        lambda: expectation(f, 0.0),
        lambda: expectation(f, 1.0),
        lambda: expectation2(f, np.cos, 0.3, q1=1.0, q2=1.0),
    ):
        with pytest.raises(error, match=r"^f must"):
            call()
    with pytest.raises(error, match=r"^g must"):
        expectation2(np.cos, f, 0.3, q1=1.0, q2=1.0)


# --- Two dimensions ---


@given(correlations, st.floats(0.01, 9.0), st.floats(0.01, 9.0))
def test_the_covariance_is_rho_times_both_deviations(rho, q1, q2):
    value = expectation2(lambda u: u, lambda u: u, rho, q1=q1, q2=q2)
    assert value == pytest.approx(rho * np.sqrt(q1 * q2), abs=1e-13 * np.sqrt(q1 * q2))


@given(correlations, st.floats(0.01, 9.0), st.floats(0.01, 9.0))
def test_cosines_factor_into_characteristic_functions(rho, q1, q2):
    """E cos U1 cos U2 = exp(-(q1 + q2) / 2) cosh(rho sqrt(q1 q2)), and sines alike with sinh."""
    decay, angle = np.exp(-(q1 + q2) / 2), rho * np.sqrt(q1 * q2)
    assert expectation2(np.cos, np.cos, rho, q1=q1, q2=q2) == near(decay * np.cosh(angle), rel=3e-13)
    assert expectation2(np.sin, np.sin, rho, q1=q1, q2=q2) == near(decay * np.sinh(angle), rel=3e-13)


@given(correlations, st.floats(0.01, 9.0), st.floats(0.01, 9.0))
def test_error_functions_give_an_arcsine(rho, q1, q2):
    exact = 2 / np.pi * np.arcsin(2 * rho * np.sqrt(q1 * q2) / np.sqrt((1 + 2 * q1) * (1 + 2 * q2)))
    assert expectation2(special.erf, special.erf, rho, q1=q1, q2=q2) == near(exact, rel=3e-13)


@given(correlations, st.floats(0.01, 9.0))
def test_ramps_give_the_arc_cosine_kernel(rho, q):
    relu = act.relu()
    exact = q / (2 * np.pi) * (np.sqrt(1 - rho**2) + (np.pi - np.arccos(rho)) * rho)
    assert expectation2(relu, relu, rho, q1=q, q2=q, kinks_f=[0], kinks_g=[0]) == near(exact, rel=3e-13)


@pytest.mark.parametrize("gap", [1e-6, 1e-10, 1e-13, 1.2e-16])
@pytest.mark.parametrize("sign", [1, -1])
def test_next_to_full_correlation_it_meets_the_tangent(sign, gap):
    """E tanh tanh at rho = +-(1 - gap) is +-(E tanh^2 - gap E tanh'^2), up to gap^2."""
    rho = sign * (1 - gap)
    value = expectation2(np.tanh, np.tanh, rho, q1=1.0, q2=1.0)
    square = expectation(lambda u: np.tanh(u) ** 2, 1.0)
    slope = expectation(lambda u: 1 / np.cosh(u) ** 4, 1.0)
    assert sign * value == near(square - (1 - abs(rho)) * slope, rel=max(2e-13, gap**2))


@pytest.mark.parametrize("phi", [p for p in CRITICAL if p.kinks][:6], ids=label)
def test_it_is_symmetric_and_factors_when_independent(phi):
    f, g, kinks = phi, np.arctan, phi.kinks
    one = expectation2(f, g, 0.3, q1=0.5, q2=2.0, kinks_f=kinks)
    assert one == near(expectation2(g, f, 0.3, q1=2.0, q2=0.5, kinks_g=kinks), rel=3e-13)
    shifted = expectation2(lambda u: f(u) + 1, lambda u: g(u) + 2, 0.0, q1=0.5, q2=2.0, kinks_f=kinks)
    means = expectation(lambda u: f(u) + 1, 0.5, kinks=kinks) * expectation(lambda u: g(u) + 2, 2.0)
    assert shifted == near(means, rel=3e-13)


@pytest.mark.parametrize("phi", HOMOGENEOUS, ids=label)
def test_variances_scale_out_of_homogeneous_functions(phi):
    unit = expectation2(phi, phi, 0.4, q1=1.0, q2=1.0, kinks_f=phi.kinks, kinks_g=phi.kinks)
    value = expectation2(phi, phi, 0.4, q1=9.0, q2=0.25, kinks_f=phi.kinks, kinks_g=phi.kinks)
    assert value == near(1.5 * unit, rel=3e-13)


@pytest.mark.parametrize("phi", [act.tanh(), act.elu(), act.ssine(1.0)], ids=label)
def test_many_variances_by_a_series_are_those_one_by_one(phi):
    """From 200 on E phi^2 / q is a series in log q for each decade."""
    q = np.geomspace(1e-3, 1e3, 240)
    for f in (moments.square, lambda phi, q: moments.slope_power(phi, q, 2)):
        np.testing.assert_allclose(f(phi, q)[::17], f(phi, q[::17]), rtol=3e-13)

"""Lemma 3.2: R' by three routes that share nothing, and the sums over the kinks that a printed step leaves out."""

from __future__ import annotations

import numpy as np
import pytest
from zoo import label

from afli import activations as act
from afli import meanfield as mf
from afli import slope
from afli.differences import derivative
from afli.pieces import odd_piecewise_linear

PIECEWISE_LINEAR = [act.shtanh(1.0), act.ssaw(1.0), act.relu6(), odd_piecewise_linear([0.5, 1.5], [1.0, -0.4, 0.2])]


@pytest.mark.parametrize("phi", [act.tanh(), act.elu(), *PIECEWISE_LINEAR[:2]], ids=label)
def test_differences_of_the_covariance_give_the_slope_of_lemma_3_2(phi):
    net, rho = mf.MeanField(phi, sigma_w2=1.3, sigma_b2=0.1), np.array([-0.7, 0.0, 0.4, 0.9])
    np.testing.assert_allclose(slope.numerical_slope(net, rho), net.correlation_slope(rho), rtol=0, atol=1e-9)


@pytest.mark.parametrize("phi", [act.tanh(), act.shtanh(1.0), act.gelu()], ids=label)
@pytest.mark.parametrize("rho", [-0.4, 0.6])
def test_sampling_gives_it_too_within_its_error(phi, rho):
    net, z = mf.MeanField(phi, sigma_w2=1.3, sigma_b2=0.1), np.random.default_rng(1).standard_normal((2, 400_000))
    value, error = slope.sampled_slope(net, rho, z)
    assert 0 < error < 0.02
    assert abs(value - net.correlation_slope(rho)) < 4 * error


@pytest.mark.parametrize("phi", PIECEWISE_LINEAR, ids=label)
@pytest.mark.parametrize(("q", "rho"), [(0.7, 0.3), (2.5, -0.6), (1.0, 0.95)])
def test_both_integrals_leave_the_same_sum_over_the_kinks(phi, q, rho):
    """Stein's lemma for phi', which jumps: (32) and (33) each contain rho sqrt(q) sum_i J_i p(d_i) E[phi(U1) | d_i]."""
    first, second = slope.jump_terms(phi, q, rho)
    expected = slope.jump_sum(phi, q, rho)
    assert first == pytest.approx(expected, abs=2e-12)
    assert second == pytest.approx(expected, abs=2e-11)
    assert phi is act.relu6 or abs(expected) > 1e-4  # it is not nothing


def test_where_phi_prime_is_continuous_nothing_is_left_but_the_smooth_second_derivative():
    """For sin, phi'' = -sin: E[Z1 phi(U1) phi'(U2)] - sqrt(q) E phi' phi' = -rho sqrt(q) E sin(U1) sin(U2)."""
    q, rho = 0.8, 0.5
    exact = -rho * np.sqrt(q) * np.exp(-q) * np.sinh(rho * q)
    assert slope.jump_terms(act.sin(), q, rho) == pytest.approx((exact, exact), abs=1e-12)


def test_six_points_differentiate_polynomials_up_to_degree_six_exactly():
    at = np.array([[-1.3], [0.2], [2.0]])
    for power in range(7):
        found = derivative(lambda z, n=power: z**n, at, 0.1)
        np.testing.assert_allclose(found, power * at ** max(power - 1, 0), rtol=1e-11, atol=1e-11)
    assert derivative(np.sin, 0.3, 0.01) == pytest.approx(np.cos(0.3), rel=1e-12)

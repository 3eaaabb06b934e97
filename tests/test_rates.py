"""Appendix B.6: the constants with which correlations converge on the edge of chaos, and the map iterated."""

from __future__ import annotations

import numpy as np
import pytest
from zoo import label

from afli import activations as act
from afli import meanfield as mf
from afli import rates


@pytest.mark.parametrize("sigma_b2", [0.01, 0.3])
def test_the_curvature_of_erf_in_closed_form(sigma_b2):
    """R'' (1) from the kernel 2 / pi arcsin(s rho), s = 2 q / (1 + 2 q): sigma_w2 / q 2 / pi s^3 / (1 - s^2)^1.5."""
    net = mf.edge_of_chaos(act.erf(), sigma_b2=sigma_b2)
    s = 2 * net.q / (1 + 2 * net.q)
    exact = net.sigma_w2 / net.q * 2 / np.pi * s**3 / (1 - s**2) ** 1.5
    assert rates.curvature(net) == pytest.approx(exact, rel=1e-7)


def test_the_curvature_of_elu_whose_second_derivative_jumps():
    """E phi''^2 = E[exp(2 U); U < 0]."""
    from scipy import special

    net = mf.edge_of_chaos(act.elu(), sigma_b2=0.1)
    exact = net.sigma_w2 * net.q * np.exp(2 * net.q) * special.ndtr(-2 * np.sqrt(net.q))
    assert rates.curvature(net) == pytest.approx(exact, rel=1e-3)  # the step is a thousandth of the bend
    assert not rates.slope_jumps(net.phi).any()


@pytest.mark.parametrize("slope", [0.0, 0.3, -1.0])
def test_the_kink_constant_of_two_slopes_in_closed_form(slope):
    """1 - R' is (1 - s)^2 / (1 + s^2) arccos(rho) / pi, and arccos(rho) is sqrt(2 (1 - rho)) near 1."""
    net = mf.edge_of_chaos(act.leaky_relu(slope), sigma_b2=0.0)
    exact = np.sqrt(2) / np.pi * (1 - slope) ** 2 / (1 + slope**2)
    assert rates.kink_constant(net) == pytest.approx(exact, rel=1e-13)
    assert rates.slope_jumps(net.phi) == pytest.approx([1 - slope])
    near = 1 - 1e-10
    assert (1 - net.correlation_slope(near)) / 1e-5 == pytest.approx(exact, rel=1e-5)


def test_relu_converges_at_the_rate_that_is_known():
    """9 pi^2 / (2 l^2), Hayou, Doucet and Rousseau (2019)."""
    net = mf.edge_of_chaos(act.relu(), sigma_b2=0.0)
    assert rates.predicted_distance(net, 0.2, 1e8) == pytest.approx(4.5 * np.pi**2 / 1e16, rel=1e-6)


@pytest.mark.parametrize("phi", [act.relu(), act.shtanh(1.0), act.ssaw(1.0), act.tanh(), act.erf()], ids=label)
def test_what_is_predicted_is_what_the_map_does(phi):
    net = mf.edge_of_chaos(phi, sigma_b2=0.0 if phi.is_homogeneous else 0.3)
    start = 0.99
    path = 1 - net.correlation_trajectory(start, 4000)
    predicted = rates.predicted_distance(net, start, [0, 1000, 4000])
    assert predicted[0] == pytest.approx(0.01, rel=1e-12)
    np.testing.assert_allclose(path[[1000, 4000]], predicted[1:], rtol=0.03)

"""The spectrum of Shtanh, orthogonal or Gaussian weights: a probability law with the moments of eqs. (12) and (13)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from afli import activations as act
from afli import isometry, sampling, spectrum
from afli import meanfield as mf

CASES = [(1.0, 2), (1.0, 10), (3.0, 20), (5.0, 30), (0.5, 2), (10.0, 20)]


def network(a):
    return mf.edge_of_chaos(act.shtanh(a=a), sigma_b2=0.1)


def moments(net, depth, weights):
    """Mass, mean and variance of the whole law: atoms and density, integrated in ln x."""
    zero, top, position = spectrum.atoms(net, depth, weights=weights)
    u = np.log(spectrum.edge(net, depth, weights=weights)) - 60 * max(1, depth / 5) * np.linspace(1, 0, 4001) ** 3
    x = np.exp(u)
    mass = spectrum.density(net, depth, x, weights=weights) * x
    mean = top * position + np.trapezoid(mass * x, u)
    return zero + top + np.trapezoid(mass, u), mean, top * position**2 + np.trapezoid(mass * x**2, u) - mean**2


@pytest.mark.parametrize("weights", sampling.WEIGHTS)
@pytest.mark.parametrize(("a", "depth"), CASES)
def test_mass_mean_and_variance_are_one_one_and_equation_13(a, depth, weights):
    net = network(a)
    mass, mean, variance = moments(net, depth, weights)
    assert mass == pytest.approx(1.0, abs=1e-5)
    assert mean == pytest.approx(1.0, abs=1e-5)
    assert variance == pytest.approx(isometry.jacobian_variance(net, depth, weights=weights), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("a", [0.5, 1.0, 2.0])
def test_two_layers_end_where_two_free_projections_end(a):
    inside = 1 - spectrum.atoms(network(a), 2)[0]
    assert spectrum.edge(network(a), 2) == pytest.approx(4 * (1 - inside) / inside, rel=1e-12)


def test_edge_is_the_end_of_the_density():
    for a, depth in CASES:
        net, x = network(a), spectrum.edge(network(a), depth) * np.array([0.999, 1.001])
        inside, outside = spectrum.density(net, depth, x)
        assert inside > 1e-3
        assert outside == 0.0


def test_top_atom_is_there_while_few_directions_are_cut():
    net = network(5.0)
    zero, top, position = spectrum.atoms(net, 30)
    assert top == pytest.approx(1 - 30 * zero)
    assert spectrum.edge(net, 30) < position  # a gap
    assert spectrum.atoms(net, 60)[1] == 0.0


def test_largest_sampled_singular_values_sit_on_the_top_atom():
    net = network(5.0)
    squares = sampling.singular_values(net, width=300, depth=10, rng=np.random.default_rng(0)) ** 2
    _, top, position = spectrum.atoms(net, 10)
    share = np.mean(np.abs(squares / position - 1) < 1e-9)
    assert share == pytest.approx(top, abs=0.05)


def test_other_networks_are_refused():
    for net in (
        mf.edge_of_chaos(act.tanh(), sigma_b2=0.1),
        mf.MeanField(act.shtanh(a=1.0), sigma_w2=1.0, sigma_b2=0.1),
    ):
        with pytest.raises(ValueError, match="net must be a Shtanh network on the edge of chaos"):
            spectrum.atoms(net, 3)
    with pytest.raises(ValueError, match="depth"):
        spectrum.density(network(1.0), 1, 1.0)
    with pytest.raises(ValueError, match="x"):
        spectrum.density(network(1.0), 3, 0.0)


def test_a_depth_at_which_the_top_leaves_the_range_of_a_float_is_refused():
    net = network(0.1)
    with pytest.raises(ValueError, match=r"depth=1000 is too deep for B=0.21\d*: B\^-depth leaves the range"):
        spectrum.atoms(net, 1000)
    assert np.isfinite(spectrum.edge(net, 1000))


@pytest.mark.parametrize("weights", ["orthogonal", "gaussian"])
@pytest.mark.parametrize("a", [1.0, 100.0])
def test_the_density_is_a_power_of_x_down_to_the_smallest_float(a, weights):
    """M + B ~ x^(1 / depth) as x falls, with the factor that z = (1 - B)^r / (-B) ((M + B) / B)^depth gives."""
    net, depth = mf.edge_of_chaos(act.shtanh(a), sigma_b2=1e-4), 5
    x = np.array([1e-300, 1e-200, 1e-120])
    outside = special.erfc(a / np.sqrt(2 * net.q))
    inside, power = 1 - outside, 1 if weights == "gaussian" else 1 - depth
    log_w = (np.log(inside) - power * np.log(outside) + np.log(x)) / depth + np.log(inside)
    expected = np.sin(np.pi / depth) * np.exp(log_w - np.log(x)) / np.pi
    np.testing.assert_allclose(spectrum.density(net, depth, x, weights=weights), expected, rtol=1e-8)

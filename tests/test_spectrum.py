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
    """Mass, mean and variance of the whole law: atoms and density, x = end exp(-t^2), which smooths the square root."""
    zero, top, position = spectrum.atoms(net, depth, weights=weights)
    end, (node, weight) = spectrum.edge(net, depth, weights=weights), np.polynomial.legendre.leggauss(400)
    reach = np.sqrt(
        min(30 * depth, 690)
    )  # x falls to end exp(-reach^2), and below it the density is C x^(1 / depth - 1)
    t = 0.5 * reach * (node + 1)
    x = end * np.exp(-t * t)
    mass = spectrum.density(net, depth, x, weights=weights) * x * reach * weight * t
    lowest = end * np.exp(-reach * reach)
    rest = depth * lowest * spectrum.density(net, depth, lowest, weights=weights)
    mean = top * position + np.sum(mass * x)
    return zero + top + np.sum(mass) + rest, mean, top * position**2 + np.sum(mass * x**2) - mean**2


@pytest.mark.parametrize("weights", sampling.WEIGHTS)
@pytest.mark.parametrize(("a", "depth"), CASES)
def test_mass_mean_and_variance_are_one_one_and_equation_13(a, depth, weights):
    net = network(a)
    mass, mean, variance = moments(net, depth, weights)
    assert mass == pytest.approx(1.0, abs=1e-11)
    assert mean == pytest.approx(1.0, abs=1e-11)
    assert variance == pytest.approx(isometry.jacobian_variance(net, depth, weights=weights), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("a", [0.2, 1.0, 3.0])
def test_two_layers_are_two_free_projections(a):
    """The product of two free projections of trace B: its law is known, and x is its value over B^2."""
    net = network(a)
    inside = 1 - spectrum.atoms(net, 2)[0]
    x = spectrum.edge(net, 2) * np.array([1e-12, 1e-3, 0.3, 0.9, 0.999])
    value, end = x * inside**2, 4 * inside * (1 - inside)
    expected = inside**2 * np.sqrt(value * (end - value)) / (2 * np.pi * value * (1 - value))
    np.testing.assert_allclose(spectrum.density(net, 2, x), expected, rtol=1e-12)


def log_z_slopes(m, inside, depth, weights):
    """d ln z / d M and the second derivative, of the equation at the top of the module."""
    power = 1 if weights == "gaussian" else 1 - depth
    factors = [(power, 1 + m), (-1, m), (depth, m + inside)]
    return sum(p / f for p, f in factors), -sum(p / f**2 for p, f in factors)


@pytest.mark.parametrize("weights", sampling.WEIGHTS)
@pytest.mark.parametrize(("a", "depth"), CASES)
def test_at_the_edge_the_slope_of_z_is_zero_and_the_density_a_square_root(a, depth, weights):
    net = network(a)
    inside, end = 1 - spectrum.atoms(net, depth)[0], spectrum.edge(net, depth, weights=weights)
    if weights == "gaussian":
        m = (1 - depth + np.sqrt((depth - 1) ** 2 + 4 * depth * inside)) / (2 * depth)
    else:
        m = inside / (depth * (1 - inside) - 1)
    first, second = log_z_slopes(m, inside, depth, weights)
    assert abs(first * m) < 1e-9
    # ln z - ln(end) = second (M - m)^2 / 2, so |Im M| = sqrt(2 distance / second), to order distance.
    x, expected = end * (1 - 1e-8), np.sqrt(2e-8 / second) / (np.pi * end)
    assert spectrum.density(net, depth, x, weights=weights) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("depth", "distance", "expected"),
    [
        # Newton's method on the equation at 60 digits, along z = x exp(i angle) from the negative axis down to angle 0.
        (5, 1e-4, 0.5259024397934589),
        (5, 1e-6, 0.057301089435689),
        (5, 1e-8, 0.005735246746559809),
        (2, 1e-8, 2.9333487370647676e-05),
    ],
)
def test_density_close_to_the_edge(depth, distance, expected):
    net = network(1.0)
    x = spectrum.edge(net, depth) * (1 - distance)
    assert spectrum.density(net, depth, x) == pytest.approx(expected, rel=1e-15 * depth / distance)


@pytest.mark.parametrize("weights", sampling.WEIGHTS)
def test_far_beyond_the_edge_and_far_below_it_nothing_overflows(weights):
    net, far = network(1.0), np.array([1e50, 1e150, 1e308])
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(spectrum.density(net, 5, far, weights=weights), 0.0)
        assert np.isfinite(spectrum.density(net, 40, np.geomspace(1e-305, 1e300, 50), weights=weights)).all()
        assert spectrum.density(net, 5, [[0.5], [0.6]], weights=weights).shape == (2, 1)
        assert spectrum.density(net, 5, [], weights=weights).shape == (0,)


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

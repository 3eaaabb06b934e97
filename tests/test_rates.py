"""Appendix B.6: the constants with which correlations converge on the edge of chaos, and the map iterated."""

from __future__ import annotations

import numpy as np
import pytest
from zoo import label

from afli import activations as act
from afli import gaussian, rates
from afli import meanfield as mf
from afli.activations import Activation


@pytest.mark.parametrize("sigma_b2", [0.01, 0.3])
def test_the_curvature_of_erf_in_closed_form(sigma_b2):
    """R'' (1) from the kernel 2 / pi arcsin(s rho), s = 2 q / (1 + 2 q): sigma_w2 / q 2 / pi s^3 / (1 - s^2)^1.5."""
    net = mf.edge_of_chaos(act.erf(), sigma_b2=sigma_b2)
    s = 2 * net.q / (1 + 2 * net.q)
    exact = net.sigma_w2 / net.q * 2 / np.pi * s**3 / (1 - s**2) ** 1.5
    assert rates.curvature(net) == pytest.approx(exact, rel=1e-10)


def test_the_curvature_of_elu_whose_second_derivative_jumps():
    """E phi''^2 = E[exp(2 U); U < 0]."""
    from scipy import special

    net = mf.edge_of_chaos(act.elu(), sigma_b2=0.1)
    exact = net.sigma_w2 * net.q * np.exp(2 * net.q) * special.ndtr(-2 * np.sqrt(net.q))
    assert rates.curvature(net) == pytest.approx(exact, rel=1e-10)
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


SECOND_DERIVATIVES = [
    (act.tanh(), lambda u: 2 * np.tanh(u) / np.cosh(u) ** 2),
    (act.sin(), np.sin),
    (act.gelu(), lambda u: (2 - u * u) * gaussian.normal_density(u)),
    (act.softsign(), lambda u: 2 / (1 + np.abs(u)) ** 3),
    (act.from_callable(np.arctan), lambda u: 2 * u / (1 + u * u) ** 2),
]


@pytest.mark.parametrize(
    ("phi", "second"), SECOND_DERIVATIVES, ids=lambda p: label(p) if isinstance(p, Activation) else ""
)
@pytest.mark.parametrize("q", [1e-4, 0.7, 300.0])
def test_the_curvature_is_the_mean_square_of_a_second_derivative_written_out(phi, second, q):
    net = mf.critical_at(phi, q=q)
    exact = net.sigma_w2 * q * gaussian.expectation(lambda u: second(u) ** 2, q, kinks=phi.kinks)
    assert rates.curvature(net) == pytest.approx(exact, rel=1e-8)


@pytest.mark.parametrize("a", [1e-90, 1e-6, 1e-3, 1e3, 1e6, 1e90])
@pytest.mark.parametrize(
    "phi", [act.tanh(), act.softsign(), act.elu(), act.shtanh(2.1), act.ssine(1.0), act.relu6()], ids=label
)
def test_no_rate_depends_on_the_unit_of_length(phi, a):
    one, stretched = mf.critical_at(phi, q=4.0), mf.critical_at(act.scaled(phi, a), q=4.0 * a * a)
    np.testing.assert_allclose(rates.slope_jumps(stretched.phi), rates.slope_jumps(phi), rtol=1e-9)
    assert rates.kink_constant(stretched) == pytest.approx(rates.kink_constant(one), rel=1e-9)
    distance = [rates.predicted_distance(net, 0.2, [0, 10, 100]) for net in (one, stretched)]
    np.testing.assert_allclose(distance[1], distance[0], rtol=1e-9)
    if not rates.slope_jumps(phi).any():
        assert rates.curvature(stretched) == pytest.approx(rates.curvature(one), rel=1e-9)


@pytest.mark.parametrize("k", [1e-70, 1e-10, 1e70])
def test_the_kink_constant_does_not_depend_on_the_slope(k):
    net, steep = (mf.edge_of_chaos(act.shtanh(1.0, k=s), sigma_b2=0.1) for s in (1.0, k))
    assert rates.slope_jumps(steep.phi).tolist() == [k, -k]
    assert rates.kink_constant(steep) == pytest.approx(rates.kink_constant(net), rel=1e-12)


def test_a_jump_beside_another_kink_and_between_curved_pieces():
    """sin z with a step of height 0.002 on [1, 1.001], slopes 2 up and down again."""
    f = lambda z: np.sin(z) + np.abs(z - 1.0) - np.abs(z - 1.001)  # noqa: E731
    df = lambda z: np.cos(z) + np.sign(z - 1.0) - np.sign(z - 1.001)  # noqa: E731
    phi = act.from_callable(f, df, kinks=[1.0, 1.001])
    np.testing.assert_allclose(rates.slope_jumps(phi), [2.0, -2.0], rtol=1e-9)


@pytest.mark.parametrize("phi", [act.relu(), act.shtanh(2.0), act.selu(), act.hardswish()], ids=label)
def test_the_curvature_is_infinite_where_the_slope_jumps(phi):
    with pytest.raises(ValueError, match=r"^net must have a phi' without jumps.*infinite"):
        rates.curvature(mf.critical_at(phi, q=1.0))


def test_a_line_has_no_curvature():
    net = mf.edge_of_chaos(act.linear(), sigma_b2=0.0)
    assert rates.curvature(net) == 0.0
    assert rates.kink_constant(net) == 0.0
    assert rates.predicted_distance(net, 0.2, 1e6) == 0.8


NET = mf.edge_of_chaos(act.tanh(), sigma_b2=0.1)
OFF = mf.MeanField(act.tanh(), sigma_w2=1.0, sigma_b2=0.1)


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda: rates.slope_jumps(np.tanh), TypeError, "phi"),
        (lambda: rates.curvature(None), TypeError, "net"),
        (lambda: rates.kink_constant(act.tanh()), TypeError, "net"),
        (lambda: rates.predicted_distance(None, 0.2, 3), TypeError, "net"),
        (lambda: rates.predicted_distance(OFF, 0.2, 3), ValueError, "net"),
        (lambda: rates.predicted_distance(NET, 1.0, 3), ValueError, "rho0"),
        (lambda: rates.predicted_distance(NET, 2.0, 3), ValueError, "rho0"),
        (lambda: rates.predicted_distance(NET, np.nan, 3), ValueError, "rho0"),
        (lambda: rates.predicted_distance(NET, [0.1, 0.2], 3), TypeError, "rho0"),
        (lambda: rates.predicted_distance(NET, 0.2, np.nan), ValueError, "depth"),
        (lambda: rates.predicted_distance(NET, 0.2, -5), ValueError, "depth"),
        (lambda: rates.predicted_distance(NET, 0.2, None), TypeError, "depth"),
        (lambda: rates.predicted_distance(NET, 0.2, "10"), TypeError, "depth"),
        (lambda: rates.predicted_distance(NET, 0.2, True), TypeError, "depth"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, error, named):
    with pytest.raises(error, match=rf"^{named}\b"):
        call()


@pytest.mark.parametrize("phi", [act.tanh(), act.relu()], ids=label)
def test_after_endless_layers_nothing_is_left_also_where_numpy_raises(phi):
    with np.errstate(all="raise"):
        net = mf.edge_of_chaos(phi, sigma_b2=0.0 if phi.is_homogeneous else 0.1)
        assert rates.predicted_distance(net, -1.0, [0.0, 1e300])[1] < 1e-299

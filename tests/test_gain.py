"""Which gain for my activation: the numbers that people look for, and whether a deep network can use them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from typer.testing import CliRunner

from afli import activations as act
from afli import errors
from afli import meanfield as mf
from afli.cli import app
from afli.gain import attracting_bias_variance, gain


@pytest.mark.parametrize(("phi", "smallest"), [("gelu", 0.173), ("silu", 0.555), ("mish", 0.095), ("hardswish", 0.507)])
def test_the_smallest_attracting_bias_variance_is_where_the_slope_of_v_passes_1(phi, smallest):
    phi = act.get(phi)
    found = attracting_bias_variance(phi)
    assert found == pytest.approx(smallest, abs=6e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        slopes = [mf.edge_of_chaos(phi, sigma_b2=f * found).variance_slope - 1 for f in (0.9, 1.0, 1.1)]
    assert slopes[0] > 1e-4 > abs(slopes[1])
    assert slopes[2] < -1e-4


def test_where_every_point_attracts_the_smallest_is_zero_and_where_none_does_there_is_an_error():
    assert attracting_bias_variance(act.tanh()) == attracting_bias_variance(act.relu()) == 0.0
    with pytest.raises(errors.NoFixedPointError, match="softplus attracts at no bias variance"):
        attracting_bias_variance(act.softplus())


def test_the_gain_makes_chi_1_one_and_the_input_scale_gives_q_star():
    found = gain("tanh", sigma_b2=0.1)
    z = np.random.default_rng(0).normal(size=10**6)
    assert found.gain**2 * np.mean(act.tanh().derivative(np.sqrt(found.net.q) * z) ** 2) == pytest.approx(1, abs=0.005)
    assert found.gain**2 * found.input_mean_square + 0.1 == pytest.approx(found.net.q)
    assert found.layers_until_alike == found.net.layers_until(0.99, rho0=0.2)


def test_the_edge_of_chaos_warns_its_caller_where_it_repels():
    with pytest.warns(errors.RepellingPointWarning, match=r"gelu at sigma_b2 = 0\.01 repels") as caught:
        net = mf.edge_of_chaos(act.gelu(), sigma_b2=0.01)
    assert caught[0].filename == __file__
    assert not net.attracts
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mf.edge_of_chaos(act.gelu(), sigma_b2=0.2).attracts
        gain("gelu")  # which says so in its own way


def test_the_shell_says_gain_input_scale_and_where_the_point_attracts():
    result = CliRunner().invoke(app, ["gain", "gelu"])
    assert result.exit_code == 0
    assert "1.44107" in result.output
    assert "no   (V'(q*) = 1.037)" in result.output
    assert "edge of chaos, sigma_b2 = 0.1729" in result.output
    assert "yes   (V'(q*) = 1)" in result.output


def test_the_shell_takes_parameters_and_names_mistakes():
    runner = CliRunner()
    assert "shtanh(a=2)" in runner.invoke(app, ["gain", "shtanh:a=2", "--sigma-b2", "0.01"]).output
    for arguments, complaint in (
        (["gain", "geluu"], "family must be one of"),
        (["gain", "relu", "--sigma-b2", "1"], ""),
    ):
        result = runner.invoke(app, arguments)
        assert result.exit_code == 1
        assert complaint in result.output
        assert result.output.startswith("error: ")


@pytest.mark.parametrize("phi", [act.get(f) for f in (
    "gelu_tanh", "mish", "hardswish", "relu6", "softshrink", "hardsigmoid", "logsigmoid", "snake", "hardtanh"
)], ids=lambda phi: phi.name)  # fmt: skip
def test_derivatives_of_the_activations_of_libraries(phi):
    z = np.linspace(-8, 8, 1602)
    for kink in phi.kinks:
        z = z[np.abs(z - kink) > 1e-3]
    differences = (phi(z + 1e-6) - phi(z - 1e-6)) / 2e-6
    np.testing.assert_allclose(phi.derivative(z), differences, atol=1e-8)
    assert phi.slope == pytest.approx(float(phi.derivative(0.0)), abs=1e-15)
    if np.isfinite(phi.bound):
        assert np.abs(phi(100 * z)).max() <= phi.bound
    if phi.piece_slopes is not None:
        edges = [phi.kinks[0] - 1, *phi.kinks, phi.kinks[-1] + 1]
        middles = 0.5 * (np.array(edges[1:]) + edges[:-1])
        np.testing.assert_allclose(phi.derivative(middles), phi.piece_slopes)


def test_names_of_activations_are_found_in_capitals_and_by_their_other_names():
    assert act.get("Tanh") == act.tanh()
    assert act.get("SiLU") == act.get("swish") == act.silu()


def test_a_square_on_one_side_attracts_at_no_bias_variance():
    """phi = z max(z, 0): E phi^2 = 3 q^2 / 2, E phi'^2 = 2 q, so q* = 4 sigma_b2, sigma_w2 = 1 / (2 q*), V' = 3/2."""
    phi = act.from_callable(lambda z: z * np.maximum(z, 0), lambda z: 2 * np.maximum(z, 0), (0.0,))
    found = gain(phi, sigma_b2=0.05)
    assert (found.net.q, found.gain) == pytest.approx((0.2, np.sqrt(2.5)), rel=1e-12)
    assert found.net.variance_slope == pytest.approx(1.5, rel=1e-12)
    assert np.isnan(found.attracting_sigma_b2)
    assert "q* attracts at no sigma_b2" in str(found)


def test_a_linear_network_never_makes_inputs_alike():
    found = gain("linear")
    assert (found.gain, found.layers_until_alike, found.attracts) == (pytest.approx(1.0), None, True)
    assert "inputs 99% alike     never" in str(found)

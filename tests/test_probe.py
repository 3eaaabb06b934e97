"""The probe: sampled wide networks behave as the theory of infinite width says, layer by layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from afli import activations as act
from afli import data
from afli.networks.init import WEIGHTS, edge_of_chaos_
from afli.networks.modules import mlp
from afli.networks.probe import jacobian_singular_values, plot, signal_propagation

WIDTH, DEPTH = 300, 6


def network(phi, sigma_b2, weights, seed=0):
    """A critical network and 24 inputs that pairwise start with correlations around 0.3."""
    g = torch.Generator().manual_seed(seed)
    model = mlp(DEPTH, WIDTH, in_features=WIDTH, out_features=WIDTH, activation=phi).double()
    net = edge_of_chaos_(model, phi, sigma_b2=sigma_b2, weights=weights, generator=g)
    x = torch.randn(24, WIDTH, generator=g, dtype=torch.float64) + 0.6
    x = x / x.square().mean(1, keepdim=True).sqrt()
    return model, net, x * data.input_scale("sphere", q=net.q, sigma_w2=net.sigma_w2, sigma_b2=sigma_b2)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("phi", [act.shtanh(2.0), act.tanh(), act.ssine(1.5)], ids=lambda phi: phi.name)
def test_measured_propagation_follows_the_theory(phi, weights):
    """Mean of five networks: one Gaussian network of this width strays by 5% from the infinite one."""
    tables = []
    for seed in range(5):
        model, net, x = network(phi, 0.1, weights, seed)
        tables.append(signal_propagation(model, x, theory=net, weights=weights))
    table = sum(tables) / len(tables)
    assert list(table["layer"]) == list(range(1, DEPTH + 2))
    np.testing.assert_allclose(table["q"], table["q_theory"], rtol=0.1)
    np.testing.assert_allclose(table["rho"], table["rho_theory"], atol=0.05)
    np.testing.assert_allclose(table["chi1"][1:], 1, atol=0.03)
    np.testing.assert_allclose(table["jacobian_mean"][1:], table["jacobian_mean_theory"][1:], rtol=0.1)
    np.testing.assert_allclose(table["jacobian_variance"][1:], table["jacobian_variance_theory"][1:], rtol=0.15)


def test_the_spread_is_far_smaller_with_orthogonal_weights():
    spread = {
        weights: signal_propagation(*network(act.shtanh(2.0), 0.1, weights)[::2])["jacobian_variance"].iloc[-1]
        for weights in WEIGHTS
    }
    assert spread["orthogonal"] < spread["gaussian"] / 5


def test_a_linear_orthogonal_network_is_an_isometry():
    model, _, x = network(act.linear(), 0.0, "orthogonal")
    np.testing.assert_allclose(jacobian_singular_values(model, x[0]), 1, atol=1e-12)


def test_singular_values_are_those_of_the_product_of_layers():
    model, _, x = network(act.shtanh(1.0), 0.1, "gaussian")
    linear = [m for m in model if isinstance(m, nn.Linear)]
    phi, product = act.shtanh(1.0), np.eye(WIDTH)
    h = linear[0](x[0]).detach().numpy()
    for m in linear[1:]:
        weight, bias = m.weight.detach().numpy(), m.bias.detach().numpy()
        product = weight * phi.derivative(h) @ product
        h = weight @ phi(h) + bias
    expected = np.linalg.svd(product, compute_uv=False)
    np.testing.assert_allclose(jacobian_singular_values(model, x[0]), expected, atol=1e-9 * expected[0])


def test_correlation_is_the_mean_over_pairs():
    model = nn.Sequential(nn.Linear(2, 2, bias=False)).double()
    model[0].weight.data = torch.eye(2, dtype=torch.float64)
    table = signal_propagation(model, torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]], dtype=torch.float64))
    assert table["rho"][0] == pytest.approx((0 + 2 * 0.5**0.5) / 3)
    assert table["q"][0] == pytest.approx((1 + 4 + 18) / 6)


def test_any_model_of_linear_layers_can_be_probed():
    model = nn.Sequential(
        nn.Linear(30, 50), nn.LayerNorm(50), nn.GELU(), nn.Dropout(0.0), nn.Linear(50, 20), nn.ELU(), nn.Linear(20, 5)
    )
    table = signal_propagation(model, torch.randn(40, 30, generator=torch.Generator().manual_seed(0)))
    assert len(table) == 3
    assert np.isfinite(table[["q", "rho"]].to_numpy()).all()
    assert not any(module._forward_hooks for module in model.modules())


def test_the_plot_has_a_labelled_panel_each_for_q_rho_and_the_jacobian():
    import matplotlib

    matplotlib.use("agg")
    model, net, x = network(act.tanh(), 0.1, "orthogonal")
    figure = plot(signal_propagation(model, x, theory=net))
    assert [len(axis.lines) for axis in figure.axes] == [2, 2, 2]
    assert all(axis.get_xlabel() == "layer $l$" and axis.get_ylabel() for axis in figure.axes)


def test_wrong_inputs_are_named():
    with pytest.raises(ValueError, match=r"at least one nn\.Linear"):
        signal_propagation(nn.ReLU(), torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"batch of at least 2, got shape \(1, 2\)"):
        signal_propagation(nn.Linear(2, 2), torch.zeros(1, 2))

"""The probe: sampled wide networks behave as the theory of infinite width says, layer by layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from afli import activations as act
from afli import data
from afli.networks import lessons
from afli.networks.init import WEIGHTS, edge_of_chaos_
from afli.networks.modules import mlp
from afli.networks.probe import jacobian_singular_values, preactivations, signal_propagation

WIDTH, DEPTH = 300, 6


def network(phi, sigma_b2, weights, seed=0):
    """A critical network and 24 inputs that pairwise start with correlations around 0.3."""
    g = torch.Generator().manual_seed(seed)
    model = mlp(DEPTH, WIDTH, in_features=WIDTH, out_features=WIDTH, activation=phi).double()
    net = edge_of_chaos_(model, phi, sigma_b2=sigma_b2, weights=weights, generator=g)
    x = torch.randn(24, WIDTH, generator=g, dtype=torch.float64) + 0.6
    x = x / x.square().mean(1, keepdim=True).sqrt()
    return model, net, x * data.input_scale("sphere", q=net.q, sigma_w2=net.sigma_w2, sigma_b2=sigma_b2)


@pytest.mark.slow
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


@pytest.mark.slow
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


def autograd_jacobian(model, layers, x, row=0):
    """d layers[1] / d layers[0] for one row of x, from the outputs of two modules of the model."""
    seen = {}
    hooks = [m.register_forward_hook(lambda m, a, out: seen.__setitem__(m, out)) for m in layers]
    model(x)
    for hook in hooks:
        hook.remove()
    first, last = (seen[m] for m in layers)
    rows = [torch.autograd.grad(last[row, i], first, retain_graph=True)[0][row] for i in range(last.shape[1])]
    return torch.stack(rows).detach()


def test_the_jacobian_of_a_residual_network_is_that_of_the_model():
    """Not the product along the branches, which for 50 blocks is 10^-85."""
    model = lessons.stack([16] + [16] * 50 + [10], nn.ReLU, gain=2**0.5, shortcut=50**-0.5).double()
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.linalg.svdvals(autograd_jacobian(model, [model[0].block[0], model[-1]], x)) ** 2
    table = signal_propagation(model, x)
    assert table["jacobian_mean"].iloc[-1] == pytest.approx(float(expected.mean()), rel=1e-9)
    assert table["jacobian_variance"].iloc[-1] == pytest.approx(float(expected.var(correction=0)), rel=1e-9)
    np.testing.assert_allclose(jacobian_singular_values(model, x[0]) ** 2, expected, rtol=1e-9)
    assert 0.1 < table["jacobian_mean"].iloc[-1] < 1000


def normalised_network():
    torch.manual_seed(0)
    layers = [m for _ in range(4) for m in (nn.Linear(12, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3))]
    return nn.Sequential(*layers, nn.Linear(12, 5)), torch.randn(20, 12)


def test_probing_leaves_the_model_as_it_was():
    model, x = normalised_network()
    model(x).sum().backward()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    gradients = [p.grad.clone() for p in model.parameters()]
    state = torch.get_rng_state()
    for training in (False, True):
        signal_propagation(model, x, training=training)
        preactivations(model, x, training=training)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert x.grad is None
    assert not x.requires_grad


def test_a_model_is_measured_in_evaluation_mode_unless_told_otherwise():
    model, x = normalised_network()
    found = signal_propagation(model, x)
    model.eval()
    expected = torch.linalg.svdvals(autograd_jacobian(model, [model[0], model[-1]], x)) ** 2
    assert found["jacobian_mean"].iloc[-1] == pytest.approx(float(expected.mean()), rel=1e-4)
    assert found.equals(signal_propagation(model, x))


def test_with_batch_statistics_the_jacobian_is_that_of_each_input_to_itself():
    model, x = normalised_network()
    model = nn.Sequential(*[m for m in model if not isinstance(m, nn.Dropout)]).double()
    model.train()
    expected = torch.linalg.svdvals(autograd_jacobian(model, [model[0], model[-1]], x.double())) ** 2
    found = signal_propagation(model, x.double(), training=True)
    assert found["jacobian_mean"].iloc[-1] == pytest.approx(float(expected.mean()), rel=1e-9)
    steps = [autograd_jacobian(model, [model[0], model[3]], x.double(), i).square().sum() / 12 for i in range(20)]
    assert found["chi1"][1] == pytest.approx(float(sum(steps) / 20), rel=1e-9)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ELU, nn.LeakyReLU])
def test_activations_in_place_do_not_overwrite_what_is_measured(activation):
    tables = []
    for inplace in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(9, 9), activation(inplace=inplace), nn.Linear(9, 9)).double()
        x = torch.randn(30, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        tables.append(signal_propagation(model, x))
    np.testing.assert_allclose(tables[0], tables[1], rtol=1e-12)


def test_random_vectors_estimate_what_full_jacobians_give():
    model, _, x = network(act.tanh(), 0.1, "gaussian")
    exact, random = (signal_propagation(model, x, jacobians=kind) for kind in ("exact", "random"))
    np.testing.assert_allclose(random["chi1"][1:], exact["chi1"][1:], rtol=0.02)
    np.testing.assert_allclose(random["jacobian_mean"][1:], exact["jacobian_mean"][1:], rtol=0.2)
    assert random["jacobian_variance"].isna().all()
    assert "chi1" not in signal_propagation(model, x, jacobians="none")


def test_inputs_without_a_signal_are_left_out_of_the_correlation():
    model = nn.Sequential(nn.Linear(50, 50, bias=False), nn.ReLU(), nn.Linear(50, 50, bias=False)).double()
    x = torch.randn(4, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[1] = x[3] = 0
    expected = signal_propagation(model, x[[0, 2]])["rho"]
    np.testing.assert_allclose(signal_propagation(model, x)["rho"], expected, atol=1e-12)
    assert signal_propagation(model, 0 * x)["rho"].isna().all()
    np.testing.assert_allclose(signal_propagation(model, 1e-200 * x)["rho"], expected, atol=1e-12)


def test_layers_that_are_not_seen_are_named():
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    with pytest.warns(UserWarning, match=r"not seen: lstm \(LSTM\)"):
        assert len(signal_propagation(Recurrent(), torch.randn(3, 5, 4))) == 1


def test_a_compiled_model_is_measured_as_the_model_in_it():
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    x = torch.randn(5, 6)
    assert signal_propagation(torch.compile(model), x).equals(signal_propagation(model, x))


def test_parallel_branches_do_not_depend_on_each_other():
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.gate, self.down = (nn.Linear(8, 8) for _ in range(3))

        def forward(self, x):
            return self.down(torch.sigmoid(self.gate(x)) * self.up(x))

    table = signal_propagation(Gated(), torch.randn(4, 8))
    assert table["chi1"].isna().tolist() == [True, True, False]
    assert table.attrs["names"] == ["gate", "up", "down"]


def test_models_and_batches_of_any_shape():
    images = torch.randn(4, 1, 6, 6)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 5))
    assert signal_propagation(model, images)["jacobian_mean"].notna().tolist() == [False, True]
    tokens = nn.Sequential(nn.Embedding(7, 6), nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 3))
    with pytest.warns(UserWarning, match="not seen: 0"):
        assert len(signal_propagation(tokens, torch.randint(7, (3, 5)))) == 2
    with torch.inference_mode():
        made_there = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
        assert signal_propagation(made_there, torch.randn(3, 3))["chi1"].notna()[1]


def test_the_kind_of_weights_is_looked_at():
    for weights in WEIGHTS:
        model, net, x = network(act.tanh(), 0.1, weights)
        by_itself = signal_propagation(model, x[:4], theory=net, jacobians="none")
        told = signal_propagation(model, x[:4], theory=net, jacobians="none", weights=weights)
        assert by_itself.equals(told)


def test_wrong_inputs_are_named():
    with pytest.raises(ValueError, match=r"at least one nn\.Linear"):
        signal_propagation(nn.ReLU(), torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"batch of at least 2, got shape \(1, 2\)"):
        signal_propagation(nn.Linear(2, 2), torch.zeros(1, 2))
    with pytest.raises(TypeError, match="x must be a torch tensor"):
        signal_propagation(nn.Linear(2, 2), np.zeros((3, 2)))
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module"):
        signal_propagation(torch.relu, torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"x must be finite"):
        signal_propagation(nn.Linear(2, 2), torch.full((3, 2), float("nan")))
    with pytest.raises(ValueError, match=r"dtype of the model, torch\.float64, got torch\.float32"):
        signal_propagation(nn.Linear(2, 2).double(), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="weights must be 'gaussian' or 'orthogonal', got 'orthgonal'"):
        signal_propagation(nn.Linear(2, 2), torch.zeros(3, 2), weights="orthgonal")
    with pytest.raises(ValueError, match=r"0\.weight has no shape yet"):
        signal_propagation(nn.Sequential(nn.LazyLinear(3)), torch.zeros(3, 2))
    with pytest.warns(UserWarning, match="under no_grad"):
        signal_propagation(WithoutGraph(), torch.zeros(3, 2))


class WithoutGraph(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

    @torch.no_grad()
    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


class Patches(nn.Module):
    """Layers that see (batch * patches, features), or (patches, batch, features)."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.order, self.first, self.second, self.last = order, nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        rows = x.flatten(0, 1) if self.order == "batch" else x.transpose(0, 1)
        h = torch.tanh(self.second(torch.tanh(self.first(rows))))
        return self.last(h.reshape(len(x), -1, 8).mean(1) if self.order == "batch" else h.mean(0))


def test_patches_in_one_batch_belong_to_their_inputs():
    torch.manual_seed(0)
    model, x = Patches("batch").double(), torch.randn(4, 5, 6, dtype=torch.float64)
    layers = preactivations(model, x)
    assert [tuple(h.shape) for h in layers] == [(4, 5, 8), (4, 5, 8), (4, 3)]
    table = signal_propagation(model, x)
    second, last = layers[1:]
    expected = [
        sum(float(torch.autograd.grad(last[i, k], second, retain_graph=True)[0].square().sum()) for k in range(3)) / 3
        for i in range(4)
    ]
    np.testing.assert_allclose(table["chi1"][2], np.mean(expected), rtol=1e-12)


def test_rows_that_are_not_those_of_the_batch_are_not_taken_for_it():
    x = torch.randn(4, 5, 6)
    with pytest.warns(UserWarning, match=r"not seen: first \(Linear, whose rows are not those of the batch\), second"):
        assert signal_propagation(Patches("patches"), x).attrs["names"] == ["last"]
    with pytest.warns(UserWarning, match=r"not seen: first \(Linear, whose rows"):  # 8 = 2 * 4 rows, in another order
        assert signal_propagation(Patches("patches"), torch.randn(4, 8, 6)).attrs["names"] == ["last"]


def test_a_theory_is_a_mean_field():
    with pytest.raises(TypeError, match="theory must be a MeanField"):
        signal_propagation(nn.Linear(2, 2), torch.randn(3, 2), theory=act.tanh())


def test_buffers_that_two_modules_share_stay_shared():
    class Counts(nn.Module):
        def __init__(self, total: torch.Tensor) -> None:
            super().__init__()
            self.register_buffer("total", total)

        def forward(self, x):
            self.total += 1
            return x * self.total

    total = torch.zeros(())
    layer = nn.Linear(2, 2, bias=False)
    model = nn.Sequential(Counts(total), Counts(total), layer)
    x = torch.randn(3, 2)
    np.testing.assert_allclose(preactivations(model, x)[0].detach(), 2 * layer(x).detach(), rtol=1e-6)
    assert float(total) == 0


def test_what_autograd_cannot_do_is_said_in_words():
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self, reentrant: bool) -> None:
            super().__init__()
            self.reentrant, self.first, self.last = reentrant, nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.last(checkpoint(torch.tanh, self.first(x), use_reentrant=self.reentrant))

    x = torch.randn(3, 2)
    with pytest.raises(ValueError, match=r"autograd cannot differentiate the model: .*use_reentrant=True"):
        signal_propagation(Checkpointed(True), x)
    assert signal_propagation(Checkpointed(False), x)["chi1"].notna()[1]

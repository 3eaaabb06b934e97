"""Initialisation: every layer, of any shape, keeps the variance, and the network starts on the edge of chaos."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from afli import activations as act
from afli import data, errors
from afli import meanfield as mf
from afli.networks.init import WEIGHTS, edge_of_chaos_, standard_kernel, standard_weights
from afli.networks.modules import Elementwise, mlp
from afli.networks.probe import preactivations


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs(net, count: int, features: int) -> torch.Tensor:
    """Random inputs of the norm at which layer 1 has variance q*."""
    x = torch.randn(count, features, generator=generator(7), dtype=torch.float64)
    x = x / x.square().mean(1, keepdim=True).sqrt()
    return x * data.input_scale("sphere", q=net.q, sigma_w2=net.sigma_w2, sigma_b2=net.sigma_b2)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("n_in", "n_out"), [(256, 1024), (1024, 256), (300, 300), (300, 10)])
def test_every_shape_of_layer_keeps_the_variance_per_unit(weights, n_in, n_out):
    z = torch.randn(200, n_in, generator=generator(1), dtype=torch.float64)
    out = z @ standard_weights(n_out, n_in, weights, generator()).T
    assert float(out.square().mean() / z.square().mean()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("n_in", "n_out"), [(20, 20), (40, 20), (20, 40)])
def test_orthogonal_weights_are_orthogonal(n_in, n_out):
    w = standard_weights(n_out, n_in, "orthogonal", generator())
    square = w @ w.T if n_out <= n_in else w.T @ w * (n_in / n_out)
    np.testing.assert_allclose(square, np.eye(min(n_in, n_out)), atol=1e-13)


def test_orthogonal_weights_are_haar_distributed():
    """Under Haar measure every entry is symmetric about 0, and the trace of an n x n matrix has mean 0 and variance 1.

    The bare Q of a QR decomposition fails this: LAPACK makes its diagonal signs one-sided.
    """
    g = generator(3)
    draws = torch.stack([standard_weights(4, 4, "orthogonal", g) for _ in range(4000)])
    trace = torch.einsum("kii->k", draws)
    assert abs(float(trace.mean())) < 4 / 4000**0.5
    assert float(trace.var()) == pytest.approx(1, abs=0.1)
    assert float(draws.mean(0).abs().max()) < 4.5 * 0.5 / 4000**0.5
    bare = torch.stack([torch.linalg.qr(torch.randn(4, 4, generator=g, dtype=torch.float64)).Q for _ in range(4000)])
    assert abs(float(torch.einsum("kii->k", bare).mean())) > 0.1


def test_both_kinds_of_weights_come_from_the_same_normal_numbers():
    gaussian = standard_weights(5, 5, "gaussian", generator(2))
    q, r = torch.linalg.qr(gaussian)
    np.testing.assert_allclose(
        standard_weights(5, 5, "orthogonal", generator(2)), q * torch.sign(torch.diagonal(r)), atol=1e-13
    )


@pytest.mark.slow
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(
    ("phi", "sigma_b2"),
    [(act.shtanh(2.0), 0.1), (act.ssaw(1.0), 0.01), (act.tanh(), 0.1), (act.elu(), 0.1), (act.relu(), 0.0)],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_wide_network_stays_at_q_star_through_layers_of_changing_width(phi, sigma_b2, weights):
    sizes = [256, 1024, 512, 1024, 512]
    model = nn.Sequential(
        *[m for i, o in pairwise(sizes) for m in (nn.Linear(i, o), Elementwise(phi))], nn.Linear(512, 512)
    )
    model.double()
    variances = []
    for seed in range(5):
        net = edge_of_chaos_(model, phi, sigma_b2=sigma_b2, weights=weights, generator=generator(seed))
        variances.append([float(h.detach().square().mean()) for h in preactivations(model, inputs(net, 40, 256))])
    np.testing.assert_allclose(np.mean(variances, axis=0), net.q, rtol=0.1)


def test_it_answers_what_gain_for_gelu_and_warns_that_its_variance_drifts():
    model = mlp(2, 16, in_features=16, out_features=4, activation=act.gelu())
    with pytest.warns(UserWarning, match=r"gelu at sigma_b2 = 0\.02 repels"):
        net = edge_of_chaos_(model, act.gelu(), sigma_b2=0.02, generator=generator())
    mean_square_slope = np.mean(
        act.gelu().derivative(np.sqrt(net.q) * np.random.default_rng(0).normal(size=10**6)) ** 2
    )
    assert net.sigma_w2 * mean_square_slope == pytest.approx(1, abs=0.005)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = mlp(2, 16, in_features=16, out_features=4, activation=act.elu())
        edge_of_chaos_(other, act.elu(), sigma_b2=0.1, generator=generator())


def test_the_same_generator_gives_the_same_network():
    first, second = (mlp(2, 8, in_features=4, out_features=3, activation=act.tanh()) for _ in range(2))
    for model in (first, second):
        edge_of_chaos_(model, act.tanh(), sigma_b2=0.1, generator=generator(9))
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))


def test_a_small_head_makes_small_logits():
    model = mlp(2, 256, in_features=64, out_features=10, activation=act.shtanh(5.0)).double()
    net = edge_of_chaos_(model, act.shtanh(5.0), sigma_b2=1.0, head_variance=1e-4, generator=generator())
    *_, logits = preactivations(model, inputs(net, 50, 64))
    assert float(logits.detach().square().mean()) < 1e-3 * net.q
    assert not model[-1].bias.any()


def test_models_that_the_theory_does_not_cover_are_refused():
    convolution = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"nn\.Linear layers only, found 0\.weight"):
        edge_of_chaos_(convolution, act.tanh(), sigma_b2=0.1)
    with pytest.raises(ValueError, match=r"at least one nn\.Linear"):
        edge_of_chaos_(nn.ReLU(), act.relu(), sigma_b2=0.0)
    without_biases = nn.Sequential(nn.Linear(4, 4, bias=False), nn.PReLU(), nn.Linear(4, 2, bias=False))
    with pytest.raises(ValueError, match=r"the model's activation, leaky_relu\(slope=0.25\), got tanh"):
        edge_of_chaos_(without_biases, act.tanh(), sigma_b2=0.1)
    assert edge_of_chaos_(without_biases, act.leaky_relu(0.25), sigma_b2=0.0).sigma_w2 == pytest.approx(
        2 / (1 + 0.25**2)
    )
    with pytest.raises(errors.NoFixedPointError):
        edge_of_chaos_(nn.Linear(4, 4), act.relu(), sigma_b2=0.1)
    with pytest.raises(ValueError, match="weights must be 'orthogonal' or 'gaussian', got"):
        edge_of_chaos_(nn.Linear(4, 4), act.tanh(), sigma_b2=0.1, weights="uniform")
    with pytest.raises(ValueError, match=r"head_variance must be .*, got -1"):
        edge_of_chaos_(nn.Linear(4, 4), act.tanh(), sigma_b2=0.1, head_variance=-1)
    with pytest.raises(TypeError, match="sigma_b2"):
        edge_of_chaos_(nn.Linear(4, 4), act.tanh(), sigma_b2=[0.1, 0.2])
    with pytest.raises(ValueError, match=r"sigma_b2 must be a number or 'attracting', got '0\.1'"):
        edge_of_chaos_(nn.Linear(4, 4), act.tanh(), sigma_b2="0.1")


def test_without_biases_the_variance_is_chosen_in_their_place():
    model = nn.Sequential(*[m for _ in range(20) for m in (nn.Linear(300, 300, bias=False), nn.Tanh())]).double()
    with pytest.raises(ValueError, match=r"needs a bias .* choose the variance .* q=0\.1"):
        edge_of_chaos_(model, sigma_b2=0.1)
    with pytest.raises(errors.NoFixedPointError, match=r"choose the variance in its place: q=0\.1"):
        edge_of_chaos_(model, sigma_b2=0.0)
    net = edge_of_chaos_(model, q=0.1, generator=generator())
    assert (net.q, net.sigma_b2) == (pytest.approx(0.1, rel=1e-9), 0)
    assert net.chi1 == pytest.approx(1.0084, abs=1e-4)
    variances = [float(h.detach().square().mean()) for h in preactivations(model, inputs(net, 20, 300))]
    np.testing.assert_allclose(variances, 0.1, rtol=0.1)
    with pytest.raises(errors.NoFixedPointError, match="gelu does not return to q=0"):
        edge_of_chaos_(mlp(2, 8, in_features=8, out_features=8, activation=act.gelu()), q=0.1, sigma_b2=0)
    with pytest.warns(UserWarning, match="gradients grow by"):
        edge_of_chaos_(model, q=2.0)


def test_with_biases_a_chosen_variance_is_kept():
    model = nn.Sequential(*[m for _ in range(10) for m in (nn.Linear(400, 400), nn.Tanh())]).double()
    net = edge_of_chaos_(model, q=0.5, generator=generator(1))
    variances = [float(h.detach().square().mean()) for h in preactivations(model, inputs(net, 20, 400))]
    np.testing.assert_allclose(variances, 0.5, rtol=0.1)


@pytest.mark.parametrize(("phi", "smallest"), [("gelu", 0.173), ("silu", 0.555)])
def test_on_request_the_bias_variance_is_the_smallest_that_attracts(phi, smallest):
    model = mlp(2, 8, in_features=8, out_features=8, activation=act.get(phi))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = edge_of_chaos_(model, sigma_b2="attracting")
    assert net.sigma_b2 == pytest.approx(smallest, abs=6e-4)
    assert net.variance_slope == pytest.approx(1, abs=1e-5)


def test_warnings_point_at_the_line_of_the_caller():
    model = mlp(2, 8, in_features=8, out_features=8, activation=act.gelu())
    with pytest.warns(UserWarning, match="repels") as caught:
        edge_of_chaos_(model, sigma_b2=0.01)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("layer", [
    nn.Conv1d(40, 60, 5), nn.Conv2d(16, 64, 3), nn.Conv2d(32, 32, 3, stride=2), nn.Conv2d(16, 32, 2, stride=2),
    nn.Conv3d(8, 24, 3), nn.Conv2d(32, 64, 3, groups=4), nn.Linear(100, 50),
], ids=str)  # fmt: skip
def test_every_kind_of_layer_keeps_the_variance_per_unit(layer, weights):
    """Valid patches only: at a border padded with zeros a Gaussian kernel sees less."""
    layer, ratios = layer.double(), []
    size = {2: (100,), 3: (40, 30), 4: (32, 12, 12), 5: (8, 6, 6, 6)}[layer.weight.dim()]
    shape = (8, layer.weight.shape[1] * getattr(layer, "groups", 1), *size[1:])
    for seed in range(8):
        layer.weight.data = standard_kernel(layer, weights, generator(seed))
        layer.bias.data.zero_()
        z = torch.randn(*shape, generator=generator(100 + seed), dtype=torch.float64)
        ratios.append(float(layer(z).detach().square().mean() / z.square().mean()))
    assert np.mean(ratios) == pytest.approx(1, abs=0.06)


def test_delta_orthogonal_convolutions_are_isometries_of_periodic_images():
    layer = nn.Conv2d(6, 6, 3, padding=1, padding_mode="circular", bias=False).double()
    layer.weight.data = standard_kernel(layer, "orthogonal", generator())
    z = torch.randn(3, 6, 5, 5, generator=generator(1), dtype=torch.float64)
    np.testing.assert_allclose(layer(z).detach().flatten(1).norm(dim=1), z.flatten(1).norm(dim=1), rtol=1e-12)


class PreActivation(nn.Module):
    """h + W phi(h)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)

    def forward(self, h):
        return h + self.inner(torch.tanh(h))


class PostActivation(nn.Module):
    """phi(h + W2 phi(W1 h))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, z):
        return torch.relu(z + self.second(torch.relu(self.first(z))))


def test_shortcuts_that_carry_the_sum_on_let_q_and_the_gradient_grow_by_1_over_l_a_block():
    blocks, width = 10, 600
    model = nn.Sequential(nn.Linear(width, width), *[PreActivation(width) for _ in range(blocks)]).double()
    with pytest.warns(UserWarning, match=r"L = 10 shortcuts: q grows by a factor of up to 1 \+ 1/L"):
        net = edge_of_chaos_(model, sigma_b2=0.1, generator=generator())
    assert float(model[1].inner.weight.detach().square().sum() / width) == pytest.approx(net.sigma_w2 / blocks)
    x = inputs(net, 10, width).requires_grad_()
    first = model[0](x)
    last = model[1:](first)
    q, variance = net.q, 1.0
    for _ in range(blocks):
        variance *= 1 + mf.chi1(net.phi, q, sigma_w2=net.sigma_w2) / blocks
        q += mf.variance_map(net.phi, q, sigma_w2=net.sigma_w2, sigma_b2=0.1) / blocks
    assert float(last.detach().square().mean()) == pytest.approx(q, rel=0.05)
    v = torch.randn(*last.shape, generator=generator(5), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(last, first, v)
    assert float(gradient.square().mean()) == pytest.approx(variance, rel=0.05)


@pytest.mark.slow
def test_shortcuts_through_a_rectifier_let_q_grow_by_at_most_sigma_w2_over_l_a_block():
    blocks, width = 10, 400
    modules = [nn.Linear(width, width), nn.ReLU(), *[PostActivation(width) for _ in range(blocks)]]
    model = nn.Sequential(*modules, nn.Linear(width, width)).double()
    sizes = []
    for seed in range(3):
        with pytest.warns(UserWarning, match=r"L = 10 shortcuts: q grows by a factor of up to 1 \+ sigma_w2/L"):
            net = edge_of_chaos_(model, sigma_b2=0.0, generator=generator(seed))
        z = torch.relu(model[0](inputs(net, 10, width)))
        sizes.append([float(z.detach().square().mean())])
        for block in model[2:-1]:
            z = block(z)
            sizes[-1].append(float(z.detach().square().mean()))
    growth = np.diff(np.log(np.mean(sizes, axis=0)))
    assert (growth[1:] > 0).all()
    assert (growth < np.log(1 + net.sigma_w2 / blocks) + 0.03).all()


def test_shortcuts_through_another_activation_are_not_known():
    class Tanh(PostActivation):
        def forward(self, z):
            return torch.tanh(z + self.second(torch.tanh(self.first(z))))

    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), Tanh(8), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    with pytest.raises(ValueError, match=r"3: its input is a sum of which theory does not know the parts"):
        edge_of_chaos_(model, sigma_b2=0.1)


def test_a_failure_half_way_leaves_nothing_changed():
    model = nn.Sequential(
        nn.Linear(6, 6), nn.Tanh(), nn.utils.parametrizations.spectral_norm(nn.Linear(6, 6)), nn.Tanh(), nn.Linear(6, 2)
    )
    before = {key: value.clone() for key, value in model.state_dict().items()}
    g = generator(3)
    state = g.get_state()
    with pytest.raises(ValueError, match=r"2\.weight is parametrised by SpectralNorm, which cannot hold"):
        edge_of_chaos_(model, sigma_b2=0.1, generator=g)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(g.get_state(), state)
    assert all(module.training for module in model.modules())

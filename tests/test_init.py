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
from afli.networks.init import WEIGHTS, edge_of_chaos_, standard_weights
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
        edge_of_chaos_(model, act.elu(), sigma_b2=0.1, generator=generator())


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
    with pytest.raises(ValueError, match="needs a bias"):
        edge_of_chaos_(without_biases, act.tanh(), sigma_b2=0.1)
    assert edge_of_chaos_(without_biases, act.leaky_relu(0.25), sigma_b2=0.0).sigma_w2 == pytest.approx(
        2 / (1 + 0.25**2)
    )
    with pytest.raises(errors.NoFixedPointError):
        edge_of_chaos_(nn.Linear(4, 4), act.relu(), sigma_b2=0.1)
    with pytest.raises(ValueError, match="weights must be one of"):
        edge_of_chaos_(nn.Linear(4, 4), act.tanh(), sigma_b2=0.1, weights="uniform")
    with pytest.raises(ValueError, match="head_variance must be None or > 0, got -1"):
        edge_of_chaos_(nn.Linear(4, 4), act.tanh(), sigma_b2=0.1, head_variance=-1)

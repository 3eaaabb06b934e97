"""The verdict: what is wrong with a network's signal, said once, and nothing said where nothing is wrong."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from afli import activations as act
from afli import data
from afli.networks import lessons
from afli.networks.init import edge_of_chaos_
from afli.networks.modules import InputScale, mlp
from afli.networks.probe import diagnose

WIDTH = 128


def inputs(count=40):
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(1))


def gaussian(activation, gain, depth=40, **options):
    return lessons.stack([WIDTH] * (depth + 1) + [10], activation, gain=gain, **options)


def test_torch_s_own_start_makes_inputs_alike_and_gradients_vanish():
    torch.manual_seed(0)
    model = nn.Sequential(*[m for _ in range(30) for m in (nn.Linear(WIDTH, WIDTH), nn.Tanh())], nn.Linear(WIDTH, 10))
    found = diagnose(model, inputs())
    assert not found.healthy
    assert "two inputs are 99% alike from layer" in found.findings[0]
    assert any(finding.startswith("gradients shrink by 0.5") for finding in found.findings)
    with pytest.raises(AssertionError, match="Remedy: the edge of chaos"):
        found.assert_healthy()


def test_the_edge_of_chaos_is_healthy_and_measured_as_theory_says():
    model = mlp(30, WIDTH, in_features=WIDTH, out_features=WIDTH, activation=act.shtanh(5.0))
    net = edge_of_chaos_(model, sigma_b2=0.01, generator=torch.Generator().manual_seed(0))
    x = inputs()
    found = diagnose(nn.Sequential(InputScale(net, x), model), x)
    found.assert_healthy()
    assert "No fault was found" in str(found)
    np.testing.assert_allclose(found.table["q"], net.q, rtol=0.3)
    np.testing.assert_allclose(found.table["q"][1:], found.table["q_theory"][1:], rtol=0.3)
    np.testing.assert_allclose(found.table["rho"][1:], found.table["rho_theory"][1:], atol=0.1)
    np.testing.assert_allclose(found.table["gradient"], 1, rtol=0.3)


@pytest.mark.parametrize(("model", "complaint"), [
    (gaussian(nn.Tanh, 3.0), "gradients grow by 1.3"),
    (gaussian(nn.Tanh, 0.7), "signals shrink by 0."),
    (gaussian(nn.ReLU, 2.0), "signals grow by 1.4"),
    (gaussian(nn.ReLU, 2**0.5, depth=80), "two inputs are 99% alike from layer"),
], ids=["chaos", "order", "explosion", "deep relu"])  # fmt: skip
def test_each_fault_is_named(model, complaint):
    assert any(complaint in finding for finding in diagnose(model, inputs()).findings)


def test_behind_batch_normalisation_other_weights_are_no_remedy():
    found = diagnose(gaussian(nn.ReLU, 2**0.5, normalise=nn.BatchNorm1d), inputs(), training=True)
    assert "gradients grow" in found.findings[0]
    assert "fewer normalisations" in found.remedies[0]


def test_broken_signals_and_unseen_modules_are_named():
    dead = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 5))
    nn.init.zeros_(dead[0].weight), nn.init.zeros_(dead[0].bias)
    assert "preactivations are zero from layer 1 of 2 on (0)" in diagnose(dead, inputs()).findings
    nn.init.constant_(dead[0].weight, 1e38)
    assert "not finite from layer" in str(diagnose(dead, 100 * inputs()))
    found = diagnose(nn.TransformerEncoderLayer(16, 2), torch.randn(4, 3, 16))
    assert found.not_seen == ("self_attn (MultiheadAttention)",)
    assert "Not seen: self_attn (MultiheadAttention)." in str(found)


def test_it_leaves_the_model_alone_and_needs_no_graph():
    model = gaussian(nn.ReLU, 1.0, depth=3, normalise=nn.BatchNorm1d)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        diagnose(model, inputs())
        diagnose(model, inputs(), training=True)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert len(diagnose(nn.Linear(WIDTH, 3), inputs()).table) == 1


def test_the_plot_shows_theory_beside_what_was_measured():
    import matplotlib

    matplotlib.use("agg")
    figure = diagnose(gaussian(nn.Tanh, 1.0, depth=5), inputs()).plot()
    assert [len(axis.lines) for axis in figure.axes] == [2, 2, 1]
    assert [axis.get_yscale() for axis in figure.axes] == ["log", "linear", "log"]


def test_real_images_through_ten_lines():
    digits = data.normalised(data.load("digits"))
    x = torch.from_numpy(digits.x_train[:64])
    model = mlp(20, 64, in_features=64, out_features=10, activation=act.tanh())
    with pytest.warns(
        UserWarning, match=r"theory holds for inputs of mean square .* put .*InputScale\(net, x\) in front"
    ):
        net = edge_of_chaos_(model, x=x, sigma_b2=0.001)
    model = nn.Sequential(InputScale(net, x), model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        edge_of_chaos_(model, x=x, sigma_b2=0.001)
    diagnose(model, x).assert_healthy()


class Unreached(nn.Module):
    def __init__(self, end) -> None:
        super().__init__()
        self.first, self.second, self.end = nn.Linear(WIDTH, 3), nn.Linear(3, 3), end

    def forward(self, x):
        return self.end(self.first(x), self.second)


@pytest.mark.parametrize(("end", "unreached"), [
    (lambda h, layer: layer(torch.tanh(h).detach()), "seen to reach first"),
    (lambda h, layer: layer(torch.tanh(h)).detach(), "seen to reach first, second"),
    (lambda h, layer: (h, layer(torch.tanh(h).detach())), ""), (lambda h, layer: {"y": (None, layer(h))}, ""),
    (lambda h, layer: str(layer(torch.tanh(h)).shape), ""),
])  # fmt: skip
def test_a_gradient_that_is_cut_is_a_fault_and_every_output_counts(end, unreached):
    torch.manual_seed(0)
    found = diagnose(Unreached(end), inputs())
    assert found.healthy == (not unreached)
    assert unreached in str(found)
    assert found.table["gradient"].notna().all() == (not unreached)

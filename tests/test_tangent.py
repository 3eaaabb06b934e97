"""A network's own tangent kernel and plain gradient descent, beside the limit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from afli import activations as act
from afli import kernels
from afli.networks import init, modules, tangent


def small(width: int = 200, depth: int = 4) -> tuple[torch.nn.Module, torch.Tensor, np.ndarray]:
    """A network in float64, twelve inputs, and its limit's tangent kernel."""
    phi, rng = act.shtanh(a=2.0), np.random.default_rng(0)
    model = modules.mlp(depth, width, in_features=20, out_features=3, activation=phi).double()
    net = init.edge_of_chaos_(model, phi, sigma_b2=0.1, generator=torch.Generator().manual_seed(0))
    x = rng.normal(size=(12, 20))
    x *= (20 * (net.q - net.sigma_b2) / net.sigma_w2) ** 0.5 / np.linalg.norm(x, axis=1, keepdims=True)
    return model, torch.tensor(x), kernels.ntk(net, kernels.cosines(x), depth, width=width, in_features=20)


def test_a_wide_network_has_the_tangent_kernel_of_the_limit() -> None:
    model, inputs, limit = small()
    for output in (0, 2):
        own = tangent.tangent_kernel(model, inputs, output=output).numpy()
        assert np.linalg.norm(own - limit) <= 0.15 * np.linalg.norm(limit)
        assert np.linalg.eigvalsh(own)[0] > -1e-9 * own[0, 0]


def test_the_kernel_predicts_the_first_step_of_descent() -> None:
    """A small step moves output k by -rate times its kernel times the residual; other outputs share the last layers."""
    model, inputs, _ = small(width=50)
    before = model(inputs).detach()
    targets = before.clone()
    targets[:, 1] -= torch.linspace(-1, 1, 12, dtype=torch.float64)
    own = tangent.tangent_kernel(model, inputs, output=1)
    rate = 1e-7
    tangent.descend(model, inputs, targets, rate=rate, steps=1)
    moved = (model(inputs).detach() - before)[:, 1] / rate
    expected = own @ (targets - before)[:, 1] / 12
    assert torch.allclose(moved, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("loss", tangent.LOSSES)
def test_descent_lowers_the_loss_and_repeats(loss: str) -> None:
    runs = []
    for _ in range(2):
        model, inputs, limit = small(width=50)
        targets = torch.eye(3, dtype=torch.float64).repeat(4, 1)
        generator = torch.Generator().manual_seed(2)
        rate = 0.3 * kernels.stable_rate(limit)
        runs.append(
            tangent.descend(model, inputs, targets, rate=rate, steps=30, loss=loss, batch=6, generator=generator)
        )
    assert runs[0] == runs[1]
    assert len(runs[0]) == 31
    assert runs[0][-1] < 0.5 * runs[0][0]


def test_descent_stops_where_the_loss_is_infinite_and_refuses_what_it_does_not_know() -> None:
    model, inputs, limit = small(width=50)
    targets = torch.zeros(12, 3, dtype=torch.float64)
    losses = tangent.descend(model, inputs, targets, rate=1e6 * kernels.stable_rate(limit), steps=2000)
    assert not np.isfinite(losses[-1])
    assert len(losses) < 2000
    for wrong, named in (({"loss": "hinge"}, "loss"), ({"rate": 0.0}, "rate"), ({"steps": 0}, "steps")):
        with pytest.raises(ValueError, match=named):
            tangent.descend(model, inputs, targets, **({"rate": 1.0, "steps": 1} | wrong))

"""Torch modules and functions are recognised by their values; those that nobody knows bring derivative and kinks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from afli import activations as act
from afli import errors
from afli import meanfield as mf
from afli.networks.modules import Elementwise
from afli.networks.recognise import from_torch


def in_short(value: object) -> str:
    """A test's name, the same in every process: without the address of a function."""
    return getattr(value, "__name__", type(value).__name__)


@pytest.mark.parametrize(("module", "phi"), [
    (nn.Tanh(), act.tanh()), (torch.tanh, act.tanh()), (nn.ReLU(inplace=True), act.relu()), (F.gelu, act.gelu()),
    (nn.GELU(approximate="tanh"), act.gelu_tanh()), (nn.SiLU(), act.silu()), (F.mish, act.mish()),
    (nn.Hardswish(), act.hardswish()), (nn.Hardtanh(), act.shtanh(1.0)), (nn.Hardtanh(-3, 3), act.shtanh(3.0)),
    (nn.Hardtanh(-1, 2), act.hardtanh(-1, 2)), (nn.ReLU6(), act.relu6()), (nn.Softshrink(0.3), act.softshrink(0.3)),
    (nn.Hardsigmoid(), act.hardsigmoid()), (nn.LogSigmoid(), act.logsigmoid()), (nn.PReLU(), act.leaky_relu(0.25)),
    (nn.ELU(2.0), act.elu(2.0)), (nn.SELU(), act.selu()),
    (nn.Softplus(), act.softplus()), (nn.Softsign(), act.softsign()), (nn.Identity(), act.linear()),
    (lambda z: z + torch.sin(z) ** 2, act.snake()), (lambda z: z * torch.sigmoid(z), act.silu()),
    (Elementwise(act.ssaw(0.3), torch.float32), act.ssaw(0.3)), ("mish", act.mish()), (act.tanh(), act.tanh()),
], ids=in_short)  # fmt: skip
def test_known_activations_are_recognised(module, phi):
    found = from_torch(module)
    assert found.family == phi.family
    np.testing.assert_allclose([v for _, v in found.params], [v for _, v in phi.params], rtol=1e-9)


@pytest.mark.parametrize(("module", "kinks"), [
    (nn.CELU(2.0), (0.0,)), (nn.Tanhshrink(), ()), (nn.Hardshrink(0.0), (0.0,)), (lambda z: torch.relu(z) ** 2, (0.0,)),
    (lambda z: F.hardtanh(z, -1.7, 1.7) + 0.1 * z, (-1.7, 1.7)), (lambda z: torch.relu(z - 20), (20.0,)),
], ids=in_short)  # fmt: skip
def test_unknown_ones_bring_torch_s_derivative_and_their_kinks(module, kinks):
    found = from_torch(module, name="mine")
    if found.family == "linear":
        return
    assert found.name == "mine"
    np.testing.assert_allclose(found.kinks, kinks, atol=1e-9)
    z = np.linspace(-5, 5, 333)
    at = torch.tensor(z, requires_grad=True)
    (slope,) = torch.autograd.grad(module(at).sum(), at)
    np.testing.assert_allclose(found.gradient(z), slope, rtol=1e-14)


def test_the_square_of_relu_has_its_edge_of_chaos():
    with pytest.warns(errors.RepellingPointWarning):
        net = mf.edge_of_chaos(from_torch(lambda z: torch.relu(z) ** 2), sigma_b2=0.1)
    assert (net.q, net.sigma_w2) == (pytest.approx(0.4), pytest.approx(1.25))


@pytest.mark.parametrize(("thing", "complaint"), [
    (nn.Softmax(0), "act on every unit alike"), (nn.Linear(3, 3), "tensor of any shape"), (nn.LayerNorm(3), "any"),
    (lambda z: z * torch.rand_like(z), "random|alike"), (nn.Threshold(0.1, 20.0), "jumps at z = 0.1"),
    (torch.log, "real and finite"), (lambda z: torch.complex(z, z), "real and finite"),
], ids=in_short)  # fmt: skip
def test_what_is_no_activation_is_refused(thing, complaint):
    with pytest.raises(ValueError, match=complaint):
        from_torch(thing)


def test_other_things_are_a_type_error():
    for thing in (3, nn.Tanh):
        with pytest.raises(
            TypeError, match="phi must be an activation, a name, a torch module or a torch function, got"
        ):
            from_torch(thing)


@pytest.mark.parametrize("c", [0.5, 2.0, 3.0, 10.0])
def test_a_tanh_of_another_slope_has_the_edge_of_chaos_of_tanh(c):
    # E phi(c z)^2 at q is E phi^2 at c^2 q, so q* c^2 solves the equation of tanh at sigma_b2 c^2.
    net = mf.edge_of_chaos(from_torch(lambda z: torch.tanh(c * z)), sigma_b2=0.1)
    plain = mf.edge_of_chaos(act.tanh(), sigma_b2=0.1 * c**2)
    np.testing.assert_allclose([net.q * c**2, net.sigma_w2 * c**2], [plain.q, plain.sigma_w2], rtol=1e-9)

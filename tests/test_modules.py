"""Torch modules: the same functions, and the same derivatives, as in the theory."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from afli import activations as act
from afli.networks.init import edge_of_chaos_
from afli.networks.modules import FORMULAS, Elementwise, InputScale, Shtanh, mlp

USUAL = ["tanh", "erf", "sin", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "softsign", "sigmoid"]
ALL = [
    *(act.get(family, a=a, k=k) for family in act.SCALED_BOUNDED_FAMILIES for a, k in ((1.0, 1.0), (2.5, 0.7))),
    *(act.get(family) for family in [*USUAL, "abs_", "linear"]),
    *(
        act.get(f)
        for f in ("gelu_tanh", "mish", "hardswish", "relu6", "softshrink", "hardsigmoid", "logsigmoid", "snake")
    ),
    act.hardtanh(-0.5, 2.0),
    act.snake(3.0),
    act.leaky_relu(slope=-0.5),
    act.elu(alpha=2.0),
    act.scaled(act.tanh(), 3.0),
    act.symmetrised(act.elu()),
    act.scaled(act.symmetrised(act.gelu()), 2.0),
    act.from_callable(lambda z: np.arctan(z), lambda z: 1 / (1 + z**2), name="arctan"),
]
GRID = np.linspace(-9.7, 9.3, 4001)  # meets no kink


def off_the_kinks(phi: act.Activation) -> np.ndarray:
    near = np.array([d + s for d in phi.kinks for s in (-1e-6, 1e-6)])
    return np.concatenate([GRID, near])


@pytest.mark.parametrize("phi", ALL, ids=lambda phi: phi.name)
def test_values_and_gradients_are_those_of_the_theory(phi):
    points = off_the_kinks(phi)
    z = torch.tensor(points, requires_grad=True)
    module = Elementwise(phi)
    value = module(z)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    np.testing.assert_allclose(value.detach(), phi(points), rtol=2e-15, atol=5e-16 * max(1, abs(points).max()))
    np.testing.assert_allclose(gradient, phi.derivative(points), rtol=1e-13, atol=2e-15)
    np.testing.assert_allclose(module.slope(z.detach()), phi.derivative(points), rtol=1e-13, atol=2e-15)


@pytest.mark.parametrize("phi", ALL, ids=lambda phi: phi.name)
def test_single_precision_agrees_to_single_precision(phi):
    z = torch.tensor(GRID, dtype=torch.float32)
    exact = phi(z.double().numpy())
    np.testing.assert_allclose(Elementwise(phi, torch.float32)(z), exact, rtol=1e-5, atol=2e-6)


def test_every_family_of_the_theory_has_a_formula():
    constructors = {"scaled", "symmetrised", "from_callable", "get", "check_scaled_bounded"}
    families = {name for name in act.__all__ if name.islower() and name not in constructors}
    assert families == set(FORMULAS)


@pytest.mark.parametrize("family", act.SCALED_BOUNDED_FAMILIES)
def test_several_activations_act_on_one_slice_each(family):
    phis = [act.get(family, a=a) for a in (1.0, 2.0, 4.0)]
    z = torch.linspace(-6, 6, 40, dtype=torch.float64).reshape(1, 8, 5).repeat(3, 1, 1)
    together = Elementwise(phis)(z)
    for phi, slice_, out in zip(phis, z, together, strict=True):
        assert torch.equal(Elementwise(phi)(slice_), out)


def test_parameters_move_with_the_module_and_are_not_trained():
    module = Elementwise(act.shtanh(2.0)).to(torch.float32)
    assert module.params["a"].dtype == torch.float32
    assert list(module.parameters()) == []
    assert "shtanh(a=2)" in repr(module)


def test_mixed_families_and_unknown_ones_are_refused():
    with pytest.raises(ValueError, match=r"\['relu', 'tanh'\]"):
        Elementwise([act.relu(), act.tanh()])
    odd = act.Activation("unheard-of", (), np.sin, np.cos)
    with pytest.raises(ValueError, match="unheard-of"):
        Elementwise(odd)(torch.zeros(1))


def test_mlp_is_the_network_of_equation_one():
    phi = act.ssaw(2.0)
    model = mlp(3, 7, in_features=5, out_features=2, activation=phi).double()
    linear = [m for m in model if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(5, 7), (7, 7), (7, 7), (7, 2)]
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = x.numpy()
    for m in linear[:-1]:
        z = phi(z @ m.weight.detach().numpy().T + m.bias.detach().numpy())
    expected = z @ linear[-1].weight.detach().numpy().T + linear[-1].bias.detach().numpy()
    np.testing.assert_allclose(model(x).detach(), expected, atol=1e-14)
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        mlp(0, 7, in_features=5, out_features=2, activation=phi)


ARCTAN = act.from_callable(np.arctan, name="arctan, which pickle finds by name")


@pytest.mark.parametrize("phi", [*ALL[:-1], ARCTAN], ids=lambda phi: phi.name)
def test_a_network_can_be_saved_and_loaded(phi, tmp_path):
    model = mlp(2, 6, in_features=4, out_features=3, activation=phi)
    torch.save(model, tmp_path / "model.pt")
    again = torch.load(tmp_path / "model.pt", weights_only=False)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(x), model(x))
    assert pickle.loads(pickle.dumps(phi)) == phi


@pytest.mark.parametrize("wrong", ["tanh", torch.nn.Tanh(), None, [act.tanh(), "relu"], []])
def test_what_is_no_activation_is_refused_by_name(wrong):
    with pytest.raises(TypeError, match=r"phi must be an activation of afli\.activations"):
        Elementwise(wrong)


# --- Shtanh with a radius of its own ---


def shtanhs():
    return [Shtanh(1.5), Shtanh(1.5, learnable=True), Shtanh(0.7, learnable=True, units=5)]


@pytest.mark.parametrize("module", shtanhs(), ids=repr)
def test_shtanh_is_the_function_of_the_theory(module):
    z = torch.linspace(-3, 3, 400, dtype=torch.float64).reshape(80, 5)
    radius = float(module.a if isinstance(module.a, float) else module.a.detach().flatten()[0])
    np.testing.assert_array_equal(module.double()(z).detach(), act.shtanh(radius)(z.numpy()))


@pytest.mark.parametrize("module", shtanhs(), ids=repr)
def test_shtanh_has_derivatives_of_first_and_second_order_in_z_and_in_a(module):
    module = module.double()
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(module, z)
    assert torch.autograd.gradgradcheck(lambda z: module(z) ** 2, z)
    if isinstance(module.a, float):
        return

    def of_both(z, a):
        return torch.func.functional_call(module, {"a": a}, (z,))

    assert torch.autograd.gradcheck(of_both, (z, module.a))
    assert torch.autograd.gradgradcheck(lambda z, a: of_both(z, a) ** 2, (z, module.a))


@pytest.mark.slow
@pytest.mark.parametrize("module", shtanhs(), ids=repr)
def test_shtanh_compiles_exports_and_maps(module):
    x = torch.randn(4, 5)
    assert torch.equal(torch.compile(module, backend="aot_eager", fullgraph=True)(x), module(x))
    assert torch.equal(torch.export.export(module, (x,)).module()(x), module(x))
    assert torch.equal(torch.vmap(module)(x), module(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module(torch.nn.Linear(5, 5)(x)).dtype == torch.bfloat16


def test_a_learned_radius_has_the_same_gradient_alone_and_mapped_over_networks():
    generator = torch.Generator().manual_seed(0)
    radii, z = torch.tensor([0.5, 1.0, 2.0]), torch.randn(3, 40, generator=generator)
    module = Shtanh(1.0, learnable=True)

    def loss(a, z):
        return (torch.func.functional_call(module, {"a": a}, (z,)) ** 3).sum()

    mapped = torch.vmap(torch.func.grad(loss, argnums=(0, 1)))(radii, z)
    for k, (a, row) in enumerate(zip(radii, z, strict=True)):
        a, row = a.clone().requires_grad_(), row.clone().requires_grad_()
        alone = torch.autograd.grad(loss(a, row), (a, row))
        outside = row.abs() > a
        torch.testing.assert_close(alone[0], 3 * a.detach() ** 2 * (row.sign() * outside).sum().detach())
        torch.testing.assert_close(alone[1], 3 * row.detach() ** 2 * ~outside)
        for one, all_ in zip(alone, mapped, strict=True):
            torch.testing.assert_close(one, all_[k])


def test_the_radius_of_shtanh_is_in_its_state_and_in_its_repr():
    for kind in ({}, {"learnable": True}, {"learnable": True, "units": 3}):
        there, here = Shtanh(2.0, **kind), Shtanh(3.0, **kind)
        here.load_state_dict(there.state_dict())
        assert repr(here) == repr(there)
        assert torch.equal(here(torch.full((3,), 9.0)), torch.full((3,), 2.0))
    with pytest.raises(ValueError, match="fixed radius cannot be loaded as a learned one"):
        Shtanh(2.0, learnable=True).load_state_dict(Shtanh(2.0).state_dict(), strict=False)
    for bad in ({"a": 0.0}, {"a": -1.0}, {"units": 3}, {"learnable": True, "units": 0}):
        with pytest.raises(ValueError, match=r"a must be|units"):
            Shtanh(**bad)


def test_a_learned_radius_is_seen_by_the_optimiser_and_by_the_theory():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), Shtanh(2.0, learnable=True), torch.nn.Linear(4, 1))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    (model(torch.full((3, 4), 50.0)) ** 2).mean().backward()
    optimiser.step()
    assert float(model[1].a) != 2.0
    model[1].a.data.fill_(2.0)
    assert edge_of_chaos_(model, sigma_b2=0.1).phi == act.shtanh(2.0)


def test_a_second_derivative_through_numpy_is_an_error_not_a_wrong_number():
    z = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    module = Elementwise(act.from_callable(lambda z: z * np.tanh(z)))
    (slope,) = torch.autograd.grad(module(z) ** 2, z, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|differentiate twice"):
        slope.backward()


def test_the_scale_of_inputs_needs_a_network_and_numbers():
    net = edge_of_chaos_(
        torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)), sigma_b2=0.1
    )
    for x in (torch.ones(4, 3, dtype=torch.uint8), torch.ones(4, 3, dtype=torch.cfloat), np.ones((4, 3))):
        with pytest.raises(TypeError, match="x must be a tensor of floating-point numbers, got"):
            InputScale(net, x)
    with pytest.raises(TypeError, match="net must be a MeanField"):
        InputScale(act.tanh(), torch.ones(4, 3))
    with pytest.raises(TypeError, match=r"activation must be an activation of afli\.activations, got Tanh"):
        mlp(2, 3, in_features=3, out_features=1, activation=torch.nn.Tanh())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("units", [None, 6])
def test_a_radius_takes_the_gradient_of_what_is_outside_and_of_nothing_inside(dtype, units):
    for a in (1.0, 0.7, 1.9999, 3e-3, float(torch.finfo(dtype).tiny) / 4):
        module = Shtanh(1.0, learnable=True, units=units).to(dtype)
        a = module.a.data.fill_(a).flatten()[0]
        zero = torch.zeros((), dtype=dtype)
        below = torch.nextafter(a, zero) if dtype != torch.float16 else (a.view(torch.int16) - 1).view(dtype)
        z = torch.stack([a, -a, 2 * a, below, -below, zero]).repeat(4, 1).requires_grad_()
        grad = torch.arange(1, 25, dtype=dtype).reshape(4, 6)
        for direction in (grad, grad.T.contiguous().T, grad[:1].expand(4, 6)):
            to_z, to_a = torch.autograd.grad(module(z), (z, module.a), direction)
            again = torch.autograd.grad(module(z), (z, module.a), direction, create_graph=True)
            assert torch.equal(to_z, direction * torch.tensor([0, 0, 0, 1, 1, 1], dtype=dtype))
            wanted = (direction * torch.tensor([1, -1, 1, 0, 0, 0], dtype=dtype)).sum(0)
            torch.testing.assert_close(to_a, wanted if units else wanted.sum())
            for one, other in zip((to_z, to_a), again, strict=True):
                torch.testing.assert_close(one, other)
        row = z.detach()[0].requires_grad_()
        to_z, to_a = torch.autograd.grad(module(row), (row, module.a), grad[0])
        assert torch.equal(to_z, grad[0] * torch.tensor([0, 0, 0, 1, 1, 1], dtype=dtype))
        wanted = grad[0] * torch.tensor([1, -1, 1, 0, 0, 0], dtype=dtype)
        torch.testing.assert_close(to_a, wanted if units else wanted.sum())


@pytest.mark.parametrize("units", [None, 3])
def test_a_learned_radius_that_is_no_longer_positive_is_refused(units):
    module = Shtanh(1.0, learnable=True, units=units)
    for value in (0.0, -0.5, float("nan")):
        module.a.data.fill_(value)
        with pytest.raises(ValueError, match=f"a must be > 0, got {value}"):
            module(torch.ones(2, 3))


def test_a_radius_for_each_unit_needs_the_units():
    module = Shtanh(1.0, learnable=True, units=3)
    for shape in ((), (1,), (4, 1), (3, 4)):
        with pytest.raises(ValueError, match="z must have 3 units in its last dimension, got shape"):
            module(torch.zeros(shape))
    assert module(torch.zeros(0, 3)).shape == (0, 3)

"""The activations of the theory as torch modules.

Each family has two formulas, phi and phi', in plain torch operations. They are the same functions as in
`afli.activations`, to float precision off the kinks; at a kink phi' is one of the two one-sided slopes.
Parameters are tensors that broadcast: numbers for one network, shape (E, 1, 1) for an ensemble of E.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from afli.activations import Activation

Params = Mapping[str, Tensor]
Function = Callable[[Tensor, Params], Tensor]
TwoTensors = Callable[[Tensor, Tensor], Tensor]

__all__ = ["FORMULAS", "Elementwise", "Formula"]


class Formula(NamedTuple):
    """phi and phi' as functions of the preactivation and the parameters; both broadcast."""

    value: Function
    slope: Function


def _scaled_bounded(tail: TwoTensors, tail_slope: TwoTensors) -> Formula:
    """Definition 2.1: k (clip(z, -a, a) + sign(z) tail(t)) with t = max(|z| - a, 0), where tail(0) = 0."""

    def value(z: Tensor, p: Params) -> Tensor:
        return p["k"] * (torch.clamp(z, -p["a"], p["a"]) + z.sign() * tail((z.abs() - p["a"]).clamp(min=0), p["a"]))

    def slope(z: Tensor, p: Params) -> Tensor:
        beyond = z.abs() - p["a"]
        return p["k"] * torch.where(beyond > 0, tail_slope(beyond, p["a"]), 1.0)

    return Formula(value, slope)


def _two_sided(left: Function, left_slope: Function, gain: float = 1.0) -> Formula:
    """gain z for z > 0, gain left(z) below. left sees min(z, 0), so that an exponential cannot overflow."""

    def value(z: Tensor, p: Params) -> Tensor:
        return gain * torch.where(z > 0, z, left(z.clamp(max=0), p))

    def slope(z: Tensor, p: Params) -> Tensor:
        return gain * torch.where(z > 0, 1.0, left_slope(z.clamp(max=0), p))

    return Formula(value, slope)


def _silu_slope(z: Tensor, p: Params) -> Tensor:
    s = torch.sigmoid(z)
    return s * (1 + z * (1 - s))


def _gelu_slope(z: Tensor, p: Params) -> Tensor:
    return torch.special.ndtr(z) + z * torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _gelu_tanh(z: Tensor, p: Params) -> Tensor:
    return z * torch.sigmoid(math.sqrt(8 / math.pi) * z * (1 + 0.044715 * z * z))


def _gelu_tanh_slope(z: Tensor, p: Params) -> Tensor:
    c, near = math.sqrt(8 / math.pi), z.clamp(-20, 20)  # beyond, the slope of the sigmoid is 0
    s = torch.sigmoid(c * near * (1 + 0.044715 * near * near))
    return s + near * s * (1 - s) * c * (1 + 3 * 0.044715 * near * near)


def _mish_slope(z: Tensor, p: Params) -> Tensor:
    t = torch.tanh(F.softplus(z, threshold=40))
    return t + z * (1 - t * t) * torch.sigmoid(z)


SELU_GAIN, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

FORMULAS: dict[str, Formula] = {
    "shtanh": _scaled_bounded(lambda t, a: torch.zeros_like(t), lambda t, a: torch.zeros_like(t)),
    "ssine": _scaled_bounded(lambda t, a: torch.cos(t) - 1, lambda t, a: -torch.sin(t)),
    "sexp": _scaled_bounded(lambda t, a: torch.expm1(-t), lambda t, a: -torch.exp(-t)),
    "ssaw": _scaled_bounded(lambda t, a: -torch.minimum(t, a), lambda t, a: -(t < a).to(t.dtype)),
    "tanh": Formula(lambda z, p: torch.tanh(z), lambda z, p: 1 - torch.tanh(z) ** 2),
    "erf": Formula(lambda z, p: torch.erf(z), lambda z, p: 2 / math.sqrt(math.pi) * torch.exp(-z * z)),
    "sin": Formula(lambda z, p: torch.sin(z), lambda z, p: torch.cos(z)),
    "relu": Formula(lambda z, p: torch.relu(z), lambda z, p: (z > 0).to(z.dtype)),
    "leaky_relu": _two_sided(lambda z, p: p["slope"] * z, lambda z, p: p["slope"].expand_as(z)),
    "elu": _two_sided(lambda z, p: p["alpha"] * torch.expm1(z), lambda z, p: p["alpha"] * torch.exp(z)),
    "selu": _two_sided(lambda z, p: SELU_ALPHA * torch.expm1(z), lambda z, p: SELU_ALPHA * torch.exp(z), SELU_GAIN),
    "gelu": Formula(lambda z, p: F.gelu(z), _gelu_slope),
    "silu": Formula(lambda z, p: F.silu(z), _silu_slope),
    # Beyond the threshold torch returns z itself: at 40 the difference is below float64's resolution.
    "softplus": Formula(lambda z, p: F.softplus(z, threshold=40), lambda z, p: torch.sigmoid(z)),
    "softsign": Formula(lambda z, p: z / (1 + z.abs()), lambda z, p: (1 + z.abs()) ** -2),
    "sigmoid": Formula(lambda z, p: torch.sigmoid(z), lambda z, p: torch.sigmoid(z) * torch.sigmoid(-z)),
    "abs_": Formula(lambda z, p: torch.abs(z), lambda z, p: torch.sign(z)),
    "linear": Formula(lambda z, p: z.clone(), lambda z, p: torch.ones_like(z)),
    "gelu_tanh": Formula(_gelu_tanh, _gelu_tanh_slope),
    "mish": Formula(lambda z, p: F.mish(z), _mish_slope),
    "hardswish": Formula(lambda z, p: F.hardswish(z), lambda z, p: torch.where(z < 3, (z / 3 + 0.5) * (z > -3), 1.0)),
    "hardtanh": Formula(
        lambda z, p: torch.clamp(z, p["low"], p["high"]), lambda z, p: ((z >= p["low"]) & (z <= p["high"])).to(z.dtype)
    ),
    "relu6": Formula(lambda z, p: F.relu6(z), lambda z, p: ((z > 0) & (z < 6)).to(z.dtype)),
    "softshrink": Formula(
        lambda z, p: z - torch.clamp(z, -p["lambd"], p["lambd"]), lambda z, p: (z.abs() > p["lambd"]).to(z.dtype)
    ),
    "hardsigmoid": Formula(lambda z, p: torch.clamp(z / 6 + 0.5, 0, 1), lambda z, p: (z.abs() < 3).to(z.dtype) / 6),
    "logsigmoid": Formula(lambda z, p: F.logsigmoid(z), lambda z, p: torch.sigmoid(-z)),
    "snake": Formula(lambda z, p: z + torch.sin(p["a"] * z) ** 2 / p["a"], lambda z, p: 1 + torch.sin(2 * p["a"] * z)),
}


class Elementwise(nn.Module):
    """An activation of the theory as a torch module; or E of one family, one for each slice along dimension 0.

    It is called on any shape for one activation, (E, batch, width) for E of them; `slope(z)` is phi'(z), same shapes.
    The parameters are buffers of shape () or (E, 1, 1), see `params`; `.to(...)` moves them.

    Parameters
    ----------
    phi
        One activation, or a sequence of E that differ in their parameters only.
    dtype
        Of the parameters.

    Raises
    ------
    TypeError, ValueError
        If phi is none of afli.activations, or of different families.

    Examples
    --------
    >>> from afli import activations as act
    >>> Elementwise(act.shtanh(2.0))(torch.tensor([-3.0, 0.5, 3.0]))
    tensor([-2.0000,  0.5000,  2.0000])
    """

    def __init__(self, phi: Activation | Sequence[Activation], dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        members = list(phi) if isinstance(phi, Sequence) else [phi]
        if not members or not all(isinstance(member, Activation) for member in members):
            raise TypeError(f"phi must be an activation of afli.activations, or several, got {phi!r}")
        families = sorted({member.family for member in members})
        if len(families) != 1:
            raise ValueError(f"phi must be one activation or several of one family, got {families}")
        self.family = families[0]
        self.activations = members
        shape = () if isinstance(phi, Activation) else (len(members), 1, 1)
        for key, value in members[0].params:
            if isinstance(value, float):
                values = [dict(member.params)[key] for member in members]
                self.register_buffer(f"{key}_", torch.tensor(values, dtype=dtype).reshape(shape))
        bases = [member.base for member in members if member.base is not None]
        self.base = Elementwise(bases if shape else bases[0], dtype) if bases else None
        self._custom = _the_only_one(members) if self.family == "custom" else None

    @property
    def params(self) -> dict[str, Tensor]:
        """The parameter tensors by name."""
        return {name.removesuffix("_"): tensor for name, tensor in self.named_buffers(recurse=False)}

    def forward(self, z: Tensor) -> Tensor:
        """phi(z)."""
        if self.base is None:
            return self._rule.value(z, self.params)
        if self.family == "scaled":
            return self.params["a"] * self.base(z / self.params["a"])
        return 0.5 * (self.base(z) - self.base(-z))

    def slope(self, z: Tensor) -> Tensor:
        """phi'(z), without autograd."""
        if self.base is None:
            return self._rule.slope(z, self.params)
        if self.family == "scaled":
            return self.base.slope(z / self.params["a"])
        return 0.5 * (self.base.slope(z) + self.base.slope(-z))

    @property
    def _rule(self) -> Formula:
        phi = self._custom
        if phi is not None:
            return Formula(lambda z, p: _ThroughNumpy.apply(z, phi), lambda z, p: _through_numpy(phi.gradient, z))
        if self.family not in FORMULAS:
            raise ValueError(f"phi must be of one of the families {', '.join(FORMULAS)}, got {self.family!r}")
        return FORMULAS[self.family]

    def extra_repr(self) -> str:
        return ", ".join(member.name for member in self.activations)


def _the_only_one(members: Sequence[Activation]) -> Activation:
    if len({(member.params, member.kinks) for member in members}) != 1:
        names = [member.name for member in members]
        raise ValueError(f"activations from a callable must be the same for all networks, got {names}")
    return members[0]


def _through_numpy(function: Callable[[Any], Any], z: Tensor) -> Tensor:
    return torch.from_numpy(function(z.detach().double().cpu().numpy())).to(z)


class _ThroughNumpy(torch.autograd.Function):
    """A function of the user's, evaluated by numpy on the CPU: slow, but the same function."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, phi: Activation) -> Tensor:
        ctx.phi = phi
        ctx.save_for_backward(z)
        return _through_numpy(phi.function, z)

    @staticmethod
    @once_differentiable  # the derivative of df is not known: a second one is an error, not a wrong number
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        (z,) = ctx.saved_tensors
        return grad[0] * _through_numpy(ctx.phi.gradient, z), None

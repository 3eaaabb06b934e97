"""Modules for networks that the theory knows: its activations, the scale of inputs, the deep network of eq. (1)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afli._inputs import integer, scalar
from afli.activations import Activation
from afli.meanfield import MeanField
from afli.networks.elementwise import FORMULAS, Elementwise, Formula

__all__ = ["ACTIVATIONS", "FORMULAS", "Elementwise", "Formula", "InputScale", "Shtanh", "mlp"]

HARDTANH_BACKWARD = torch.ops.aten.hardtanh_backward.grad_input


class Shtanh(nn.Module):
    """Scaled hard tanh, eq. (14) with k = 1: z clipped to [-a, a], with a fixed or learned linear radius a.

    Parameters
    ----------
    a
        The linear radius, > 0.
    learnable
        Make a parameter of a, which `nn.Module.parameters` then has. Fixed, it is as fast as nn.Hardtanh.
    units
        With `learnable`: an a for each of so many units, the last dimension of what it is called on. Default: one.

    Raises
    ------
    TypeError, ValueError
        If a or units is not as described.

    Notes
    -----
    A learned radius that an optimiser brings to 0 or below is refused where it can be seen (on a CPU, not compiled).

    Examples
    --------
    >>> Shtanh(2.0)(torch.tensor([-3.0, 0.5, 3.0]))
    tensor([-2.0000,  0.5000,  2.0000])
    >>> learned = Shtanh(2.0, learnable=True)
    >>> learned(torch.tensor([-3.0, 0.5, 3.0])).sum().backward()
    >>> learned.a.grad
    tensor(0.)
    """

    def __init__(self, a: float = 1.0, *, learnable: bool = False, units: int | None = None) -> None:
        super().__init__()
        a = scalar("a", a, low=0.0, open_low=True)
        if units is not None and not learnable:
            raise ValueError("units needs learnable=True: a fixed radius is the same for all")
        shape = () if units is None else (integer("units", units, low=1),)
        self.a = nn.Parameter(torch.full(shape, a)) if learnable else a

    def forward(self, z: Tensor) -> Tensor:
        """z clipped to [-a, a]. ValueError if a is no longer > 0 (seen on a CPU), or not one for each unit of z."""
        a = self.a
        if not isinstance(a, Tensor):
            return F.hardtanh(z, -a, a)
        if a.dim() and z.shape[-1:] != a.shape:
            raise ValueError(f"z must have {len(a)} units in its last dimension, got shape {tuple(z.shape)}")
        radius = a if a.dtype == z.dtype else a.to(z.dtype)
        clipped: Tensor
        if a.is_cpu and not torch.compiler.is_compiling():
            try:
                clipped = _ClipOnCpu.apply(z, radius)
                return clipped
            except RuntimeError:  # under vmap and the other transforms of torch.func
                pass
        clipped = _Clip.apply(z, radius)  # reading one number would wait for a GPU, and has no place in a graph
        return clipped

    def get_extra_state(self) -> dict[str, float]:
        """A fixed radius, for the state_dict, which has a learned one among its parameters."""
        return {} if isinstance(self.a, Tensor) else {"a": self.a}

    def set_extra_state(self, state: dict[str, float]) -> None:
        """What `get_extra_state` gave; ValueError if the radius is fixed here and learned there, or the reverse."""
        if isinstance(self.a, Tensor) == ("a" in state):
            raise ValueError("a fixed radius cannot be loaded as a learned one, nor the reverse")
        self.a = state.get("a", self.a)

    def extra_repr(self) -> str:
        if not isinstance(self.a, Tensor):
            return f"{self.a:g}"
        value = f"{float(self.a.detach()):g}" if self.a.dim() == 0 else f"units={len(self.a)}"
        return f"{value}, learnable=True"


def _derivatives(grad: Tensor, clipped: Tensor, a: Tensor, of_a: bool) -> tuple[Tensor, Tensor | None]:
    """What `grad` gives in z, and in a if asked for: there it is the sign of z where z is outside."""
    to_z = grad * (clipped.abs() < a)
    if not of_a:
        return to_z, None
    outside = grad - to_z  # where clipped is +-a
    if a.dim() == 0:
        return to_z, torch.dot(outside.flatten(), clipped.flatten()) / a
    return to_z, (outside * clipped).sum_to_size(a.shape) / a


class _Clip(torch.autograd.Function):
    """clip(z, -a, a). torch.clamp with tensors as bounds does the same with several more passes over z."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, a: Tensor) -> Tensor:
        return torch.clamp(z, -a, a)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1], output)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, Tensor | None]:
        a, clipped = ctx.saved_tensors
        return _derivatives(grad[0], clipped, a, ctx.needs_input_grad[1])


class _ClipOnCpu(torch.autograd.Function):
    """`_Clip` where a can be read: torch's own Hardtanh and its derivative, in fewer passes and less memory.

    Written in torch's older form, which takes half the time for small inputs and knows no torch.func.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, a: Tensor) -> Tensor:
        least = a.item() if a.dim() == 0 else a.detach().min().item()
        if not least > 0:
            raise ValueError(f"a must be > 0, got {least!r}: smaller steps, or a rate of its own, for a learned radius")
        clipped = F.hardtanh(z, -least, least) if a.dim() == 0 else torch.clamp(z, -a, a)
        ctx.least = least
        ctx.save_for_backward(clipped, a)
        return clipped

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None]:
        (clipped, a), (grad,), to_a = ctx.saved_tensors, grads, None
        limits = torch.finfo(a.dtype)
        if torch.is_grad_enabled() or ctx.least < limits.tiny:  # to be differentiated again; no number just below a
            return _derivatives(grad, clipped.detach(), a.detach(), ctx.needs_input_grad[1])
        single = a.dim() == 0 and limits.bits >= 32  # else in units of a, where no product of half precision is rounded
        clipped, bound = (clipped, ctx.least) if single else (clipped / a, 1.0)  # +-bound exactly outside
        outside = torch.hardshrink(clipped, bound * (1 - limits.eps / 2))  # 0 inside
        if ctx.needs_input_grad[1]:
            outside.mul_(grad)
            to_a = outside.sum() / a if single else outside.sum_to_size(a.shape).clone()  # perhaps the same tensor
        # Its memory, no longer needed, is hot: z's share goes there.
        return HARDTANH_BACKWARD(grad, clipped, -bound, bound, grad_input=outside), to_a


class InputScale(nn.Module):
    """Multiplies inputs by the number that gives layer 1 the variance q* for a batch: put it in front of a model.

    Parameters
    ----------
    net
        The theory of the model, as `afli.networks.init.edge_of_chaos_` returns it.
    x
        A batch of inputs of a typical mean square.

    Raises
    ------
    TypeError, ValueError
        If net is no `MeanField`, or x no batch of floating-point numbers with a signal.

    Examples
    --------
    >>> from afli import activations as act, meanfield as mf
    >>> net = mf.edge_of_chaos(act.tanh(), sigma_b2=0.1)
    >>> x = torch.ones(5, 3)
    >>> round(float(InputScale(net, x)(x).square().mean()), 4) == round((net.q - 0.1) / net.sigma_w2, 4)
    True
    """

    factor: Tensor

    def __init__(self, net: MeanField, x: Tensor) -> None:
        super().__init__()
        if not isinstance(net, MeanField):
            raise TypeError(
                f"net must be a MeanField, as edge_of_chaos_ returns it, got one of type {type(net).__name__}"
            )
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"x must be a tensor of floating-point numbers, got {kind}")
        size = float(x.detach().double().square().mean())
        if not 0 < size < math.inf:
            raise ValueError(f"x must have a finite mean square > 0, got {size!r}")
        self.register_buffer("factor", torch.tensor(math.sqrt(net.input_mean_square / size), dtype=x.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """x times the factor."""
        return x * self.factor

    def extra_repr(self) -> str:
        return f"{float(self.factor):g}"


ACTIVATIONS = (Elementwise, Shtanh)  # activations that are followed as one step, whatever torch functions they call


def mlp(depth: int, width: int, *, in_features: int, out_features: int, activation: Activation) -> nn.Sequential:
    """The network of eq. (1): `depth` hidden layers of `width` units, then a linear head of `out_features`.

    Its weights are torch's own; `afli.networks.init.edge_of_chaos_` draws them as the theory asks.
    Raises TypeError if a size is no integer or `activation` none of afli.activations, ValueError for a size below 1.

    Examples
    --------
    >>> from afli import activations as act
    >>> mlp(3, 16, in_features=4, out_features=2, activation=act.tanh())(torch.zeros(5, 4)).shape
    torch.Size([5, 2])
    """
    sizes = {"depth": depth, "width": width, "in_features": in_features, "out_features": out_features}
    for name, size in sizes.items():
        integer(name, size, low=1)
    if not isinstance(activation, Activation):
        raise TypeError(f"activation must be an activation of afli.activations, got {activation!r}")
    layers: list[nn.Module] = []
    for fan_in in (in_features, *[width] * (depth - 1)):
        layers += [nn.Linear(fan_in, width), Elementwise(activation, torch.get_default_dtype())]
    return nn.Sequential(*layers, nn.Linear(width, out_features))

"""How an ensemble goes through an activation, forward in place where it can, and back with phi' (eq. (8)).

Buffers come as (E, 1, elements), padding included, see `flat`: elementwise functions then always meet whole vectors,
and a member's numbers do not depend on where it lies.
"""

from __future__ import annotations

import torch
from torch import Tensor

from afli.networks.elementwise import Elementwise

__all__ = ["Pass", "flat", "pass_kind"]


def flat(buffer: Tensor) -> Tensor:
    """The memory of a buffer as (E, 1, elements), its padding included."""
    stride = buffer.stride(0)
    return buffer.as_strided((len(buffer), 1, stride), (stride, stride, 1))


class Pass:
    """Any family: preactivations are kept, phi' is computed from them on the way back.

    pre, post: a layer's preactivations and outputs, (E, 1, elements) each.
    """

    def __init__(self, phi: Elementwise, pre: list[Tensor], post: list[Tensor]) -> None:
        self.phi, self.pre, self.post = phi, pre, post

    def parameters_changed(self) -> None:
        """To be called after the parameters of `phi` have changed."""

    def forward(self, l: int) -> None:
        """Outputs of layer l from its preactivations."""
        self.post[l].copy_(self.phi(self.pre[l]))

    def backward(self, l: int, delta: Tensor) -> None:
        """delta times phi'(h) of layer l, in place."""
        delta.mul_(self.phi.slope(self.pre[l]))


class _HardTanhPass(Pass):
    """Clip in place; the derivative is 1 where the output is strictly inside (-a, a)."""

    def __init__(self, phi: Elementwise, pre: list[Tensor], post: list[Tensor]) -> None:
        super().__init__(phi, pre, post)
        self.a, self.work = phi.params["a"], torch.empty_like(pre[0])
        self.low = -self.a

    def parameters_changed(self) -> None:
        torch.neg(self.a, out=self.low)

    def forward(self, l: int) -> None:
        z = self.pre[l]
        if z.is_cuda:
            torch.clamp(z, self.low, self.a, out=z)
        else:  # two passes, but clamp with tensor bounds is ten times slower on a CPU
            torch.maximum(torch.minimum(z, self.a, out=z), self.low, out=z)

    def backward(self, l: int, delta: Tensor) -> None:
        inside = torch.lt(torch.abs(self.post[l], out=self.work), self.a, out=self.work)
        delta.mul_(inside)


class _TanhPass(Pass):
    """In place; 1 - z^2 is the derivative."""

    def forward(self, l: int) -> None:
        self.pre[l].tanh_()

    def backward(self, l: int, delta: Tensor) -> None:
        torch.ops.aten.tanh_backward.grad_input(delta, self.post[l], grad_input=delta)


class _ReluPass(Pass):
    """In place; the derivative is 1 where the output is positive."""

    def forward(self, l: int) -> None:
        self.pre[l].relu_()

    def backward(self, l: int, delta: Tensor) -> None:
        torch.ops.aten.threshold_backward.grad_input(delta, self.post[l], 0, grad_input=delta)


_IN_PLACE: dict[str, type[Pass]] = {"shtanh": _HardTanhPass, "tanh": _TanhPass, "relu": _ReluPass}


def pass_kind(phi: Elementwise) -> type[Pass]:
    """In place where the derivative can be read off the outputs; hard tanh's slope k must be 1 for that."""
    if phi.family == "shtanh" and not bool((phi.params["k"] == 1).all()):
        return Pass
    return _IN_PLACE.get(phi.family, Pass)

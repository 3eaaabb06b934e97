"""How an ensemble's weights follow their gradients: plain SGD, momentum, Adam, batched over the members.

Each gives what torch's optimiser of that name gives, with torch's defaults (momentum 0.9; Adam's 0.9, 0.999, 1e-8).
Shapes as in the ensemble: weights (E, n_in, n_out), biases (E, 1, n_out), z (E, batch, n_in), delta (E, batch, n_out).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from afli.networks.passes import flat
from afli.networks.products import Products

__all__ = ["OPTIMISERS", "Adam", "Momentum", "Sgd"]

MOMENTUM = 0.9
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8

Zeros = Callable[[Tensor], Tensor]


class Sgd:
    """Plain gradient descent: the update is the epilogue of the gradient's own matrix product.

    Parameters
    ----------
    weights, biases
        The ensemble's, layer by layer; changed in place.
    products
        The matrix products of each layer.
    learning_rate
        (E, 1, 1), a rate per member.
    zeros
        Makes a buffer like a given one.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        products: Sequence[Products],
        learning_rate: Tensor,
        zeros: Zeros,
    ) -> None:
        self.weights, self.biases, self.products, self.learning_rate = weights, biases, products, learning_rate
        self._begin(zeros)

    def _begin(self, zeros: Zeros) -> None:
        """Makes what is remembered from step to step: nothing here."""

    def delta_factor(self, batch: int) -> Tensor:
        """What delta, the sum over a batch, is multiplied by before `update`: the step itself, with its sign."""
        return -self.learning_rate / batch

    def begin_step(self) -> None:
        """Called once before the updates of a step."""

    def update(self, l: int, z: Tensor, delta: Tensor) -> None:
        """Layer l takes its step. z: its inputs; delta: at its outputs, times `delta_factor`."""
        self.products[l].update(self.weights[l], z, delta)
        self.biases[l].add_(delta.sum(1, keepdim=True))

    def state(self) -> dict[str, Tensor]:
        """What it remembers from step to step."""
        return {}


class Momentum(Sgd):
    """v = 0.9 v - rate g, and the weights move by v."""

    def _begin(self, zeros: Zeros) -> None:
        self.velocity = [zeros(weight) for weight in self.weights]
        self.bias_velocity = [zeros(bias) for bias in self.biases]

    def update(self, l: int, z: Tensor, delta: Tensor) -> None:
        """See `Sgd`."""
        flat(self.velocity[l]).mul_(MOMENTUM)
        self.products[l].update(self.velocity[l], z, delta)
        flat(self.weights[l]).add_(flat(self.velocity[l]))
        self.bias_velocity[l].mul_(MOMENTUM).add_(delta.sum(1, keepdim=True))
        self.biases[l].add_(self.bias_velocity[l])

    def state(self) -> dict[str, Tensor]:
        """See `Sgd`."""
        return _named("velocity", self.velocity) | _named("bias velocity", self.bias_velocity)


class Adam(Sgd):
    """Steps of the running mean of g over the root of that of g^2, both corrected for their start at zero."""

    def _begin(self, zeros: Zeros) -> None:
        self.gradient = {tuple(weight.shape): zeros(weight) for weight in self.weights}  # layers of a shape share one
        self.mean, self.square = ([zeros(p) for p in (*self.weights, *self.biases)] for _ in range(2))
        self.steps = torch.zeros((), dtype=torch.float64, device=self.learning_rate.device)
        self.work = {tuple(p.shape): zeros(p) for p in (*self.weights, *self.biases)}

    def delta_factor(self, batch: int) -> Tensor:
        """See `Sgd`: here the gradient is wanted as it is."""
        return torch.ones_like(self.learning_rate) / batch

    def begin_step(self) -> None:
        """See `Sgd`."""
        self.steps += 1

    def update(self, l: int, z: Tensor, delta: Tensor) -> None:
        """See `Sgd`."""
        gradient = self.gradient[tuple(self.weights[l].shape)]
        flat(gradient).zero_()
        self.products[l].update(gradient, z, delta)
        self._step(l, self.weights[l], gradient)
        bias_gradient = delta.sum(1, keepdim=True)
        self._step(len(self.weights) + l, self.biases[l], self.work[tuple(bias_gradient.shape)].copy_(bias_gradient))

    def _step(self, index: int, parameter: Tensor, gradient: Tensor) -> None:
        mean, square, g = flat(self.mean[index]), flat(self.square[index]), flat(gradient)
        mean.mul_(BETA_1).add_(g, alpha=1 - BETA_1)
        square.mul_(BETA_2).add_(g.square_(), alpha=1 - BETA_2)  # g is not needed any more
        rate = (self.learning_rate / (1 - BETA_1**self.steps)).to(mean.dtype)
        root = torch.sqrt(square, out=g).div_(torch.sqrt(1 - BETA_2**self.steps).to(mean.dtype)).add_(EPSILON)
        flat(parameter).sub_(torch.div(mean, root, out=g).mul_(rate))

    def state(self) -> dict[str, Tensor]:
        """See `Sgd`."""
        return _named("mean", self.mean) | _named("square", self.square) | {"adam steps": self.steps}


def _named(name: str, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    return {f"{name} {index}": tensor for index, tensor in enumerate(tensors)}


OPTIMISERS: dict[str, type[Sgd]] = {"sgd": Sgd, "momentum": Momentum, "adam": Adam}

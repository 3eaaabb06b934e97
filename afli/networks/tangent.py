"""A finite network beside its infinitely wide limit: its own tangent kernel, and plain gradient descent."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afli._inputs import integer, scalar, word

__all__ = ["LOSSES", "descend", "tangent_kernel"]

LOSSES = ("squared", "softmax")


def tangent_kernel(model: nn.Module, inputs: Tensor, *, output: int = 0) -> Tensor:
    """The tangent kernel of one output of a network: products of its gradients at pairs of inputs.

    Parameters
    ----------
    model : nn.Module
        Maps (n, features) to (n, outputs).
    inputs : Tensor
        Shape (n, features), of the dtype of the parameters.
    output : int
        Which output.

    Returns
    -------
    Tensor
        Shape (n, n). It takes n times the memory of the parameters.

    Examples
    --------
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> tangent_kernel(nn.Linear(2, 1), x)  # <x, x'> from the weights, and 1 from the bias
    tensor([[2., 1.],
            [1., 5.]])
    """
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def value(chosen: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(model, chosen, (x[None],))[0, output]

    gradients = torch.func.vmap(torch.func.grad(value), in_dims=(None, 0))(parameters, inputs)
    rows = torch.cat([gradient.flatten(1) for gradient in gradients.values()], dim=1)
    return rows @ rows.T


def descend(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    rate: float,
    steps: int,
    loss: str = "squared",
    batch: int | None = None,
    generator: torch.Generator | None = None,
) -> list[float]:
    """Change the network by gradient descent, and return the loss on all inputs before each step and at the end.

    Parameters
    ----------
    model : nn.Module
        Changed in place.
    inputs, targets : Tensor
        Shapes (n, features) and (n, outputs); for "softmax" the targets are probabilities, one-hot as a rule.
    rate : float
        Learning rate > 0.
    steps : int
        At least 1. Stops early where the loss is no longer finite.
    loss : {"squared", "softmax"}
        The sum of squares over outputs, halved, or the cross-entropy; the mean over inputs.
    batch : int, optional
        Inputs drawn for each step, without replacement; None: all of them.
    generator : torch.Generator, optional
        Of the batches.

    Examples
    --------
    >>> x = torch.eye(2)
    >>> losses = descend(nn.Linear(2, 1), x, x.sum(1, keepdim=True), rate=0.5, steps=50)
    >>> len(losses), losses[-1] < 1e-6
    (51, True)
    """
    word("loss", loss, LOSSES)
    rate, steps = scalar("rate", rate, low=0.0, open_low=True), integer("steps", steps, low=1)

    def error(x: Tensor, y: Tensor) -> Tensor:
        outputs = model(x)
        return F.cross_entropy(outputs, y) if loss == "softmax" else 0.5 * ((outputs - y) ** 2).sum(dim=1).mean()

    optimiser, found = torch.optim.SGD(model.parameters(), lr=rate), []
    for _ in range(steps):
        part = slice(None) if batch is None else torch.randperm(len(inputs), generator=generator)[:batch]
        with torch.no_grad():
            found.append(float(error(inputs, targets)))
        if not found[-1] < float("inf"):
            return found
        optimiser.zero_grad()
        error(inputs[part], targets[part]).backward()
        optimiser.step()
    with torch.no_grad():
        found.append(float(error(inputs, targets)))
    return found

"""Derivatives of one layer's preactivations with respect to another's, by autograd through the whole model (eq. (10)).

A step from layer to layer is cheap, and their product is the Jacobian where layers follow one another; whether they do
is tried on a random vector, and where a path leads round a layer the Jacobian is taken whole.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

__all__ = ["block", "depends", "derivatives", "mixes"]

PROBES = 32  # of the trace of a matrix of 512 or more units: an error of about sqrt(2 / (32 * 512)), 1%


def derivatives(layers: list[Tensor], *, exact: bool) -> dict[str, list[float]]:
    """The columns chi1, jacobian_mean and jacobian_variance; NaN for layer 1, and where there is no dependence."""
    nan = float("nan")
    rows = [(nan, nan, nan)]
    product: Tensor | None = torch.eye(layers[0][0].numel(), dtype=torch.float64, device=layers[0].device)
    for before, after in pairwise(layers):
        units, mixing, chi1, mean, variance = after[0].numel(), mixes(after, before), nan, nan, nan
        step = _blocks(after, before, mixing) if exact and depends(after, before) else None
        if step is not None:
            chi1 = float(step.square().sum() / (len(step) * units))
        elif depends(after, before):
            inputs = list(range(len(after)))
            chi1 = _random_square(after, before, [[i] for i in inputs] if mixing else [inputs]) / units
        product = step[0] @ product if step is not None and product is not None else None
        if depends(after, layers[0]) and exact:
            if product is None or not _is_jacobian(product, after, layers[0]):
                product = block(after, layers[0], 0)  # a path leads round the layer in between
            if bool(torch.isfinite(product).all()):  # else undefined
                squared = torch.linalg.svdvals(product) ** 2
                mean, variance = float(squared.mean()), float(squared.var(correction=0))
        elif depends(after, layers[0]):
            square = _random_square(after, layers[0], [[0]])
            mean = square / min(units, layers[0][0].numel())
        rows.append((chi1, mean, variance))
    return dict(zip(("chi1", "jacobian_mean", "jacobian_variance"), map(list, zip(*rows, strict=True)), strict=True))


def depends(after: Tensor, before: Tensor) -> bool:
    """Whether `after` was computed from `before`, as far as autograd knows."""
    return _vjp(after, before, torch.ones_like(after)) is not None


def _vjp(after: Tensor, before: Tensor, rows: Tensor, *, batched: bool = False) -> Tensor | None:
    """rows^T d after / d before; None if `after` does not depend on `before`. ValueError if autograd gives up."""
    found: Tensor | None
    try:
        (found,) = torch.autograd.grad(
            after, before, rows, retain_graph=True, is_grads_batched=batched, allow_unused=True
        )
    except RuntimeError as error:
        if not batched:
            raise ValueError(f"autograd cannot differentiate the model: {error}") from error
        each = [_vjp(after, before, row) for row in rows]  # some function of the model cannot be vectorised
        found = None if each[0] is None else torch.stack([row for row in each if row is not None])
    return found


def mixes(after: Tensor, before: Tensor) -> bool:
    """Whether an input's output depends on another input: if not, each row of a vector scales its own row of J^T v."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(after.shape, generator=generator).to(after)
    scales = torch.randn(len(after), generator=generator).to(after)
    alone = _vjp(after, before, rows)
    together = _vjp(after, before, rows * scales.reshape(-1, *[1] * (after.dim() - 1)))
    if alone is None or together is None:
        return False
    wanted = alone.double() * scales.double().reshape(-1, *[1] * (alone.dim() - 1))
    return float((together.double() - wanted).norm()) > torch.finfo(after.dtype).eps ** 0.5 * float(wanted.norm())


def block(after: Tensor, before: Tensor, i: int) -> Tensor:
    """d after_i / d before_i for one input i, (n_after, n_before), float64; 0 without dependence."""
    units = after[i].numel()
    rows = torch.zeros(units, *after.shape, dtype=after.dtype, device=after.device)
    rows[:, i] = torch.eye(units, dtype=after.dtype, device=after.device).reshape(units, *after.shape[1:])
    found = _vjp(after, before, rows, batched=True)
    if found is None:
        return torch.zeros(units, before[i].numel(), dtype=torch.float64, device=before.device)
    return found[:, i].flatten(1).double()


def _blocks(after: Tensor, before: Tensor, mixing: bool) -> Tensor:
    """The blocks of all inputs, (batch, n_after, n_before); at once where inputs do not mix."""
    if mixing:
        return torch.stack([block(after, before, i) for i in range(len(after))])
    units = after[0].numel()
    rows = torch.eye(units, dtype=after.dtype, device=after.device).reshape(units, 1, *after.shape[1:])
    found = _vjp(after, before, rows.expand(-1, len(after), *after.shape[1:]), batched=True)
    if found is None:
        return torch.zeros(len(after), units, before[0].numel(), dtype=torch.float64, device=before.device)
    return found.flatten(2).transpose(0, 1).double()


def _random_square(after: Tensor, before: Tensor, groups: list[list[int]]) -> float:
    """Mean ||d after_i / d before_i||_F^2 by random signs (Hutchinson 1990), each for a group of inputs, in turn."""
    generator = torch.Generator().manual_seed(0)  # its own: the global random state is the user's
    total = 0.0
    for probe in range(PROBES):
        inputs = groups[probe % len(groups)]
        signs = torch.randint(0, 2, after[inputs].shape, generator=generator) * 2 - 1
        rows = torch.zeros_like(after)
        rows[inputs] = signs.to(after)
        found = _vjp(after, before, rows)
        total += 0.0 if found is None else float(found[inputs].double().square().sum()) / len(inputs)
    return total / PROBES


def _is_jacobian(product: Tensor, after: Tensor, before: Tensor) -> bool:
    """Whether a product of steps is the model's own derivative for the first input: tried on one random vector."""
    row = torch.randn(after[0].numel(), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = torch.zeros_like(after)
    rows[0] = row.reshape(after[0].shape).to(after)
    found = _vjp(after, before, rows)
    if found is None:
        return False
    difference = rows[0].flatten().double() @ product - found[0].flatten().double()
    return float(difference.norm()) <= torch.finfo(after.dtype).eps ** 0.5 * float(found[0].double().norm())

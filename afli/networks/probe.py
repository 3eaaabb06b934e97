"""What a finite network does to signals, layer by layer, beside what the theory of infinite width predicts (Section 2).

Works for any torch model that passes its input through nn.Linear layers one after the other, whatever stands between
them. Layer l is the l-th such layer in the order of use; its preactivations are the outputs of that Linear module.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from afli import isometry
from afli.meanfield import MeanField

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["jacobian_singular_values", "plot", "preactivations", "signal_propagation"]

JACOBIAN_INPUTS = 32


def preactivations(model: nn.Module, x: Tensor) -> list[Tensor]:
    """The outputs (batch, n_l) of every nn.Linear of `model`, in order of use, for inputs x (batch, n_0).

    They carry their autograd graph. Raises ValueError if no nn.Linear is used, or x has fewer than two rows.
    """
    if x.dim() != 2 or len(x) < 2:
        raise ValueError(f"x must be (batch, features) with a batch of at least 2, got shape {tuple(x.shape)}")
    seen: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda module, args, output: seen.append(output))
        for module in model.modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        with torch.enable_grad():
            model(x.detach().requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise ValueError("model must use at least one nn.Linear layer, found none")
    return seen


def signal_propagation(
    model: nn.Module, x: Tensor, *, theory: MeanField | None = None, weights: str = "orthogonal"
) -> pd.DataFrame:
    """Measured q, rho and chi_1 of every layer, and the spread of the Jacobian from layer 1, beside theory.

    x: inputs (batch, n_0). theory: the network's mean field, as `edge_of_chaos_` returns it. weights: how it was drawn.
    One row per layer, the head included, with the columns
      q                  mean square preactivation, over units and inputs
      rho                correlation of two inputs: mean over all pairs of <h, h'> / (|h| |h'|)
      chi1               ||dh^(l) / dh^(l-1)||_F^2 / n_l, mean over the first 32 inputs, eq. (7)
      jacobian_mean      mean squared singular value of J = dh^(l) / dh^(1), for the first input, eq. (10)
      jacobian_variance  their variance, eq. (13)
    and, given `theory`, `*_theory`: q*, the correlation map iterated from the measured rho of layer 1, chi_1, and (12),
    (13) where layer l is as wide as layer 1 (NaN elsewhere: the formulas are for square layers).
    """
    import pandas as pd

    layers = [h.detach() for h in preactivations(model, x)]
    few = preactivations(model, x[:JACOBIAN_INPUTS])
    rows = []
    jacobian: Tensor | None = None
    for l, h in enumerate(layers):
        row = {"layer": l + 1, "q": float(h.double().square().mean()), "rho": _mean_correlation(h)}
        if l > 0:
            step = _layer_jacobians(few[l - 1], few[l])
            row["chi1"] = float(step.square().sum() / (len(step) * h.shape[1]))
            jacobian = step[0] if jacobian is None else step[0] @ jacobian
            squared = torch.linalg.svdvals(jacobian) ** 2
            row |= {"jacobian_mean": float(squared.mean()), "jacobian_variance": float(squared.var(correction=0))}
        rows.append(row)
    table = pd.DataFrame(rows)
    square = [h.shape[1] == layers[0].shape[1] for h in layers]
    return table if theory is None else table.assign(**_predicted(theory, float(table["rho"][0]), square, weights))


def jacobian_singular_values(model: nn.Module, x: Tensor) -> Tensor:
    """Singular values of dh^(L) / dh^(1), eq. (10), for one input x (n_0,); h^(L) is the last layer.

    Returns them in decreasing order, float64.
    """
    layers = preactivations(model, x.expand(2, -1))
    product = torch.eye(layers[0].shape[1], dtype=torch.float64, device=x.device)
    for before, after in pairwise(layers):
        product = _layer_jacobians(before, after)[0] @ product
    return torch.linalg.svdvals(product)


def plot(table: pd.DataFrame) -> Figure:
    """The table of `signal_propagation` as three panels over depth: q, rho and the Jacobian's spread, theory dashed."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    panels = {"q": "variance $q$", "rho": r"correlation $\rho$", "jacobian_variance": r"variance of $s^2$ of $J$"}
    for axis, (column, label) in zip(axes, panels.items(), strict=True):
        axis.plot(table["layer"], table[column], "o", markersize=3, label="measured")
        if f"{column}_theory" in table:
            axis.plot(table["layer"], table[f"{column}_theory"], "--", color="black", label="theory")
        axis.set(xlabel="layer $l$", ylabel=label)
    axes[0].legend()
    return figure


def _mean_correlation(h: Tensor) -> float:
    """Mean over all pairs of different inputs."""
    unit = nn.functional.normalize(h.double(), dim=1)
    count = len(unit)
    return float((unit.sum(0).square().sum() - count) / (count * (count - 1)))


def _layer_jacobians(before: Tensor, after: Tensor) -> Tensor:
    """dh^(l) / dh^(l-1) for every input, (batch, n_l, n_(l-1)), float64, for inputs that do not mix."""
    rows = torch.eye(after.shape[1], dtype=after.dtype, device=after.device)[:, None].expand(-1, len(after), -1)
    (jacobians,) = torch.autograd.grad(after, before, rows, retain_graph=True, is_grads_batched=True)
    return jacobians.transpose(0, 1).double()


def _predicted(theory: MeanField, rho: float, square: list[bool], weights: str) -> dict[str, object]:
    """The columns `*_theory`; square: for each layer, whether it is as wide as layer 1."""
    known = [l for l, equal in enumerate(square) if equal and l > 0]
    mean, variance = np.full(len(square), np.nan), np.full(len(square), np.nan)
    mean[known] = [isometry.jacobian_moments(theory, l, weights=weights)[0] for l in known]
    variance[known] = [isometry.jacobian_variance(theory, l, weights=weights) for l in known]
    return {
        "q_theory": theory.q,
        "rho_theory": theory.correlation_trajectory(rho, len(square) - 1),
        "chi1_theory": theory.chi1,
        "jacobian_mean_theory": mean,
        "jacobian_variance_theory": variance,
    }

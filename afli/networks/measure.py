"""What a finite network does to signals, layer by layer, beside what the theory of infinite width predicts (Section 2).

Works for any model that calls nn.Linear or nn.Conv1d to 3d modules, whatever the wiring: layer l is the l-th call of
one, its preactivations are what the call returns, and derivatives are those of the whole model, by autograd. A model is
measured in evaluation mode, and left as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from afli import isometry
from afli._inputs import WEIGHTS, word
from afli.meanfield import MeanField
from afli.networks.jacobians import block, depends, derivatives, mixes
from afli.networks.running import (
    Unregistered,
    call,
    copied,
    is_weight_layer,
    mapped,
    original,
    require_material,
    require_values,
    tensors,
    undisturbed,
    unseen,
    warn,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Run", "jacobian_singular_values", "preactivations", "run", "signal_propagation"]

OTHER_ROWS = "whose rows are not those of the batch"
JACOBIAN_INPUTS = 32
EXACT_UNITS = 512  # full Jacobians of wider layers take seconds each


@dataclass
class Run:
    """One forward pass. names, layers: of the weight layers in order of use, h with shape (batch, ...) and its graph.

    output: what the model returned. not_seen: the modules with parameters that no row describes, with their kind or the
    reason.
    """

    names: list[str]
    layers: list[Tensor]
    output: Any
    not_seen: list[str]

    def signals(self) -> dict[str, Any]:
        """The columns layer, q and rho, as in `signal_propagation`."""
        layers = [h.detach() for h in self.layers]
        return {
            "layer": np.arange(1, len(layers) + 1),
            "q": [float(h.double().square().mean()) for h in layers],
            "rho": [mean_correlation(h) for h in layers],
        }


class _Calls:
    """The calls of weight layers in one run: module and h; reshaped: the numbers of those that had other rows."""

    def __init__(self, model: nn.Module, x: Any, batch: int) -> None:
        self.batch, self.found = batch, list[tuple[nn.Module, Tensor]]()
        self.reshaped: set[int] = set()
        self.strange: dict[nn.Module, str] = {}

        def keep(module: nn.Module, args: Any, output: Any) -> Any:  # a model that copies itself copies no method
            return self.keep(module, output)

        with ExitStack() as hooks:
            for module in filter(is_weight_layer, model.modules()):
                hooks.callback(module.register_forward_hook(keep).remove)
            self.output = call(model, x)

    def keep(self, module: nn.Module, output: Any) -> Any:
        """Note what a layer returned."""
        if not isinstance(output, Tensor) or not output.is_floating_point():
            self.strange[module] = "returns no tensor of real numbers"
            return output
        h = output if output.requires_grad else output.requires_grad_()
        if h.dim() == 0 or len(h) == 0 or len(h) % self.batch:
            self.strange[module] = OTHER_ROWS
            return output
        if len(h) != self.batch:
            self.reshaped.add(len(self.found))
            h = h.unflatten(0, (self.batch, -1))
        self.found.append((module, h))
        return h.reshape(output.shape).clone()  # so that nothing in place overwrites what was kept


@contextmanager
def run(model: nn.Module, x: Any, *, training: bool = False) -> Iterator[Run]:
    """Run `model` on a batch of at least two inputs and keep the preactivations of every weight layer.

    A layer that sees the batch in another shape, (batch * patches, features) say, is brought back to (batch, ...). To
    be left only when the derivatives are known: what they call (hooks, checkpoints) belongs to the model as it was run.
    Raises TypeError or ValueError if x is no such batch or does not fit the model's dtype, ValueError if the model has
    lazy or meta parameters, does not run on x, computes with complex numbers, or uses no weight layer.
    """
    model = original(model)
    require_material(model)
    batch = _require_batch(model, x)
    names = {id(module): name for name, module in model.named_modules()}
    with torch.inference_mode(False), torch.enable_grad(), undisturbed(model, training=training):
        with Unregistered(model) as foreign:
            calls = _Calls(model, copied(x), batch)
        strange = calls.strange
        if calls.reshaped or any(_may_be_turned(h) for _, h in calls.found):
            strange |= _of_other_rows(model, x, batch)
        # A copy that the model makes of a layer brings the hook along, but is no part of the model.
        found = [(module, h) for module, h in calls.found if module not in strange and id(module) in names]
        others, idle = unseen(model, {id(module) for module, _ in found})
        reasons = foreign.names | {name: type(module).__name__ for name, module in others.items()}
        before = {name: module for name, module in idle.items() if id(module) in names}  # not made in the run
        reasons |= {name: f"{type(m).__name__}, {strange.get(m, 'never called')}" for name, m in before.items()}
        if not found:
            listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            raise ValueError(
                f"model must use at least one nn.Linear layer, or a convolution, found none{listed and f' ({listed})'}"
            )
        not_seen = [f"{name} ({reason})" for name, reason in reasons.items()]
        yield Run([names[id(module)] for module, _ in found], [h for _, h in found], calls.output, not_seen)


def _may_be_turned(h: Tensor) -> bool:
    """Whether the inputs may as well be along axis 1, behind as many time steps."""
    return h.dim() > 2 and len(h) == h.shape[1]


def _of_other_rows(model: nn.Module, x: Any, batch: int) -> dict[nn.Module, str]:
    """The layers whose rows are not the inputs, by a second run: from inputs that gradients reach."""
    x = copied(x, gradients=True)
    calls = _Calls(model, mapped(lambda each: each.clone() if isinstance(each, Tensor) else each, x), batch)
    strange = {}
    for i, (module, h) in enumerate(calls.found):
        turned = _may_be_turned(h) and _is_by_input(h.transpose(0, 1), x)
        if (turned or i in calls.reshaped) and not _is_by_input(h, x):
            strange[module] = OTHER_ROWS
    return strange


def _is_by_input(h: Tensor, x: Any) -> bool:
    """Whether the first row of h depends on the first input alone. Unknown, hence no, for integers."""
    inputs = [tensor for tensor in tensors(x) if tensor.is_floating_point() and len(tensor) == len(h)]
    return any(depends(h, tensor) for tensor in inputs) and not any(mixes(h, tensor) for tensor in inputs)


def preactivations(model: nn.Module, x: Any, *, training: bool = False) -> list[Tensor]:
    """The outputs (batch, ...) of every nn.Linear and convolution of `model`, in order of use, with their graph.

    Parameters
    ----------
    model
        Any model that uses such layers.
    x
        A batch of at least two inputs, of the shape that the model takes, the batch first; a tuple of arguments or a
        dict of keyword arguments for a model of several.
    training
        Run the model in training mode (batch normalisation by the batch, dropout on) instead of evaluation mode.

    Examples
    --------
    >>> import torch
    >>> model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(inplace=True), nn.Linear(5, 2))
    >>> [tuple(h.shape) for h in preactivations(model, torch.ones(4, 3))]
    [(4, 5), (4, 2)]
    """
    with run(model, x, training=training) as whole:
        return whole.layers


def signal_propagation(
    model: nn.Module,
    x: Any,
    *,
    theory: MeanField | None = None,
    weights: str | None = None,
    jacobians: str | None = None,
    training: bool = False,
) -> pd.DataFrame:
    """Measured q, rho and chi_1 of every layer, and the spread of the Jacobian from layer 1, beside theory.

    Parameters
    ----------
    model
        Any model; a warning names the modules with parameters that no row describes.
    x
        A batch of at least two inputs, as for `preactivations`.
    theory
        The network's mean field, as `edge_of_chaos_` returns it.
    weights
        How it was drawn, "orthogonal" or "gaussian", for the theory of the Jacobian. Default: looked at.
    jacobians
        "exact", "random" (32 random vectors in place of full matrices; no variance) or "none". Default: exact where no
        layer has more than 512 units, else random.
    training
        Measure in training mode.

    Returns
    -------
    DataFrame
        One row per layer, the head included; units are all entries of a layer's output for one input. Columns:

        - q: mean square preactivation, over units and inputs
        - rho: correlation of two inputs, the mean over pairs of <h, h'> / (|h| |h'|), without inputs for which h is 0
        - chi1: ||dh^(l) / dh^(l-1)||_F^2 / n_l, mean over the first 32 inputs, eq. (7)
        - jacobian_mean: mean squared singular value of J = dh^(l) / dh^(1), for the first input, eq. (10)
        - jacobian_variance: their variance, eq. (13)

        NaN where undefined: a layer that does not depend on the other, fewer than two inputs with a signal. Given
        `theory` also `*_theory`: q*, the correlation map iterated from the measured rho of layer 1, chi_1, and (12),
        (13) where layer l is as wide as layer 1 (NaN elsewhere: the formulas are for square layers). The names of the
        layers are in `table.attrs["names"]`.

    Examples
    --------
    >>> import torch
    >>> model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
    >>> signal_propagation(model, torch.randn(16, 8)).columns.tolist()
    ['layer', 'q', 'rho', 'chi1', 'jacobian_mean', 'jacobian_variance']
    """
    import pandas as pd

    weights = None if weights is None else word("weights", weights, WEIGHTS)
    jacobians = None if jacobians is None else word("jacobians", jacobians, ("exact", "random", "none"))
    if theory is not None and not isinstance(theory, MeanField):
        raise TypeError(f"theory must be a MeanField, as edge_of_chaos_ returns it, got {theory!r}")
    with ExitStack() as runs:
        whole = runs.enter_context(run(model, x, training=training))
        if whole.not_seen:
            warn(f"not seen: {', '.join(whole.not_seen)}")
        table = pd.DataFrame(whole.signals())
        sizes = [h[0].numel() for h in whole.layers]
        jacobians = jacobians or ("exact" if max(sizes) <= EXACT_UNITS else "random")
        if jacobians != "none" and len(sizes) > 1:
            few = whole
            # With batch statistics a part of the batch is another network; of several arguments some are no batch.
            if not training and isinstance(x, Tensor) and len(x) > JACOBIAN_INPUTS:
                few = runs.enter_context(run(model, x[:JACOBIAN_INPUTS]))
            # So it is where the path through a model depends on the batch.
            columns = derivatives((few if few.names == whole.names else whole).layers, exact=jacobians == "exact")
            if np.isnan(columns["chi1"]).all():
                warn("no layer depends on the one before it: does the model run under no_grad, or detach its values?")
            table = table.join(pd.DataFrame(columns))
    if theory is not None:
        kind = weights or _kind_of_weights(model)
        table = table.assign(**_predicted(theory, float(table["rho"][0]), [n == sizes[0] for n in sizes], kind))
    table.attrs["names"] = whole.names
    return table


def jacobian_singular_values(model: nn.Module, x: Tensor) -> Tensor:
    """Singular values of dh^(L) / dh^(1), eq. (10), for one input; h^(L) is the last layer.

    Parameters
    ----------
    model
        Any model that uses nn.Linear layers or convolutions.
    x
        One input, without a batch dimension.

    Returns
    -------
    Tensor
        In decreasing order, float64. All are 0 if the last layer does not depend on the first.

    Examples
    --------
    >>> import torch
    >>> model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    >>> jacobian_singular_values(model, torch.ones(4)).shape
    torch.Size([2])
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a torch tensor, got one of type {type(x).__name__}")
    with run(model, x.expand(2, *x.shape)) as whole:
        return torch.linalg.svdvals(block(whole.layers[-1], whole.layers[0], 0))


def mean_correlation(h: Tensor) -> float:
    """Mean over all pairs of different rows that are not zero; NaN if there are fewer than two. h: (batch, units)."""
    h = h.double().flatten(1)
    largest = h.abs().amax(1)
    h, largest = h[largest > 0], largest[largest > 0]
    count = len(h)
    if count < 2:
        return float("nan")
    unit = nn.functional.normalize(h / largest[:, None], dim=1)  # scaled first, lest a square underflow
    return float((unit.sum(0).square().sum() - count) / (count * (count - 1)))


# --- Input and theory ---


def _require_batch(model: nn.Module, x: Any) -> int:
    """The number of inputs. Raises TypeError or ValueError if x is no batch of at least two."""
    if not isinstance(x, Tensor | tuple | dict):
        raise TypeError(
            f"x must be a torch tensor, or a tuple or dict of arguments, got one of type {type(x).__name__}"
        )
    first = next(tensors(x), None)
    if first is None:
        raise ValueError("x must hold tensors, in tuples, lists or dictionaries, to be measured: found none")
    if first.dim() < 1 or len(first) < 2:
        raise ValueError(f"x must be a batch of at least 2, got shape {tuple(first.shape)}")
    require_values(x)
    if isinstance(x, Tensor) and x.is_floating_point():
        _require_dtype(model, x)
    return len(first)


def _require_dtype(model: nn.Module, x: Tensor) -> None:
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    if dtypes and x.dtype not in dtypes and not torch.is_autocast_enabled(x.device.type):
        listed = ", ".join(sorted(map(str, dtypes)))
        raise ValueError(f"x must have the dtype of the model, {listed}, got {x.dtype}")


@torch.no_grad()
def _kind_of_weights(model: nn.Module) -> str:
    """Orthogonal if all square nn.Linear weights are, up to a factor."""
    for module in original(model).modules():
        if isinstance(module, nn.Linear) and module.in_features == module.out_features:
            w = module.weight.double()
            square = w @ w.T
            if float((square - torch.diag(square.diagonal())).norm()) > 0.05 * float(square.diagonal().norm()):
                return "gaussian"
    return "orthogonal"


def _predicted(theory: MeanField, rho: float, square: list[bool], weights: str) -> dict[str, object]:
    """The columns `*_theory`; square: for each layer, whether it is as wide as layer 1."""
    known = [l for l, equal in enumerate(square) if equal and l > 0]
    mean, variance = np.full(len(square), np.nan), np.full(len(square), np.nan)
    mean[known] = [isometry.jacobian_moments(theory, l, weights=weights)[0] for l in known]
    variance[known] = [isometry.jacobian_variance(theory, l, weights=weights) for l in known]
    path = theory.correlation_trajectory(rho, len(square) - 1) if np.isfinite(rho) else np.full(len(square), np.nan)
    return {
        "q_theory": theory.q,
        "rho_theory": path,
        "chi1_theory": theory.chi1,
        "jacobian_mean_theory": mean,
        "jacobian_variance_theory": variance,
    }

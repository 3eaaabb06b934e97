"""A verdict on the signal of a network: how far inputs stay apart, and gradients stay in range, with the remedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from afli import meanfield as mf
from afli.errors import ConvergenceError
from afli.networks import measure
from afli.networks.recognise import from_torch
from afli.networks.running import NORMS, original, tensors
from afli.networks.tracing import Layer, Trace, trace

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Diagnosis", "diagnose"]

ALIKE = 0.99  # two inputs of this correlation are told apart by a tenth of their length
RANGE = 100.0  # by so much a signal or a gradient may grow or shrink in all: learning rates span about as much
PROBES = 4  # random directions of the output; the mean square over a batch and all units needs no more


@dataclass(frozen=True)
class Diagnosis:
    """What was measured, and what it means. Print it, or look at `table` and `plot`.

    Parameters
    ----------
    table : DataFrame
        One row per weight layer in order of use: layer, name, q (mean square preactivation), rho (mean correlation of
        two inputs), gradient (length of the gradient of the output with respect to h^(l), relative to the last
        layer), and q_theory and rho_theory where theory applies: eq. (3) and (4) from the layer before, with the
        variances that its weights and biases have; NaN elsewhere.
    findings : tuple of str
        What is wrong; empty if nothing is.
    remedies : tuple of str
        What to do about it, in the same order.
    not_seen : tuple of str
        Modules with parameters that no row describes.
    """

    table: pd.DataFrame
    findings: tuple[str, ...]
    remedies: tuple[str, ...]
    not_seen: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def __str__(self) -> str:
        count = len(self.table)
        rho, growth = self.table["rho"].iloc[-1], per_layer(self.table["gradient"].to_numpy())
        summary = f"{count} layers seen; inputs leave the last one with correlation {rho:.2f}"
        if count > 1:
            summary += f"; gradients change by {growth:.3g} a layer on the way down"
        parts = [summary + ".", "; ".join(self.findings) + "." if self.findings else "No fault was found."]
        if self.not_seen:
            parts.append(f"Not seen: {', '.join(self.not_seen)}.")
        if self.remedies:
            parts.append(f"Remedy: {'; '.join(dict.fromkeys(self.remedies))}.")
        return " ".join(part[0].upper() + part[1:] for part in parts)

    def assert_healthy(self) -> None:
        """Raises AssertionError, with the verdict, if anything was found: for a test suite."""
        if self.findings:
            raise AssertionError(str(self))

    def plot(self) -> Figure:
        """Variance, correlation and gradient over depth, theory dashed."""
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
        labels = {"q": "variance $q$", "rho": r"correlation $\rho$", "gradient": "gradient, relative to the last layer"}
        for axis, (column, label) in zip(axes, labels.items(), strict=True):
            axis.plot(self.table["layer"], self.table[column], "o", markersize=3, label="measured")
            if f"{column}_theory" in self.table:
                axis.plot(self.table["layer"], self.table[f"{column}_theory"], "--", color="black", label="theory")
            axis.set(xlabel="layer $l$", ylabel=label, yscale="linear" if column == "rho" else "log")
        axes[0].legend()
        return figure


def diagnose(model: nn.Module, x: Any, *, training: bool = False) -> Diagnosis:
    """Say whether signals and gradients get through a model, and what to do if they do not.

    Parameters
    ----------
    model
        Any model that uses nn.Linear layers or convolutions. It is run in evaluation mode and left as it was.
    x
        A batch of at least two different inputs, as for `preactivations`; a few dozen are enough.
    training
        Run it in training mode.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(*[m for _ in range(30) for m in (nn.Linear(64, 64), nn.Tanh())], nn.Linear(64, 5))
    >>> print(diagnose(model, torch.randn(32, 64)).findings[0])
    two inputs are 99% alike from layer 9 of 31 on (16)
    """
    import pandas as pd

    with measure.run(model, x, training=training) as run:
        rows = pd.DataFrame(run.signals() | {"gradient": _gradients(run)})
    rows.insert(1, "name", run.names)
    # Theory is that of evaluation.
    rows = rows.assign(**({"q_theory": np.nan, "rho_theory": np.nan} if training else _theory(trace(model, x), rows)))
    own = measure.mean_correlation(x) if isinstance(x, Tensor) and x.is_floating_point() else float("nan")
    normalised = any(isinstance(module, NORMS) for module in original(model).modules())
    found = list(_findings(rows, own, normalised))
    findings, remedies = tuple(finding for finding, _ in found), tuple(remedy for _, remedy in found)
    return Diagnosis(rows, findings, remedies, tuple(run.not_seen))


def per_layer(level: np.ndarray) -> float:
    """The factor per layer from the last to the first of a positive level; NaN if there is only one."""
    known = level[np.isfinite(level) & (level > 0)]
    return float((known[0] / known[-1]) ** (1 / (len(known) - 1))) if len(known) > 1 else float("nan")


def _gradients(run: measure.Run) -> list[float]:
    """Root mean square length of the gradient of random projections of the output, relative to the last layer's.

    NaN for a layer that no gradient reaches. The output is the last layer's where the model returns no tensors.
    """
    outputs = [each for each in tensors(run.output) if each.is_floating_point()] or run.layers[-1:]
    outputs = [each for each in outputs if each.requires_grad]
    generator, squares = torch.Generator().manual_seed(0), np.zeros(len(run.layers))
    for _ in range(PROBES):
        directions = [torch.randn(each.shape, generator=generator, dtype=torch.float64).to(each) for each in outputs]
        squares += [
            float("nan") if g is None else float(g.double().square().sum() / len(g))
            for g in _pulled(outputs, run.layers, directions)
        ]
    level = np.sqrt(squares)
    known = level[np.isfinite(level)]
    with np.errstate(all="ignore"):
        return list(level / known[-1]) if len(known) else list(level)


def _pulled(outputs: list[Tensor], layers: list[Tensor], directions: list[Tensor]) -> Sequence[Tensor | None]:
    if not outputs:
        return [None] * len(layers)
    try:
        return torch.autograd.grad(outputs, layers, directions, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        raise ValueError(f"autograd cannot differentiate the model: {error}") from error


def _findings(table: pd.DataFrame, own: float, normalised: bool) -> Iterator[tuple[str, str]]:
    """What is wrong, and the remedy."""
    count = len(table)

    def at(i: int) -> str:
        return f"layer {i + 1} of {count} on ({table['name'][i]})"

    broken = np.flatnonzero(~np.isfinite(table["q"]))
    if len(broken):
        yield f"preactivations are not finite from {at(broken[0])}", "smaller weights or inputs"
        return
    silent = np.flatnonzero(table["q"] == 0)
    if len(silent):
        yield f"preactivations are zero from {at(silent[0])}", "larger weights, or an activation that does not die"
        return
    unreached = table["name"][table["gradient"].isna()]
    if len(unreached):
        yield (
            f"no gradient of the output is seen to reach {', '.join(unreached)}",
            "a forward pass without detach, no_grad and reentrant checkpoints",
        )
    alike = np.flatnonzero(table["rho"] > ALIKE)
    if len(alike) and not own > ALIKE:
        remedy = "the edge of chaos with small biases (edge_of_chaos_ with x), a wider linear interval, or shortcuts"
        yield f"two inputs are {ALIKE:.0%} alike from {at(alike[0])}", remedy
    q = table["q"].to_numpy()[:-1] if count > 2 else table["q"].to_numpy()  # a head may be small on purpose
    for level, what, order in ((np.sqrt(q), "signals", 1), (table["gradient"].to_numpy(), "gradients", -1)):
        known = level[np.isfinite(level)][::order]
        if len(known) < 2:
            continue
        if (known == 0).any():
            yield f"{what} vanish", "larger weights, or an activation that does not die"
            continue
        if known[-1] < known[0] / RANGE:
            direction, advice = "shrink", "larger weights, by edge_of_chaos_"
        elif known[-1] > known[0] * RANGE:
            direction, advice = "grow", "smaller weights, by edge_of_chaos_"
        else:
            continue
        if normalised:
            advice = "shortcuts, or fewer normalisations, behind which the scale of the weights does not matter"
        factor = per_layer(known[::-1])
        yield f"{what} {direction} by {factor:.3g} a layer, {known[-1] / known[0]:.2g} in all", advice


# --- Theory, layer by layer ---


@torch.no_grad()
def _theory(run: Trace, table: pd.DataFrame) -> dict[str, list[float]]:
    """q and rho of every layer that another one feeds through a known activation, by eq. (3) and (4)."""
    nan = float("nan")
    q, rho = [nan] * len(table), [nan] * len(table)
    number = {layer.node: i for i, layer in enumerate(run.layers)}
    for i, layer in enumerate(run.layers):
        below = number.get(layer.source[0])
        plain = not layer.strange and (below is None or not run.layers[below].strange)
        if below is None or not plain or [each.name for each in run.layers] != table["name"].tolist():
            continue
        at = [
            table[name][below] if np.isnan(known[below]) else known[below] for name, known in (("q", q), ("rho", rho))
        ]
        with np.errstate(all="ignore"):
            q[i], rho[i] = _next(layer, *at)
    return {"q_theory": q, "rho_theory": rho}


def _next(layer: Layer, q: float, rho: float) -> tuple[float, float]:
    """q and rho one layer up, with the variances that the layer's weights and biases have."""
    module: Any = original(layer.module)
    weight, bias = module.weight.double(), module.bias
    variances = {
        "sigma_w2": float(weight.square().sum() / len(weight)),
        "sigma_b2": 0.0 if bias is None else float(bias.double().square().mean()),
    }
    try:
        phi = from_torch(layer.phi if layer.phi is not None else "linear")
        above = float(mf.variance_map(phi, q, **variances))
        if not above > 0 or np.isnan(rho):
            return above, float("nan")
        covariance = mf.covariance_map(phi, float(np.clip(rho, -1, 1)), q1=q, q2=q, **variances)
    except (ValueError, TypeError, ConvergenceError):  # an activation that cannot be read, a q that is 0 or too large
        return float("nan"), float("nan")
    return above, float(covariance / above)

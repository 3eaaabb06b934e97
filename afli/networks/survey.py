"""Which layers of a model the theory can initialise, with which activation, and why it cannot the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from afli.activations import Activation
from afli.networks.recognise import from_torch, same_function
from afli.networks.running import original, require_material, unseen
from afli.networks.tracing import Key, Layer, Trace, trace

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["UNUSED", "Survey", "Task", "survey"]

UNUSED = "used in the forward pass"


@dataclass
class Task:
    """A weight layer that theory can initialise.

    name, module: as in `named_modules`. head: whether it feeds no other weight layer. share: the part of the variance
    that it adds to a residual sum. input_mean_square: of what it reads, NaN if that is not the input.
    """

    name: str
    module: nn.Module
    head: bool
    share: float = 1.0
    input_mean_square: float = float("nan")

    @property
    def fan_in(self) -> int:
        """The number of inputs that one unit adds up."""
        return int(self.module.weight[0].numel())  # type: ignore[index]


@dataclass
class Survey:
    """What `survey` found out about a model.

    phi: the activation, or None if there is none between weight layers. tasks: the layers that can be initialised, in
    order of use. untouched: the other layers, and every other module with parameters, with the reason. notes: what else
    the theory does not know of.
    """

    phi: Activation | None
    tasks: list[Task] = field(default_factory=list)
    untouched: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def table(self) -> pd.DataFrame:
        """One row per layer: name, type, fan_in, and "initialised" or the reason why not."""
        import pandas as pd

        rows = [
            {"layer": t.name, "type": type(t.module).__name__, "fan_in": t.fan_in, "fate": "initialised"}
            for t in self.tasks
        ]
        rows += [{"layer": name, "fate": f"not touched: {reason}"} for name, reason in self.untouched.items()]
        return pd.DataFrame(rows, columns=["layer", "type", "fan_in", "fate"])


def survey(model: nn.Module, x: Any = None, phi: Any = None) -> Survey:
    """Run a model once on a batch and find the layers that theory can initialise.

    Parameters
    ----------
    model
        Any module. It is run in evaluation mode, and left as it was.
    x
        A batch of its inputs: a tensor, a tuple of arguments, or a dict of keyword arguments. Without one, `model` must
        take (batch, features) into an nn.Linear layer.
    phi
        Its activation, an `Activation` or whatever `from_torch` takes. Default: the one used most often.

    Raises
    ------
    ValueError
        If the model cannot be run: it has lazy parameters, is on the meta device or TorchScript, or does not take x.

    Examples
    --------
    >>> from torch import nn
    >>> found = survey(nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 2)))
    >>> found.phi.name, found.untouched["3"]
    ('tanh', 'its input comes from 2 (LayerNorm), which fixes the variance whatever the weights')
    """
    model = original(model)
    require_material(model)
    x = example(model) if x is None else x
    run = trace(model, x)
    readings = {layer.node: _reading(layer) for layer in run.layers}
    # What a layer that reads the input has before it prepares the data; it counts if there is nothing else.
    first = {layer.node for layer in run.layers if layer.kind == "input"}
    seen = [[r.phi for node, r in readings.items() if r.phi and (node in first) == early] for early in (False, True)]
    found = Survey(_main_activation(seen[0] or _elsewhere(run) or seen[1], phi))
    joins = _Joins(run, found.phi)
    others, idle = unseen(model, {id(layer.module) for layer in run.layers})
    found.untouched |= run.unregistered
    found.untouched |= {name: f"{type(module).__name__} is outside the theory" for name, module in others.items()}
    calls = Counter(id(layer.module) for layer in run.layers)
    shared = _shared(model)
    ready: set[int] = set()  # nodes whose outputs have the variance that theory gives them
    sums = sorted(joins.known)
    for layer in run.layers:
        while sums and sums[0] < layer.node:
            node = sums.pop(0)
            ready |= {node} if all(_is_ready(run, parent, ready) for parent in run.nodes[node].parents) else set()
        reason = _hindrance(run, layer, calls, shared) or _mismatch(
            run, layer, readings[layer.node], found.phi, joins, ready
        )
        head = layer.node in run.heads
        if reason:
            found.untouched[layer.name] = reason
            continue
        ready.add(layer.node)
        size = layer.mean_square if layer.kind == "input" else float("nan")
        found.tasks.append(Task(layer.name, layer.module, head, joins.shares.get(layer.node, 1.0), size))
        if layer.kind in ("pool", "part"):
            found.notes.append(f"{layer.name} reads {run.describe(layer.source)}, whose variance theory does not know")
        elif head and (strange := _strange_activation(run, layer, readings[layer.node], found.phi)):
            found.notes.append(f"the head {layer.name}: {strange}, so that its variance is not q*")
    for name, module in idle.items():
        borrowed = id(module) in run.borrowed
        found.untouched[name] = f"never {'called, but its parameters are used' if borrowed else UNUSED}"
    if joins.branches & ready:
        growth = "1/L" if joins.unchanged else "sigma_w2/L"
        found.notes.append(f"L = {joins.blocks} shortcuts: q grows by a factor of up to 1 + {growth} at each")
    found.notes += _noises(run)
    if run.numbers:
        read = ", ".join(sorted(run.numbers))
        found.notes.append(f"numbers are read from {read}: where they enter again they are taken for constants")
    return found


def example(model: nn.Module) -> Tensor:
    """Two random inputs (2, n) that `model` takes, n being the fan-in of one of its nn.Linear layers.

    Raises ValueError if it takes none.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError("model must contain at least one nn.Linear layer, found none; other models need x, a batch")
    for n in dict.fromkeys(layer.in_features for layer in linear):
        parameter = next(model.parameters())
        x = torch.randn(2, n, generator=torch.Generator().manual_seed(0)).to(parameter)
        try:
            run = trace(model, x)
        except ValueError:  # an input that it is not made for
            continue
        if run.layers:
            return x
    raise ValueError("x must be given: the model takes no batch of shape (2, n), n from one of its nn.Linear layers")


@dataclass
class _Reading:
    """The activation before a layer: known, or absent (linear), or the reason why it cannot be read."""

    phi: Activation | None = None
    reason: str = ""


def _reading(layer: Layer) -> _Reading:
    if layer.phi is None:
        return _Reading()
    try:
        return _Reading(from_torch(layer.phi))
    except (ValueError, ArithmeticError) as error:
        return _Reading(reason=str(error))


def _elsewhere(run: Trace) -> list[Activation]:
    """Activations that something else than a layer reads: a pool, a normalisation, a concatenation."""
    found = []
    for node in run.nodes:
        for parent in node.parents if node.kind in ("pool", "cat", "norm") else ():
            origin = run.origin(parent)
            function = run.phi(parent, origin) if run.nodes[origin[0]].kind == "weight" else None
            if function is not None:
                with suppress(ValueError, ArithmeticError):
                    found.append(from_torch(function))
    return found


def _main_activation(readings: list[Activation], phi: Any) -> Activation | None:
    """The one that is asked for, if the model has it or has none; else the one used most often."""
    found: list[Activation] = []
    for reading in readings:
        found.append(next((known for known in found if same_function(known, reading)), reading))
    if phi is None:
        return Counter(found).most_common(1)[0][0] if found else None
    phi = from_torch(phi)
    if found and not any(same_function(phi, each) for each in found):
        names = ", ".join(dict.fromkeys(each.name for each in found))
        raise ValueError(f"phi must be the model's activation, {names}, got {phi.name}")
    return phi


def _shared(model: nn.Module) -> set[int]:
    """The parameters (their ids) that several modules have, or that overlap with others in memory."""
    owners = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    found = {key for key, count in owners.items() if count > 1}
    places = sorted(((p.data_ptr(), p) for p in model.parameters() if p.numel()), key=lambda place: place[0])
    furthest, holder = -1, None  # the last byte of those before, and whose it is: a long one may hold several
    for start, p in places:
        if holder is not None and start <= furthest:
            found |= {id(p), id(holder)}
        last = start + p.element_size() * sum((n - 1) * step for n, step in zip(p.shape, p.stride(), strict=True))
        if last > furthest:
            furthest, holder = last, p
    return found


def _hindrance(run: Trace, layer: Layer, calls: Counter[int], shared: set[int]) -> str:
    """Why the weights of a layer cannot be drawn, whatever feeds it; empty if they can."""
    module = layer.module
    if strange := next((each.strange for each in run.layers if each.module is module and each.strange), ""):
        return strange
    if calls[id(module)] > 1:
        return f"used {calls[id(module)]} times, so that its uses are not independent"
    for name in ("weight", "bias"):
        # In this order: looking at a weight under spectral_norm changes it.
        if parametrize.is_parametrized(module, name) or getattr(module, name) is None:
            continue
        parameter = module._parameters.get(name)
        if parameter is None:
            return f"its {name} is recomputed by a hook (pruning, or an old weight_norm or spectral_norm)"
        if id(parameter) in shared:
            return f"its {name} is shared with another module"
    if any(id(parameter) in shared for parameter in module.parameters()):
        return "what its parameters are made of is shared with another module"
    if not all(parameter.requires_grad for parameter in module.parameters()):
        return "frozen (requires_grad is False)"
    if any(parameter.is_complex() for parameter in module.parameters()):
        return "its weights are complex"
    return "its parameters are used outside its own call, too" if id(module) in run.borrowed else ""


def _mismatch(
    run: Trace, layer: Layer, reading: _Reading, phi: Activation | None, joins: _Joins, ready: set[int]
) -> str:
    """Why theory does not know what a layer is fed with; empty if it does."""
    below = _behind_pools(run, layer.source)
    kind, source = run.nodes[below[0]].kind, run.describe(below)
    if reading.reason:
        return reading.reason
    if kind == "norm":
        return f"its input comes from {source}, which fixes the variance whatever the weights"
    if kind == "sum" and below[0] not in ready:
        unknown = "a part is not touched" if below[0] in joins.known else "theory does not know the parts"
        return f"its input is a sum of which {unknown}"
    if kind in ("gate", "cat", "other"):
        return f"its input comes from {source}, which theory does not cover"
    if kind == "weight" and below[0] not in ready:
        return f"its input comes from {source}, which is not touched"
    if kind == "weight" and joins.shares.get(below[0], 1.0) < 1:
        return f"its input comes from {source}, which has the variance of one part of a sum"
    return "" if layer.node in run.heads else _strange_activation(run, layer, reading, phi)


def _behind_pools(run: Trace, key: Key) -> Key:
    """The origin that a value is a pool, or a part, of."""
    while run.nodes[key[0]].kind in ("pool", "part"):
        key = run.origin(run.nodes[key[0]].parents[0])
    return key


def _is_ready(run: Trace, key: Key, ready: set[int]) -> bool:
    """Whether a part of a sum has the variance of the theory, or is the input, whose scale is the user's."""
    node = _behind_pools(run, run.origin(key))[0]
    return node in ready or run.nodes[node].kind == "input"


def _strange_activation(run: Trace, layer: Layer, reading: _Reading, phi: Activation | None) -> str:
    """What is wrong with the activation before a layer; empty if it is phi, or if the layer reads the input."""
    if phi is None or layer.kind in ("input", "pool", "part"):
        return ""
    if reading.phi is None:
        return "" if phi.family == "linear" else f"no activation stands between it and {run.describe(layer.source)}"
    return "" if same_function(reading.phi, phi) else f"it is fed by {reading.phi.name}, not {phi.name}"


class _Joins:
    """The residual sums of a model whose parts theory knows, and what share of the variance each part may add.

    known: their nodes. shares: by the node of the weight layer that a part ends in. blocks: how many shortcuts carry
    the sum on, unchanged or through a rectifier; branches: the last layers of the branches beside them, which share one
    variance. Two branches that meet get one half each. Other activations shrink what a shortcut carries, again and
    again: theory has no q* for them.
    """

    def __init__(self, run: Trace, phi: Activation | None) -> None:
        self.known: set[int] = set()
        self.blocks, self.unchanged = 0, True
        shares: dict[int, float | None] = {}  # None for the branch of a block, until it is known how many there are
        for index, node in enumerate(run.nodes):
            if node.kind != "sum" or len(node.parents) != 2:
                continue
            tails = [self._tail(run, parent) for parent in node.parents]
            for skip, tail in zip(node.parents, reversed(tails), strict=True):
                branch = node.parents[1 - node.parents.index(skip)]
                if tail is None or not self._on_the_way(run, skip, branch):
                    continue
                through = run.phi(skip, run.origin(skip))
                if through is None or _is_rectifier(through, phi):
                    self.blocks += 1
                    self.unchanged &= through is None
                    self.known.add(index)
                    shares[tail] = None
                break
            else:
                if None not in tails and tails[0] != tails[1]:
                    self.known.add(index)
                    shares |= {tail: 0.5 for tail in tails if tail is not None}
        self.branches = {tail for tail, share in shares.items() if share is None}
        self.shares = {tail: 1 / self.blocks if share is None else share for tail, share in shares.items()}

    @staticmethod
    def _tail(run: Trace, key: Key) -> int | None:
        """The weight layer that a value is the unchanged output of."""
        origin = run.origin(key)
        return origin[0] if run.nodes[origin[0]].kind == "weight" and run.phi(key, origin) is None else None

    @staticmethod
    def _on_the_way(run: Trace, skip: Key, branch: Key) -> bool:
        """Whether the branch starts from the value that the shortcut carries."""
        path, above = [skip], run.ancestors(branch)
        while run.nodes[path[-1][0]].kind == "structure":
            path.append(run.nodes[path[-1][0]].parents[0])
        return any(key in above for key in path) and branch not in run.ancestors(skip)


def _is_rectifier(through: Callable[[Tensor], Tensor], phi: Activation | None) -> bool:
    """Whether a shortcut passes the model's activation, and that is homogeneous and shrinks nothing (ReLU and kin)."""
    return phi is not None and phi.is_homogeneous and phi.name != "linear" and same_function(from_torch(through), phi)


def _noises(run: Trace) -> list[str]:
    """What is random in training, and off or a mean in the theory."""
    rates = {
        float(node.kwargs.get("p", node.args[1] if len(node.args) > 1 else 0.5))
        for node in run.nodes
        if "dropout" in node.name and node.kind == "structure"
    }
    notes = [f"dropout of {p:g} raises the variance in training" for p in rates if p > 0]
    notes += ["rrelu draws its slopes in training"] if any(node.name == "rrelu" for node in run.nodes) else []
    return [f"{note}; theory is that of evaluation" for note in notes]

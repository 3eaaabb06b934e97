"""Which weight layers a model uses, in which order, and what stands between them: read off one run of the model.

Every torch function that the run calls is recorded, whoever calls it and under whatever Python control flow. A value is
followed from where it comes from (its origin: the input, a weight layer, a sum, a normalisation, ...) through functions
that act on every unit alike; composed, these are the activation that a layer's input has passed through.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from afli.networks.modules import ACTIVATIONS
from afli.networks.running import (
    Unregistered,
    call,
    copied,
    is_weight_layer,
    leaves,
    mapped,
    original,
    require_values,
    tensors,
    undisturbed,
)

__all__ = ["Key", "Layer", "Trace", "trace"]

# What a torch function does to the units, by its name without underscores. Any other makes an origin of kind "other".
# Structure moves units, leaves some out, or puts zeros beside them; a cast and a dropout that is off do nothing.
_WORDS = {
    "pointwise": """
        relu relu6 gelu silu mish elu selu celu leakyrelu prelu rrelu hardtanh hardswish hardsigmoid sigmoid tanh
        softplus softsign softshrink hardshrink tanhshrink logsigmoid threshold erf erfc expit sin cos atan arctan
        sinh cosh asinh exp exp2 expm1 log log1p sqrt rsqrt abs neg negative positive square pow float_power reciprocal
        sign sgn clamp clampmin clampmax clip add radd iadd sub subtract rsub isub mul multiply rmul imul div divide
        truediv rtruediv itruediv rdiv maximum minimum where logaddexp gt lt ge le eq ne bool""",
    "structure": """
        reshape view viewas flatten unflatten ravel permute transpose swapaxes movedim contiguous clone squeeze
        unsqueeze expand expandas t T mT H detach alias to float double half bfloat16 type cpu cuda typeas pad dropout
        dropout1d dropout2d dropout3d alphadropout featurealphadropout identity requiresgrad pixelshuffle
        pixelunshuffle""",
    "part": "getitem chunk split select narrow unbind indexselect unfold tensorsplit",
    "norm": "layernorm batchnorm groupnorm instancenorm rmsnorm normalize localresponsenorm",
    "cat": "cat concat concatenate stack hstack vstack",
    "pool": "mean sum amax max interpolate upsample upsamplenearest upsamplebilinear",
}
KINDS = {name: kind for kind, words in _WORDS.items() for name in words.split()}
PRODUCTS = {"linear", "conv1d", "conv2d", "conv3d"}
SUMS = {"add", "radd", "iadd", "sub", "subtract", "rsub", "isub"}
# Of the structure, what leaves every unit in its place.
STILL = {"to", "float", "double", "clone", "contiguous", "dropout", "detach", "identity"}

Key = tuple[int, int]  # a node and the number of its output


@dataclass(frozen=True)
class Ref:
    """An argument that is another node's output."""

    key: Key


@dataclass
class Node:
    """One call of a torch function: what it does to the units, and its arguments."""

    kind: str
    name: str
    function: Callable[..., Any]
    args: Any
    kwargs: Any
    module: nn.Module | None
    parents: tuple[Key, ...]


@dataclass(frozen=True)
class Layer:
    """A weight layer in use.

    name, module: as in `named_modules`. node: the call. mean_square: of its input. source: the value its input comes
    from, and its kind: "input", "weight", "sum", "norm", "pool", "gate", "cat", "part" or "other". phi: the function
    between that value and the input of this layer, on tensors of any shape, or None if there is none. strange: what the
    call does besides multiplying the layer's own weight, empty for nothing.
    """

    name: str
    module: nn.Module
    node: int
    mean_square: float
    source: Key
    kind: str
    phi: Callable[[Tensor], Tensor] | None
    strange: str


@dataclass
class Trace:
    """One run of a model: its layers in order of use, every recorded call, and the layers that feed no other.

    borrowed: the weight layers (their ids) whose parameters something else than their own call reads. numbers: the
    functions whose values were read as numbers of Python. unregistered: the parameters that the run used and the model
    does not have, in words by a name.
    """

    layers: list[Layer]
    nodes: list[Node]
    names: dict[int, str]
    borrowed: set[int]
    numbers: set[str]
    heads: set[int] = field(default_factory=set)
    unregistered: dict[str, str] = field(default_factory=dict)

    def origin(self, key: Key) -> Key:
        """Where a value comes from, back through functions that act on every unit alike."""
        while (node := self.nodes[key[0]]).kind in ("pointwise", "structure"):
            key = node.parents[0]
        return key

    def phi(self, key: Key, origin: Key) -> Callable[[Tensor], Tensor] | None:
        """The function from `origin` to `key`; None if the units are only moved."""
        at, steps = key, list[Node]()
        while at != origin:
            node = self.nodes[at[0]]
            at, steps = node.parents[0], [node, *steps] if node.kind == "pointwise" else steps
        if not steps:
            return None
        if len(steps) == 1 and isinstance(steps[0].function, nn.Module):
            return steps[0].function

        def phi(z: Tensor) -> Tensor:
            return self._replay(key, {origin: z}, z)

        phi.__name__ = " then ".join(node.name for node in steps)
        return phi

    def _replay(self, key: Key, known: dict[Key, Tensor], z: Tensor) -> Tensor:
        def value(argument: Any) -> Any:
            if isinstance(argument, Ref):
                return self._replay(argument.key, known, z).clone()  # the function may overwrite it
            return _same_for_all(argument).to(z) if isinstance(argument, Tensor) else argument

        if key not in known:
            node = self.nodes[key[0]]
            if node.kind == "structure":
                known[key] = self._replay(node.parents[0], known, z)
            else:
                known[key] = node.function(*mapped(value, node.args), **mapped(value, node.kwargs))
        return known[key]

    def ancestors(self, key: Key) -> set[Key]:
        """All values that a value was computed from, itself included."""
        found, todo = set(), [key]
        while todo:
            at = todo.pop()
            if at not in found:
                found.add(at)
                todo.extend(self.nodes[at[0]].parents)
        return found

    def describe(self, key: Key) -> str:
        """A value's origin in words: the module that made it, or the function."""
        node = self.nodes[key[0]]
        name = self.names.get(id(node.module), "")
        shown = name and node.kind in ("norm", "pool", "weight", "other")
        return f"{name} ({type(node.module).__name__})" if shown else node.name


def trace(model: nn.Module, x: Any) -> Trace:
    """Run `model` once on the inputs `x`, in evaluation mode, and record what it does. `model` is left as it was.

    Raises ValueError if it does not run on x, or x has no finite values.
    """
    model = original(model)
    require_values(x)
    with torch.inference_mode(False), undisturbed(model), torch.enable_grad(), ExitStack() as hooks:
        for module in model.modules():  # these wrap inputs and outputs, which then cannot be followed
            module._backward_hooks.clear()
            module._backward_pre_hooks.clear()
        x = copied(x)  # with gradients on: a model may differentiate itself
        recorder = _Recorder(model)

        def enter(*call: Any) -> None:  # functions: a model that copies itself would copy the recorder with its methods
            recorder.enter(*call)

        def leave(*call: Any) -> None:
            recorder.leave(*call)

        for module in model.modules():
            hooks.callback(module.register_forward_pre_hook(enter, with_kwargs=True, prepend=True).remove)
            hooks.callback(module.register_forward_hook(leave, with_kwargs=True).remove)
        recorder.add_input(x)
        with Unregistered(model) as foreign, recorder:
            call(model, x)
    found = recorder.finished()
    found.unregistered = foreign.names
    return found


class _Recorder(TorchFunctionMode):
    """Records calls of torch functions that depend on the input."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.names = {id(module): name for name, module in model.named_modules()}
        layers = [module for module in model.modules() if is_weight_layer(module)]
        self.owners = {id(parameter): layer for layer in layers for parameter in layer.parameters()}
        self.places = {_place(parameter): layer for layer in layers for parameter in layer.parameters()}
        self.nodes: list[Node] = []
        self.calls: list[tuple[nn.Module, int, float]] = []
        self.keys: dict[int, Key] = {}
        self.alive: list[Any] = []  # a tensor that lives on keeps its id
        self.stack: list[nn.Module] = []
        self.strange: dict[int, str] = {}
        self.borrowed: set[int] = set()
        self.numbers: set[str] = set()
        self.changed: dict[int, str] = {}  # the weight layers that do not compute with what they hold, and why

    def add_input(self, x: Any) -> None:
        self._add(Node("input", "input", _nothing, (), {}, None, ()), x)

    def _add(self, node: Node, output: Any) -> int:
        self.nodes.append(node)
        for number, tensor in enumerate(tensors(output)):
            self.keys[id(tensor)] = (len(self.nodes) - 1, number)
            self.alive.append(tensor)
        return len(self.nodes) - 1

    def _reference(self, argument: Any) -> Any:
        known = isinstance(argument, Tensor) and id(argument) in self.keys
        return Ref(self.keys[id(argument)]) if known else argument

    def enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self.stack.append(module)

    def leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Whatever a module computes unseen (in numpy, say) is one call of it."""
        while self.stack.pop() is not module:  # one whose forward raised, which the model caught
            pass
        if is_weight_layer(module) and self.calls and self.calls[-1][0] is module:
            node = self.calls[-1][1]
            if not isinstance(output, Tensor) or self.keys.get(id(output)) != (node, 0):
                self.strange.setdefault(node, "its output is changed before it leaves, by its forward or a hook")
        outside = all(id(tensor) not in self.keys for tensor in tensors(output))
        parents = tuple(self.keys[id(t)] for t in tensors((args, kwargs)) if id(t) in self.keys)
        if outside and parents:
            kind = "pointwise" if isinstance(module, ACTIVATIONS) else "other"
            references = mapped(self._reference, args)
            self._add(Node(kind, type(module).__name__, module, references, {}, module, parents), output)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        references, named = mapped(self._reference, args), mapped(self._reference, kwargs)
        parents = tuple(r.key for r in leaves((references, named)) if isinstance(r, Ref))
        versions = [(t, t._version) for t in tensors((args, kwargs)) if not t.is_inference()]
        state = torch.get_rng_state()
        output = func(*args, **kwargs)
        module = self.stack[-1] if self.stack else None
        name, returned = _name(func), list(tensors(output))
        random = not torch.equal(state, torch.get_rng_state())
        if returned and name != "grad":
            self._see_borrowed((args, kwargs))
        if any(isinstance(m, ACTIVATIONS) for m in self.stack):
            return output
        if name in PRODUCTS and module is not None and is_weight_layer(module):
            given = list(args) + [kwargs[key] for key in ("input", "weight", "bias") if key in kwargs]
            values, weight, *bias = given
            if not parents:  # the input was made by something that is no torch function, of any layer before
                before = tuple((node, 0) for _, node, _ in self.calls)
                parents = ((self._add(Node("other", "values from elsewhere", _nothing, (), {}, None, before), ()), 0),)
            node = self._add(Node("weight", name, func, references, named, module, parents), output)
            self.calls.append((module, node, float(values.detach().abs().double().square().mean())))
            if not (_is_own(module, "weight", weight) and all(_is_own(module, "bias", b) for b in bias[:1])):
                self.strange[node] = "its weight is recomputed in its forward"
            return output
        if name in ("item", "float", "tolist") and not returned and any(t.is_floating_point() for t in tensors(args)):
            self.numbers |= {self.nodes[parent[0]].name for parent in parents}
        changed = [t for t, version in versions if t._version != version]
        self._see_changed(func, name, args, changed)
        self._see_overwritten(changed, name, parents, returned)
        if (parents or random) and returned:
            kind = "other" if random else self._kind(name, parents, (references, named))
            self._add(Node(kind, name, func, references, named, module, parents), output)
        return output

    def _see_borrowed(self, arguments: Any) -> None:
        for tensor in tensors(arguments):
            owner = self.owners.get(id(tensor))
            if owner is not None and owner not in self.stack:
                self.borrowed.add(id(owner))

    def _see_changed(self, func: Any, name: str, args: Any, changed: list[Tensor]) -> None:
        """Weights that are masked, clipped or normalised in place, set anew, or dropped out."""
        layers = [self.places[_place(tensor)] for tensor in changed if _place(tensor) in self.places]
        if args and id(args[0]) in self.owners and (func == _SET_DATA or "dropout" in name):
            layers.append(self.owners[id(args[0])])
        reason = "dropped out in training" if "dropout" in name else "overwritten while the model runs"
        self.changed |= {id(layer): f"its parameters are {reason}" for layer in layers}

    def _see_overwritten(self, changed: list[Tensor], name: str, parents: tuple[Key, ...], returned: Any) -> None:
        """Whatever shares its memory with a tensor that was changed in place, but is not what the call returned."""
        places = {_place(tensor) for tensor in changed}
        for tensor in list(self.alive) if places else ():
            if _place(tensor) in places and not any(tensor is each for each in returned):
                self._add(Node("other", f"{name} in place", _nothing, (), {}, None, parents), tensor)

    def _kind(self, name: str, parents: tuple[Key, ...], arguments: Any) -> str:
        kind = "pool" if "pool" in name else KINDS.get(name, "other")
        if kind == "pointwise" and len({self._path(parent) for parent in parents}) > 1:
            weighted = arguments[1].get("alpha", 1) != 1  # torch.add(x, y, alpha=0.5)
            return "sum" if name in SUMS and not weighted else "gate"
        constants = [a for a in leaves(arguments) if isinstance(a, Tensor)]
        if kind == "pointwise" and any(_varies(a) for a in constants):
            return "other"  # not the same function for every unit
        return kind

    def _path(self, key: Key) -> tuple[Any, ...]:
        """The origin of a value, and how its units were moved on the way."""
        moves: list[int] = []
        while (node := self.nodes[key[0]]).kind in ("pointwise", "structure"):
            if node.kind == "structure" and node.name not in STILL:
                moves.append(key[0])
            key = node.parents[0]
        return key, tuple(moves)

    def finished(self) -> Trace:
        found = Trace([], self.nodes, self.names, self.borrowed, self.numbers)
        for module, node, mean_square in self.calls:
            key = self.nodes[node].parents[0]
            source = found.origin(key)
            kind, name, strange = self.nodes[source[0]].kind, self.names.get(id(module), ""), self.strange.get(node, "")
            strange = self.changed.get(id(module), strange)
            if id(module) not in self.names:
                name, strange = "(not registered)", "a layer that the model does not have, or a copy made in the run"
            phi = found.phi(key, source)
            found.layers.append(Layer(name, module, node, mean_square, source, kind, phi, strange))
        used = {key[0] for layer in found.layers for key in found.ancestors(self.nodes[layer.node].parents[0])}
        found.heads = {layer.node for layer in found.layers} - used
        return found


_SET_DATA = Tensor.data.__set__  # type: ignore[attr-defined]  # weight.data = ...


def _place(tensor: Tensor) -> int:
    """Where a tensor's values are, the same for all views of it."""
    return tensor.untyped_storage().data_ptr()


def _nothing() -> None:
    """The call of the input's node."""


def _name(func: Any) -> str:
    name = getattr(func, "__name__", type(func).__name__)
    if name == "__get__":  # a property of tensors
        name = getattr(getattr(func, "__self__", None), "__name__", name)
    return name.replace("_", "").removeprefix("special")  # torch.special.erf is torch.erf


def _is_own(module: nn.Module, name: str, value: Any) -> bool:
    """Whether a value is the parameter of a layer, or what its parametrisation or an old-style hook makes of that."""
    return value is module.__dict__.get(name, module._parameters.get(name)) or parametrize.is_parametrized(module, name)


def _varies(constant: Tensor) -> bool:
    """Whether a constant differs from unit to unit."""
    return constant.numel() > 1 and not bool((constant == constant.flatten()[0]).all())


def _same_for_all(constant: Tensor) -> Tensor:
    return constant.flatten()[0].detach() if constant.numel() else constant

"""Running a model that is somebody's own: under its wrappers, on real parameters, and leaving it as it was."""

from __future__ import annotations

import copy
import random
import sys
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from afli.networks.modules import ACTIVATIONS

WEIGHT_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)
CONTAINERS = (dict, OrderedDict, defaultdict, Counter, list, deque, set)  # not their kin, which may refuse a change
COPIED = (Tensor, torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


def original(model: nn.Module) -> nn.Module:
    """The model inside the wrappers of torch.compile and DataParallel. Raises TypeError if it is no module."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {model!r} of type {type(model).__name__}")
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, nn.DataParallel):
            inner = model.module
        if inner is None:
            return model
        model = inner


def is_weight_layer(module: nn.Module) -> bool:
    """nn.Linear and nn.Conv1d to 3d: the layers of the theory."""
    return isinstance(module, WEIGHT_LAYERS)


def unseen(model: nn.Module, used: set[int]) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    """What a run does not show, by name: modules of other kinds with parameters of their own, and idle weight layers.

    Of the other kinds normalisations and learned activations do not count. What belongs to an attention module, a
    recurrent or a quantised layer is one of its parts. used: the ids of the weight layers that the run called.
    """
    others: dict[str, nn.Module] = {}
    idle: dict[str, nn.Module] = {}
    wholes: list[str] = []
    for name, module in model.named_modules():
        if name.startswith(tuple(wholes)):
            continue
        label = name or "(the model itself)"
        # The parameters of a parametrisation are the layer's own.
        wrapper = type(module).__module__ == "torch.nn.utils.parametrize" or "parametrizations" in name.split(".")
        own = any(parameter is not None for parameter in module._parameters.values())
        if is_weight_layer(module):
            idle |= {} if id(module) in used else {label: module}
        elif isinstance(module, (*NORMS, nn.PReLU, *ACTIVATIONS)) or wrapper:
            continue
        elif own or _has_hidden_state(module) or _trains_a_tensor(module):
            others[label] = module
            if isinstance(module, nn.MultiheadAttention | nn.RNNBase) or _has_hidden_state(module):
                wholes.append(f"{name}.")
    return others, idle


def _has_hidden_state(module: nn.Module) -> bool:
    """Whether a module saves something that is neither parameter nor buffer: the weights of a quantised layer."""
    own = {key for key in module.state_dict() if "." not in key}
    return bool(own - set(module._parameters) - set(module._buffers))


def _trains_a_tensor(module: nn.Module) -> bool:
    """Whether an attribute is a tensor that wants gradients, but no parameter."""
    return any(isinstance(value, Tensor) and value.requires_grad and value.is_leaf for value in vars(module).values())


def call(model: nn.Module, x: Any) -> Any:
    """The model's output: a tuple x holds its arguments, a dict its keyword arguments, anything else is the only one.

    Raises ValueError, with what the model raised, if it does not run on x.
    """
    args, kwargs = (x, {}) if isinstance(x, tuple) else ((), x) if isinstance(x, dict) else ((x,), {})
    try:
        return model(*args, **kwargs)
    except Exception as error:  # whatever the model raises for an input that it is not made for
        raise ValueError(f"model does not run on x: {type(error).__name__}: {error}") from error


def require_values(x: Any) -> None:
    """Raises ValueError unless the tensors in x are dense and have finite values."""
    for tensor in tensors(x):
        if tensor.layout != torch.strided or tensor.is_nested:
            raise ValueError("x must hold dense tensors, got a sparse or nested one")
        if not tensor.numel():
            raise ValueError(f"x must have values, got shape {tuple(tensor.shape)}")
        if (tensor.is_floating_point() or tensor.is_complex()) and not bool(torch.isfinite(tensor).all()):
            raise ValueError("x must be finite, got inf or nan among its values")


# --- Trees of lists, tuples and dictionaries, as models take and return them ---


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with `function` applied to its leaves; a dictionary stays one of its kind, and so does a named tuple."""
    if isinstance(tree, list | tuple):
        branches = [mapped(function, branch) for branch in tree]
        if isinstance(tree, tuple):
            return tree._make(branches) if hasattr(tree, "_make") else tuple(branches)
        return branches
    if isinstance(tree, dict):
        branches_by_key = copy.copy(tree)
        branches_by_key.update({key: mapped(function, branch) for key, branch in tree.items()})
        return branches_by_key
    return function(tree)


def copied(x: Any, *, gradients: bool = False) -> Any:
    """x with copies of its tensors, for a model that may write to them; they want gradients if asked for."""

    def copy_of(each: Any) -> Any:
        if not isinstance(each, Tensor):
            return each
        return each.detach().clone().requires_grad_(gradients and each.is_floating_point())

    return mapped(copy_of, x)


def leaves(tree: Any) -> Iterator[Any]:
    """The leaves of a tree, in order."""
    if not isinstance(tree, list | tuple | dict):
        yield tree
        return
    for branch in tree.values() if isinstance(tree, dict) else tree:
        yield from leaves(branch)


def tensors(tree: Any) -> Iterator[Tensor]:
    """The tensors among the leaves of a tree."""
    return (leaf for leaf in leaves(tree) if isinstance(leaf, Tensor))


@contextmanager
def undisturbed(model: nn.Module, *, training: bool = False) -> Iterator[None]:
    """Run `model` in evaluation mode (or training) and leave no trace of it.

    Its tensors (parameters, buffers, attributes) and generators are replaced by copies meanwhile: a model may overwrite
    them, on a change of its mode, too, and the derivatives of the run then belong to what it computed with. Modes,
    attributes, what is in their lists and dictionaries, and the random states of torch, numpy and Python are put back.
    Compiled parts run as ordinary ones, since compiled code calls no hooks.
    Raises ValueError if a part refuses the mode (a program of torch.export).
    """
    containers: dict[int, tuple[Any, Any]] = {}  # by their ids, with what they hold
    for module in model.modules():
        _hold(module.__dict__, containers)
    copies: dict[int, Any] = {}  # what two modules share stays shared,
    memory: dict[int, Any] = {}  # and so does memory of which two tensors are views
    devices = {t.device for t in (*model.parameters(), *model.buffers()) if t.device.type == "cuda"}
    eager = torch.compiler.set_stance("force_eager")
    states = np.random.get_state(), random.getstate()  # noqa: NPY002  what a model of somebody else's may draw from
    with torch.random.fork_rng(list(devices)), eager, torch.inference_mode(False):
        try:
            for container, before in containers.values():
                for key, value in before.items() if isinstance(before, dict) else enumerate(before):
                    if isinstance(value, COPIED) and not isinstance(container, set):
                        if id(value) not in copies:
                            copies[id(value)] = _copy(value, memory)
                        container[key] = copies[id(value)]
            _set_mode(model, training)
            yield
        finally:
            for container, before in containers.values():
                container.clear()
                container.extend(before) if isinstance(container, list | deque) else container.update(before)
            np.random.set_state(states[0])  # noqa: NPY002
            random.setstate(states[1])


def _hold(container: Any, held: dict[int, tuple[Any, Any]]) -> None:
    """Note what a container holds, and those in it."""
    if type(container) not in (*CONTAINERS, tuple) or id(container) in held:
        return
    before = dict(container) if isinstance(container, dict) else list(container)
    if not isinstance(container, tuple):
        held[id(container)] = container, before
    for each in before.values() if isinstance(before, dict) else before:
        _hold(each, held)


def _set_mode(model: nn.Module, training: bool) -> None:
    try:
        model.train(training)
    except Exception as error:  # a method of that name that is the model's own, say
        raise ValueError(f"model must have an evaluation and a training mode, but says: {error}") from error


def _copy(value: Any, memory: dict[int, Any]) -> Any:
    if isinstance(value, torch.Generator):
        return torch.Generator(value.device).set_state(value.get_state())
    if not isinstance(value, Tensor):
        return copy.deepcopy(value)
    values = copy.deepcopy(value.detach(), memory)
    if isinstance(value, nn.Parameter):
        return nn.Parameter(values, requires_grad=value.requires_grad)
    return values.requires_grad_(value.requires_grad)


class Unregistered(TorchFunctionMode):
    """Collects, by id, the parameters that a run uses and `model` does not have: of modules in a plain list, say."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.known = {id(parameter) for parameter in model.parameters()}
        self.found: dict[int, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in tensors((args, kwargs)):
            if isinstance(tensor, nn.Parameter) and id(tensor) not in self.known:
                self.found[id(tensor)] = tensor
        return func(*args, **(kwargs or {}))

    @property
    def names(self) -> dict[str, str]:
        """Empty, or one entry: what a list of layers calls them, and what they are."""
        shapes = ", ".join(str(tuple(each.shape)) for each in self.found.values())
        reason = f"parameters of shape {shapes} are used, but the model does not have them: are modules kept in a list?"
        return {"(not registered)": reason} if self.found else {}


def require_material(model: nn.Module) -> None:
    """Raises ValueError if a parameter has no values (a lazy module, the meta device), or a module is TorchScript."""
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(f"{name or 'model'} is TorchScript, which cannot be followed: bring what it was made from")
    for name, parameter in model.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise ValueError(f"{name} has no shape yet (a lazy module): run the model on one batch first")
        if parameter.is_meta:
            raise ValueError(f"{name} is on the meta device and has no values: move the model with to_empty first")


def warn(message: str) -> None:
    """A UserWarning at the line that called the library, however deep in it this is."""
    frame, depth = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(("afli.", "torch.")):
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, UserWarning, stacklevel=depth)

"""Running a model that is somebody's own: under its wrappers, on real parameters, and leaving it as it was."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from afli.networks.modules import ACTIVATIONS

__all__ = ["NORMS", "is_weight_layer", "original", "require_material", "undisturbed", "unseen", "warn"]

WEIGHT_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)


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


def unseen(model: nn.Module) -> dict[str, nn.Module]:
    """The modules with parameters of their own that are no weight layer, no normalisation and no learned activation.

    By name. What belongs to an attention module is one of its parts.
    """
    found: dict[str, nn.Module] = {}
    for name, module in original(model).named_modules():
        if any(name.startswith(f"{outer}.") for outer, owner in found.items() if _is_whole(owner)):
            continue
        known = is_weight_layer(module) or isinstance(module, (*NORMS, nn.PReLU, *ACTIVATIONS))
        wrapper = type(module).__module__ == "torch.nn.utils.parametrize"  # its parameters are the layer's own
        if not known and not wrapper and not _in_parametrisation(name) and module._parameters and not _is_empty(module):
            found[name or "(the model itself)"] = module
    return found


def _is_whole(module: nn.Module) -> bool:
    return isinstance(module, nn.MultiheadAttention | nn.RNNBase)


def _is_empty(module: nn.Module) -> bool:
    return all(parameter is None for parameter in module._parameters.values())


def _in_parametrisation(name: str) -> bool:
    return "parametrizations" in name.split(".")


@contextmanager
def undisturbed(model: nn.Module, *, training: bool = False) -> Iterator[None]:
    """Run `model` in evaluation mode (or training) and leave no trace: mode, buffers and random state are put back.

    Its buffers are replaced by copies meanwhile, so that nothing that a run updates is the model's own. Compiled parts
    run as ordinary ones, since compiled code calls no hooks.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(module, name, buffer) for module in model.modules() for name, buffer in module._buffers.items()]
    devices = {t.device for t in (*model.parameters(), *model.buffers()) if t.device.type == "cuda"}
    eager = torch.compiler.set_stance("force_eager")
    with torch.random.fork_rng(list(devices)), eager, torch.inference_mode(False):
        try:
            model.train(training)
            for module, name, buffer in buffers:
                module._buffers[name] = None if buffer is None else buffer.detach().clone()
            yield
        finally:
            for module, name, buffer in buffers:
                module._buffers[name] = buffer
            for module, mode in modes:
                module.training = mode


def require_material(model: nn.Module) -> None:
    """Raises ValueError if a parameter has no values yet: of a lazy module, or on the meta device."""
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

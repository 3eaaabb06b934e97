"""Modules for networks that the theory knows: its activations, and the deep network of eq. (1)."""

from __future__ import annotations

import torch
from torch import nn

from afli._inputs import integer
from afli.activations import Activation
from afli.networks.elementwise import FORMULAS, Elementwise, Formula

__all__ = ["FORMULAS", "Elementwise", "Formula", "mlp"]


def mlp(depth: int, width: int, *, in_features: int, out_features: int, activation: Activation) -> nn.Sequential:
    """The network of eq. (1): `depth` hidden layers of `width` units, then a linear head of `out_features`.

    Its weights are torch's own; `afli.networks.init.edge_of_chaos_` draws them as the theory asks.
    Raises TypeError if a size is no integer or `activation` none of afli.activations, ValueError for a size below 1.
    """
    sizes = {"depth": depth, "width": width, "in_features": in_features, "out_features": out_features}
    for name, size in sizes.items():
        integer(name, size, low=1)
    layers: list[nn.Module] = []
    for fan_in in (in_features, *[width] * (depth - 1)):
        layers += [nn.Linear(fan_in, width), Elementwise(activation, torch.get_default_dtype())]
    return nn.Sequential(*layers, nn.Linear(width, out_features))

"""Weights and biases on the edge of chaos, Gaussian or Haar-orthogonal, for networks of any shape (Section 4.1).

Everything is a *standardised* draw times a number: W = sqrt(sigma_w2) * draw, b = sqrt(sigma_b2) * draw. A draw of
either kind keeps the variance per unit, E ||W z||^2 / n_out = ||z||^2 / n_in, whether the layer widens or narrows.
Both kinds start from the same normal numbers, so that networks of one trial can be compared in pairs.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn

from afli import meanfield as mf
from afli.activations import Activation

__all__ = ["WEIGHTS", "edge_of_chaos_", "standard_biases", "standard_weights"]

WEIGHTS = ("orthogonal", "gaussian")


def standard_weights(n_out: int, n_in: int, weights: str, generator: torch.Generator | None = None) -> Tensor:
    """A weight matrix (n_out, n_in), float64, that keeps the variance per unit.

    gaussian: independent entries of variance 1/n_in. orthogonal: Haar-distributed with orthonormal rows (or columns, if
    the layer widens), times sqrt(n_out / n_in) where it widens: without that factor 256 to 1024 units lose 3/4 of it.
    Raises ValueError for another kind.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}")
    normal = torch.randn(n_out, n_in, generator=generator, dtype=torch.float64)
    if weights == "gaussian":
        return normal / math.sqrt(n_in)
    tall = normal if n_out >= n_in else normal.T
    basis, triangle = torch.linalg.qr(tall)
    # QR is unique only up to signs; making R's diagonal positive makes the basis Haar-distributed (Mezzadri 2007).
    basis = basis * torch.sign(torch.diagonal(triangle))
    return basis * math.sqrt(n_out / n_in) if n_out >= n_in else basis.T.contiguous()


def standard_biases(n_out: int, generator: torch.Generator | None = None) -> Tensor:
    """Independent standard normal biases (n_out,), float64."""
    return torch.randn(n_out, generator=generator, dtype=torch.float64)


@torch.no_grad()
def edge_of_chaos_(
    model: nn.Module,
    phi: Activation,
    *,
    sigma_b2: float,
    weights: str = "orthogonal",
    head_variance: float | None = None,
    generator: torch.Generator | None = None,
) -> mf.MeanField:
    """Initialise all Linear layers of `model` in place on the edge of chaos of `phi`; returns its theory.

    model: its parameters must all belong to nn.Linear layers (with biases, if sigma_b2 > 0; the last is the head), or
    be the learned slopes of nn.PReLU, which stay as they are: the theory sees them as leaky_relu.
    weights: "orthogonal" or "gaussian". head_variance: None treats the head as any layer, so that logits start with a
    variance near q*; a number gives it weights of variance head_variance / n_in and zero biases.
    The theory then holds for inputs with ||x||^2 / n = (q* - sigma_b2) / sigma_w2, see `afli.data.input_scale`.
    The square root of the returned sigma_w2 is the gain of `phi`. Warns where q* repels (gelu, silu): there the
    variance drifts away from q* with depth. Raises ValueError for a model of other layers, NoFixedPointError where
    phi has no edge of chaos at sigma_b2.
    """
    layers = _linear_layers(model, with_biases=sigma_b2 > 0)
    if head_variance is not None and not head_variance > 0:
        raise ValueError(f"head_variance must be None or > 0, got {head_variance!r}")
    net = mf.edge_of_chaos(phi, sigma_b2=sigma_b2)
    _warn_where_repelling(net)
    for layer in layers:
        variance, bias_variance = net.sigma_w2, sigma_b2
        if head_variance is not None and layer is layers[-1]:
            variance, bias_variance = head_variance, 0.0
        draw = standard_weights(layer.out_features, layer.in_features, weights, generator)
        layer.weight.copy_(math.sqrt(variance) * draw)
        if layer.bias is not None:
            layer.bias.copy_(math.sqrt(bias_variance) * standard_biases(layer.out_features, generator))
    return net


def _warn_where_repelling(net: mf.MeanField) -> None:
    """A warning if the variance map has a slope above 1 at q* (gelu and silu at small sigma_b2)."""
    if net.variance_slope > 1 + 1e-9:
        warnings.warn(
            f"q* = {net.q:.4g} of {net.phi.name} at sigma_b2 = {net.sigma_b2:g} repels (V'(q*) = "
            f"{net.variance_slope:.4g} > 1): in a deep network the variance drifts away from it",
            stacklevel=3,
        )


def _linear_layers(model: nn.Module, with_biases: bool) -> list[nn.Linear]:
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ValueError("model must contain at least one nn.Linear layer, found none")
    known = [module for module in model.modules() if isinstance(module, nn.Linear | nn.PReLU)]
    ours = {id(parameter) for module in known for parameter in module.parameters()}
    for name, parameter in model.named_parameters():
        if id(parameter) not in ours:
            raise ValueError(f"model must have parameters in nn.Linear layers only, found {name}")
    if with_biases and any(layer.bias is None for layer in layers):
        raise ValueError("every nn.Linear layer needs a bias where sigma_b2 > 0; use bias=True or sigma_b2=0")
    return layers

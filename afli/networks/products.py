"""The three matrix products of a layer, for all members at once: forward, back, and the update of the weights.

Shapes as in the ensemble: weights (E, n_in, n_out), biases (E, 1, n_out), z (E, batch, n_in), delta (E, batch, n_out).
"""

from __future__ import annotations

import platform
import re
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["OneDnnProducts", "Products", "products_for"]

# Below this width the call costs more than the product gains.
ONEDNN_WIDTH = 200


class Products:
    """torch's batched products, written straight into the buffers."""

    def forward(self, bias: Tensor, z: Tensor, weight: Tensor, out: Tensor) -> None:
        """out = bias + z W."""
        torch.baddbmm(bias, z, weight, out=out)

    def back(self, delta: Tensor, weight: Tensor, out: Tensor) -> None:
        """out = delta W^T."""
        torch.bmm(delta, weight.transpose(1, 2), out=out)

    def update(self, weight: Tensor, z: Tensor, delta: Tensor) -> None:
        """W = W + z^T delta."""
        weight.baddbmm_(z.transpose(1, 2), delta)


class OneDnnProducts(Products):
    """oneDNN's products, one member after the other.

    torch leaves float32 products to MKL, which uses the whole vector unit on Intel's processors and, when this was
    written, half of it on others. oneDNN is a part of torch and uses all of it everywhere; the price is a fresh tensor
    per product.
    """

    def __init__(self) -> None:
        self._linear = torch.ops.mkldnn._linear_pointwise  # (x, A, b): x A^T + b

    def forward(self, bias: Tensor, z: Tensor, weight: Tensor, out: Tensor) -> None:
        """out = bias + z W."""
        for b, x, w, y in zip(bias, z, weight, out, strict=True):
            y.copy_(self._linear(x, w.T, b[0], "none", [], ""))

    def back(self, delta: Tensor, weight: Tensor, out: Tensor) -> None:
        """out = delta W^T."""
        for d, w, y in zip(delta, weight, out, strict=True):
            y.copy_(self._linear(d, w, None, "none", [], ""))

    def update(self, weight: Tensor, z: Tensor, delta: Tensor) -> None:
        """W = W + z^T delta."""
        for w, x, d in zip(weight, z, delta, strict=True):
            w.add_(self._linear(x.T, d.T, None, "none", [], ""))


def products_for(weight: Tensor) -> Products:
    """The faster ones for weights (E, n_in, n_out): by their size and the machine, never by the number of members."""
    wide = min(weight.shape[1:]) >= ONEDNN_WIDTH and weight.dtype == torch.float32 and not weight.is_cuda
    return OneDnnProducts() if wide and _onednn_is_faster() else Products()


def _onednn_is_faster() -> bool:
    """Not on Intel: there MKL's products took 0.73 of oneDNN's time (a Xeon with AVX-512, 64 x 300 x 300)."""
    wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512") and cpu_vendor() != "GenuineIntel"
    return wide and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@cache
def cpu_vendor() -> str:
    """The vendor's name as the processor gives it, or the empty string where the system does not say."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else [platform.processor()]
    found = re.search("GenuineIntel|AuthenticAMD", "\n".join(lines))
    return found.group() if found else ""

"""The time of `modules.Shtanh` beside torch's nn.Hardtanh: forward and backward, on one core.

    python benchmarks/modules.py      # writes benchmarks/modules.csv; a minute of one core

Microseconds for one call and the derivatives of what it was called on (and of a, where it is learned), the least of
thousands of calls, the modules in turns; and how many times that of nn.Hardtanh this is. "derivative in Python" is
nn.Hardtanh with its own derivative, called from Python: the least that a derivative not written in C++ can cost.
With `layers` above 0 the modules stand behind each nn.Linear of so many, and the time is that of a whole step: the
network, and the derivatives of all its parameters.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afli.experiments.provenance import machine
from afli.networks.modules import Shtanh


class FromPython(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return F.hardtanh(z)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        return torch.ops.aten.hardtanh_backward.default(grad[0], ctx.saved_tensors[0], -1.0, 1.0)


class Plain(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return FromPython.apply(z)


SIZES = ((1, 16), (8, 64), (32, 128), (64, 256), (128, 512), (256, 1024))
NETWORKS, LAYERS = ((64, 64), (128, 256), (128, 512)), 20
TURNS, CALLS, STEPS = 20, 200, 10


def kinds(units: int) -> dict[str, Callable[[], nn.Module]]:
    return {
        "nn.Hardtanh": nn.Hardtanh,
        "derivative in Python": Plain,
        "fixed radius": lambda: Shtanh(1.0),
        "learned radius": lambda: Shtanh(1.0, learnable=True),
        "learned, one a unit": lambda: Shtanh(1.0, learnable=True, units=units),
    }


def network(units: int, activation: Callable[[], nn.Module]) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(m for _ in range(LAYERS) for m in (nn.Linear(units, units), activation())))


def microseconds(module: nn.Module, z: Tensor, direction: Tensor, calls: int = CALLS) -> float:
    inputs, least = [z, *module.parameters()], float("inf")
    for _ in range(calls):
        start = time.perf_counter_ns()
        torch.autograd.grad(module(z), inputs, direction)
        least = min(least, (time.perf_counter_ns() - start) / 1e3)
    return least


def compared(modules: Mapping[str, nn.Module], batch: int, units: int, layers: int, calls: int) -> list[dict[str, Any]]:
    """One row for each module."""
    z, direction = torch.randn(batch, units, requires_grad=True), torch.randn(batch, units)
    times = [{k: microseconds(each, z, direction, calls) for k, each in modules.items()} for _ in range(TURNS)]
    least = pd.DataFrame(times).min()
    print(batch, units, layers, least.round(1).to_dict(), flush=True)
    return [
        {
            "batch": batch,
            "units": units,
            "layers": layers,
            "module": kind,
            "microseconds": round(least[kind], 1),
            "times Hardtanh": round(least[kind] / least["nn.Hardtanh"], 2),
            "load": round(os.getloadavg()[0], 1),
            "machine": machine("cpu"),
            "date": datetime.now(UTC).date().isoformat(),
            "torch": torch.__version__,
        }
        for kind in modules
    ]


def main() -> None:
    torch.set_num_threads(1)
    torch.empty(8_000_000).fill_(0)  # glibc then keeps freed memory, as in any larger program
    rows = []
    for batch, units in SIZES:
        rows += compared({k: make() for k, make in kinds(units).items()}, batch, units, 0, CALLS)
    for batch, units in NETWORKS:
        networks = {k: network(units, make) for k, make in kinds(units).items()}
        rows += compared(networks, batch, units, LAYERS, STEPS)
    pd.DataFrame(rows).to_csv(Path(__file__).parent / "modules.csv", index=False)


if __name__ == "__main__":
    main()

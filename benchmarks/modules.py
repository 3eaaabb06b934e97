"""The time of `modules.Shtanh` beside torch's nn.Hardtanh: forward and backward, on one core.

    python benchmarks/modules.py      # writes benchmarks/modules.csv; a minute of one core

Microseconds for one call and the derivatives of what it was called on (and of a, where it is learned), the least of
thousands of calls, the modules in turns; and how many times that of nn.Hardtanh this is. "derivative in Python" is
nn.Hardtanh with its own derivative, called from Python: the least that a derivative not written in C++ can cost.
"""

from __future__ import annotations

import os
import time
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
TURNS, CALLS = 20, 200


def microseconds(module: nn.Module, z: Tensor, direction: Tensor) -> float:
    inputs, least = [z, *module.parameters()], float("inf")
    for _ in range(CALLS):
        start = time.perf_counter_ns()
        torch.autograd.grad(module(z), inputs, direction)
        least = min(least, (time.perf_counter_ns() - start) / 1e3)
    return least


def main() -> None:
    torch.set_num_threads(1)
    torch.empty(8_000_000).fill_(0)  # glibc then keeps freed memory, as in any larger program
    rows = []
    for batch, units in SIZES:
        z, direction = torch.randn(batch, units, requires_grad=True), torch.randn(batch, units)
        kinds = {
            "nn.Hardtanh": nn.Hardtanh(),
            "derivative in Python": Plain(),
            "fixed radius": Shtanh(1.0),
            "learned radius": Shtanh(1.0, learnable=True),
            "learned, one a unit": Shtanh(1.0, learnable=True, units=units),
        }
        times = [{kind: microseconds(each, z, direction) for kind, each in kinds.items()} for _ in range(TURNS)]
        least = pd.DataFrame(times).min()
        rows += [
            {
                "batch": batch,
                "units": units,
                "module": kind,
                "microseconds": round(least[kind], 1),
                "times Hardtanh": round(least[kind] / least["nn.Hardtanh"], 2),
                "load": round(os.getloadavg()[0], 1),
                "machine": machine("cpu"),
                "date": datetime.now(UTC).date().isoformat(),
                "torch": torch.__version__,
            }
            for kind in kinds
        ]
        print(batch, units, least.round(1).to_dict(), flush=True)
    pd.DataFrame(rows).to_csv(Path(__file__).parent / "modules.csv", index=False)


if __name__ == "__main__":
    main()

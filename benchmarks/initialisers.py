"""Initialisers on two small real networks of digits, each at its best learning rate.

    python benchmarks/initialisers.py      # writes benchmarks/initialisers.csv; a few minutes of one core

A convolutional network of 20 layers, and one of 20 residual blocks whose shortcuts carry the sum on unchanged, both
with tanh, trained by plain SGD with every initialiser, every rate and every seed. The best rate is the one with the
lowest training loss over the last 20 steps, mean over the seeds: test images choose nothing. AnyInit and dks take part
where they can be imported (`pip install anyinit==0.4.0 dks==0.1.2 absl-py`).
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from afli import data
from afli.experiments.provenance import machine
from afli.networks import lessons
from afli.networks.init import edge_of_chaos_
from afli.networks.modules import InputScale

HERE = Path(__file__).parent
DEPTH, CHANNELS, WIDTH = 20, 16, 64
RATES, SEEDS, EPOCHS, BATCH = (0.01, 0.03, 0.1), (0, 1, 2), 3, 64
SIGMA_B2 = 0.001


class Block(nn.Module):
    """h + W phi(h)."""

    def __init__(self, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.activation, self.inner = activation(), nn.Linear(WIDTH, WIDTH)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.inner(self.activation(h))


def convolutional(activation: Callable[[], nn.Module]) -> nn.Module:
    layers: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8))]
    for i in range(DEPTH - 1):
        layers += [nn.Conv2d(CHANNELS if i else 1, CHANNELS, 3, padding=1, stride=1 if i else 2), activation()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * CHANNELS, 10))


def residual(activation: Callable[[], nn.Module]) -> nn.Module:
    blocks = [Block(activation) for _ in range(DEPTH)]
    return nn.Sequential(nn.Linear(64, WIDTH), *blocks, activation(), nn.Linear(WIDTH, 10))


NETWORKS = {f"convolutional, {DEPTH} layers": convolutional, f"residual, {DEPTH} blocks": residual}

# --- Initialisers: each takes how to build a network and a batch, and returns one ---

Build = Callable[[Callable[[], nn.Module]], nn.Module]
Start = Callable[[Build, Tensor], nn.Module]


def each_layer(draw: Callable[[Tensor], object], activation: Callable[[], nn.Module] = nn.Tanh) -> Start:
    """Weights by `draw`, biases zero."""

    def start(build: Build, x: Tensor) -> nn.Module:
        model = build(activation)
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                draw(module.weight)
                nn.init.zeros_(module.bias)
        return model

    return start


def gaussian(gain: float) -> Callable[[Tensor], object]:
    return lambda w: nn.init.normal_(w, std=gain / math.sqrt(w[0].numel()))


def ours(weights: str) -> Start:
    def start(build: Build, x: Tensor) -> nn.Module:
        model = build(nn.Tanh)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about shortcuts and the scale of the inputs, which is mended below
            net = edge_of_chaos_(model, x=x, sigma_b2=SIGMA_B2, weights=weights)
        return nn.Sequential(InputScale(net, x), model)

    return start


def initialisers() -> dict[str, Start]:
    found: dict[str, Start] = {
        "torch default": lambda build, x: build(nn.Tanh),
        "He": each_layer(lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu")),
        "Xavier, gain 5/3": each_layer(lambda w: nn.init.xavier_normal_(w, gain=5 / 3)),
        "orthogonal, gain 1": each_layer(nn.init.orthogonal_),
        "orthogonal, gain 1, hard tanh": each_layer(nn.init.orthogonal_, nn.Hardtanh),
        f"edge of chaos, orthogonal, sigma_b2 = {SIGMA_B2}": ours("orthogonal"),
        f"edge of chaos, Gaussian, sigma_b2 = {SIGMA_B2}": ours("gaussian"),
    }
    try:
        import anyinit

        found["AnyInit 0.4.0, its gain for tanh"] = each_layer(gaussian(float(anyinit.gain("tanh"))))
    except ImportError:
        print("without AnyInit")
    try:
        found["dks 0.1.2, DKS"] = each_layer(gaussian(1.0), dks_tanh())
    except ImportError:
        print("without dks")
    return found


def dks_tanh() -> Callable[[], nn.Module]:
    """tanh as DKS transforms it for a plain network of this depth; its weights are Gaussian of gain 1."""
    from dks.pytorch import activation_transform

    def composed(x: float, local: Callable[[float], float]) -> float:
        for _ in range(DEPTH - 1):
            x = local(x)
        return x

    phi = activation_transform.get_transformed_activations(("tanh",), method="DKS", subnet_max_func=composed)

    class Transformed(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return phi["tanh"](z)

    return Transformed


# --- The runs ---


def trained(build: Build, start: Start, digits: data.Dataset, rate: float, seed: int) -> tuple[float, float]:
    """The mean loss of the last 20 steps, infinite if it diverged, and the test accuracy."""
    torch.manual_seed(seed)
    model = start(build, torch.from_numpy(digits.x_train[:256]))
    run = lessons.fit(model, digits, learning_rate=rate, epochs=EPOCHS, batch=BATCH, seed=seed)
    loss = float(np.mean(run.loss[-20:]))
    return (loss if math.isfinite(loss) else math.inf), float(run.test_accuracy[-1])


def main() -> None:
    torch.set_num_threads(1)
    digits, rows = data.normalised(data.load("digits")), []
    for network, build in NETWORKS.items():
        for name, start in initialisers().items():
            if name.startswith("dks") and build is residual:
                continue  # its shortcuts have weights whose squares add up to 1: another network
            before = time.process_time()
            runs = {rate: [trained(build, start, digits, rate, seed) for seed in SEEDS] for rate in RATES}
            best = min(RATES, key=lambda rate: float(np.mean([loss for loss, _ in runs[rate]])))
            accuracy = [a for _, a in runs[best]]
            rows.append(
                {
                    "network": network,
                    "initialiser": name,
                    "rate": best,
                    "accuracy": round(float(np.mean(accuracy)), 4),
                    "lowest": round(min(accuracy), 4),
                    "highest": round(max(accuracy), 4),
                    "seeds": len(SEEDS),
                    "rates": " ".join(f"{rate:g}" for rate in RATES),
                    "epochs": EPOCHS,
                    "batch": BATCH,
                    "seconds": round(time.process_time() - before, 1),
                    "machine": machine("cpu"),
                    "date": datetime.now(UTC).date().isoformat(),
                    "torch": torch.__version__,
                }
            )
            print(network, name, best, accuracy, rows[-1]["seconds"], flush=True)
    pd.DataFrame(rows).to_csv(HERE / "initialisers.csv", index=False)


if __name__ == "__main__":
    main()

"""Initialisers on small real networks, each at its best learning rate.

    python benchmarks/initialisers.py                           # digits: a few minutes of one core
    python benchmarks/initialisers.py npz:/path/to/cifar10.npz  # or cifar10: ten minutes, for the first network

A convolutional network of 20 layers, and one of 20 residual blocks whose shortcuts carry the sum on unchanged, both
with tanh, trained by plain SGD with every initialiser and every seed. Rates are a ladder of steps of about 3: the
search starts at 0.1 and goes up and down until the best is inside the rates tried, or at an end of the ladder. The best
has the lowest training loss over the last 20 steps, mean over the seeds; a run that diverged has an infinite one. Test
images choose nothing. Of other images than digits 10,000 to train and 2,000 to test, drawn at random, take part, once.

Every rate is a row of initialisers.csv. What is there already is not run again: to do so, delete the rows.
AnyInit and dks take part where they can be imported (`pip install anyinit==0.4.0 dks==0.1.2 absl-py`).
"""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afli import data
from afli.experiments.provenance import machine
from afli.networks.init import edge_of_chaos_
from afli.networks.modules import InputScale

TABLE = Path(__file__).parent / "initialisers.csv"
DEPTH, CHANNELS, WIDTH = 20, 16, 64
LADDER, FIRST, SEEDS, BATCH = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0), 4, (0, 1, 2), 64
SIGMA_B2 = 0.001


class Block(nn.Module):
    """h + W phi(h)."""

    def __init__(self, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.activation, self.inner = activation(), nn.Linear(WIDTH, WIDTH)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.inner(self.activation(h))


def convolutional(activation: Callable[[], nn.Module], features: int) -> nn.Module:
    """19 convolutions, then a dense layer; images are halved until they are 4 x 4 (digits) or 8 x 8 (CIFAR-10)."""
    (colours, size), halvings = ((1, 8), 1) if features == 64 else ((3, 32), 2)
    layers: list[nn.Module] = [nn.Unflatten(1, (colours, size, size))]
    for i in range(DEPTH - 1):
        stride = 2 if i < halvings else 1
        layers += [nn.Conv2d(CHANNELS if i else colours, CHANNELS, 3, padding=1, stride=stride), activation()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear((size >> halvings) ** 2 * CHANNELS, 10))


def residual(activation: Callable[[], nn.Module], features: int) -> nn.Module:
    blocks = [Block(activation) for _ in range(DEPTH)]
    return nn.Sequential(nn.Linear(features, WIDTH), *blocks, activation(), nn.Linear(WIDTH, 10))


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


def trained(build: Build, start: Start, images: data.Dataset, rate: float, seed: int, epochs: int) -> list[float]:
    """The mean loss of the last 20 steps, infinite if the run diverged, and the test accuracy."""
    torch.manual_seed(seed)
    x, y = torch.from_numpy(images.x_train), torch.from_numpy(images.y_train)
    model = start(build, x[:256])
    optimiser, order, losses = torch.optim.SGD(model.parameters(), lr=rate), np.random.default_rng(seed), []
    for _ in range(epochs):
        rows = torch.from_numpy(order.permutation(len(x)))
        for chosen in rows[: len(x) // BATCH * BATCH].split(BATCH):
            loss = F.cross_entropy(model(x[chosen]), y[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                return [math.inf, math.nan]
    with torch.no_grad():
        right = model(torch.from_numpy(images.x_test)).argmax(1) == torch.from_numpy(images.y_test)
    return [float(np.mean(losses[-20:])), float(right.double().mean())]


def row(network: str, initialiser: str, build: Build, start: Start, images: data.Dataset, rate: float) -> dict:
    before, epochs = time.process_time(), 3 if images.features == 64 else 1
    losses, accuracies = zip(*(trained(build, start, images, rate, seed, epochs) for seed in SEEDS), strict=True)
    return {
        "network": network,
        "images": images.name,
        "initialiser": initialiser,
        "rate": rate,
        "loss": round(float(np.mean(losses)), 4),
        "accuracy": round(float(np.mean(accuracies)), 4),
        "lowest": round(min(accuracies), 4),
        "highest": round(max(accuracies), 4),
        "seeds": len(SEEDS),
        "training images": len(images.x_train),
        "epochs": epochs,
        "batch": BATCH,
        "seconds": round(time.process_time() - before, 1),
        "machine": machine("cpu"),
        "date": datetime.now(UTC).date().isoformat(),
        "torch": torch.__version__,
    }


def climb(network: str, name: str, build: Build, start: Start, images: data.Dataset) -> None:
    """Try rates from `FIRST` on until the best has a worse one on either side; the table is written after each."""
    tried: dict[int, float] = {}
    if TABLE.exists():
        known = pd.read_csv(TABLE)
        same = known[(known["network"] == network) & (known["images"] == images.name) & (known["initialiser"] == name)]
        tried = {LADDER.index(rate): loss for rate, loss in zip(same["rate"], same["loss"], strict=True)}
    while True:
        best = min(tried, key=lambda i: tried[i], default=FIRST)
        missing = [i for i in (best, best + 1, best - 1) if 0 <= i < len(LADDER) and i not in tried]
        if not missing:
            return
        found = row(network, name, build, start, images, LADDER[missing[0]])
        tried[missing[0]] = found["loss"]
        pd.DataFrame([found]).to_csv(TABLE, mode="a", header=not TABLE.exists(), index=False)
        print(*(found[key] for key in ("network", "images", "initialiser", "rate", "loss", "accuracy", "seconds")))
        sys.stdout.flush()


def main() -> None:
    torch.set_num_threads(1)
    source = sys.argv[1] if len(sys.argv) > 1 else "digits"
    images = data.load(source)
    if source != "digits":
        # Drawn: a file may be sorted by class.
        train, test = (np.random.default_rng(0).permutation(len(y)) for y in (images.y_train, images.y_test))
        train, test = train[:10_000], test[:2_000]
        parts = images.x_train[train], images.y_train[train], images.x_test[test], images.y_test[test]
        images = data.Dataset(images.name, *parts, source=images.source, classes=images.classes)
    images = data.normalised(images)
    for network, build in NETWORKS.items():
        if source != "digits" and build is residual:
            continue
        for name, start in initialisers().items():
            if name.startswith("dks") and build is residual:
                continue  # its shortcuts have weights whose squares add up to 1: another network
            climb(network, name, lambda activation, build=build: build(activation, images.features), start, images)


if __name__ == "__main__":
    main()

"""One small network beside its infinitely wide limit: at which rate its loss falls, and how far its kernel moves."""

from __future__ import annotations

import numpy as np
import torch

from afli import activations as act
from afli import data, kernels
from afli.meanfield import MeanField
from afli.networks import init, modules, tangent

__all__ = ["descents", "movement", "small_network"]


def descents(
    factors: tuple[float, ...], *, loss: str = "squared", batch: int | None = None, width: int = 128, depth: int = 8
) -> dict[float, list[float]]:
    """Losses of one small network trained at multiples of the predicted stable rate, 25 steps each.

    64 digits, Shtanh with a = 3 at sigma_b2 = 0.1, orthogonal weights; the same network and batches every time.
    """
    digits = data.normalised(data.load("digits"))
    found = {}
    for factor in factors:
        model, net, inputs = small_network(width, depth, images=64)
        theta = kernels.ntk(net, kernels.cosines(digits.x_train[:64]), depth, width=width, in_features=64)
        targets = torch.nn.functional.one_hot(torch.tensor(digits.y_train[:64]), 10).float()
        found[factor] = tangent.descend(
            model, inputs, targets - (0.1 if loss == "squared" else 0.0), rate=factor * kernels.stable_rate(theta),
            steps=25, loss=loss, batch=batch, generator=torch.Generator().manual_seed(1),
        )  # fmt: skip
    return found


def small_network(
    width: int, depth: int, *, images: int, seed: int = 0
) -> tuple[torch.nn.Module, MeanField, torch.Tensor]:
    """A network of Shtanh, a = 3, sigma_b2 = 0.1, orthogonal; its theory; and so many digits as its inputs."""
    digits, phi = data.normalised(data.load("digits")), act.shtanh(a=3.0)
    model = modules.mlp(depth, width, in_features=64, out_features=10, activation=phi)
    net = init.edge_of_chaos_(model, phi, sigma_b2=0.1, generator=torch.Generator().manual_seed(seed))
    scale = data.input_scale("sphere", q=net.q, sigma_w2=net.sigma_w2, sigma_b2=net.sigma_b2)
    return model, net, scale * torch.tensor(digits.x_train[:images])


def movement(width: int, *, depth: int = 5, images: int = 48) -> tuple[float, float]:
    """How far the tangent kernel of a small network is from its limit at the start, and how far training moves it.

    Both relative, in the Frobenius norm; training: softmax, full batch, 100 steps at twice the stable rate.
    """
    digits = data.normalised(data.load("digits"))
    targets = torch.nn.functional.one_hot(torch.tensor(digits.y_train[:images]), 10).float()
    model, net, inputs = small_network(width, depth, images=images)
    limit = kernels.ntk(net, kernels.cosines(digits.x_train[:images]), depth, width=width, in_features=64)
    before = tangent.tangent_kernel(model, inputs).numpy()
    tangent.descend(model, inputs, targets, rate=2 * kernels.stable_rate(limit), steps=100, loss="softmax")
    after = tangent.tangent_kernel(model, inputs).numpy()
    distance, moved = np.linalg.norm(before - limit), np.linalg.norm(after - before)
    return float(distance / np.linalg.norm(limit)), float(moved / np.linalg.norm(before))

"""Two of the paper's plans, tried once: a more affine start, and weights that stay orthogonal in training."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from afli import activations as act
from afli import data
from afli import meanfield as mf

DEPTH, WIDTH, EPOCHS, BATCH, BIAS = 20, 64, 10, 64, 0.1


@lru_cache(maxsize=64)
def accuracy(share: float, *, kept: bool, rate: float, seed: int) -> float:
    """Test accuracy on digits after ten epochs of plain SGD, from orthogonal weights on the edge of chaos.

    share: s of the activation s z + (1 - s) tanh(z), in [0, 1). kept: every step is followed by one of Newton and
    Schulz towards the nearest orthogonal matrix, W (3 - W^T W) / 2, which holds singular values within 1e-4 of 1.
    """
    phi = act.from_callable(
        lambda z: share * z + (1 - share) * np.tanh(z), lambda z: share + (1 - share) / np.cosh(z) ** 2, name="mixed"
    )
    net = mf.edge_of_chaos(phi, sigma_b2=BIAS)
    digits = data.normalised(data.load("digits"))
    scale = np.sqrt((net.q - BIAS) / net.sigma_w2)  # so that the first variance is q*
    x, x_test = (torch.from_numpy(scale * images).float() for images in (digits.x_train, digits.x_test))
    y, y_test = torch.from_numpy(digits.y_train), torch.from_numpy(digits.y_test)
    generator = torch.Generator().manual_seed(seed)
    w = torch.linalg.qr(torch.randn(DEPTH, WIDTH, WIDTH, generator=generator))[0].requires_grad_()
    b = (BIAS**0.5 * torch.randn(DEPTH, WIDTH, generator=generator)).requires_grad_()
    head = (torch.randn(10, WIDTH, generator=generator) / WIDTH**0.5).requires_grad_()

    def logits(z: torch.Tensor) -> torch.Tensor:
        for weights, bias in zip(w, b, strict=True):
            h = net.sigma_w2**0.5 * z @ weights.T + bias
            z = share * h + (1 - share) * torch.tanh(h)
        return z @ head.T

    order = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        batches = order.permutation(len(x))[: len(x) // BATCH * BATCH].reshape(-1, BATCH)
        for rows in torch.from_numpy(batches):
            loss = torch.nn.functional.cross_entropy(logits(x[rows]), y[rows])
            gradients = torch.autograd.grad(loss, (w, b, head))
            with torch.no_grad():
                for parameter, gradient in zip((w, b, head), gradients, strict=True):
                    parameter -= rate * gradient
                if kept:
                    w.copy_(1.5 * w - 0.5 * w @ w.mT @ w)
    with torch.no_grad():
        return float((logits(x_test).argmax(dim=1) == y_test).float().mean())

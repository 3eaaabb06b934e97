"""More models as people bring them, beside those of test_models: what they do besides multiplying their own weights.

Each is initialised right, refused with the reason, or named as not touched; measured, its Jacobian is that of the model
by finite differences; and nothing that the model or its surroundings hold is left changed.
"""

from __future__ import annotations

import contextlib
import copy
import random
import warnings

import numpy as np
import pytest
import torch
from test_models import (
    IMAGES,
    Case,
    Forward,
    N,
    changed,
    check_fate,
    check_unseen,
    linear,
    mlp,
    tensors_of,
    two,
    vectors,
)
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from afli.networks.probe import diagnose, preactivations, signal_propagation
from afli.networks.running import mapped
from afli.networks.survey import survey


class ResidualBlock(nn.Module):
    """As in torchvision: normalisation, rectifiers and sums in place, a strided convolution as the shortcut."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out)
        self.conv2, self.bn2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False), nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.downsample(x)
        return self.relu(out)


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2, self.head = nn.LayerNorm(16), nn.LayerNorm(16), linear(16, 4)
        self.patches1, self.patches2 = linear(6, 12), linear(12, 6)
        self.channels1, self.channels2 = linear(16, 32), linear(32, 16)

    def forward(self, x):
        x = x + self.patches2(F.gelu(self.patches1(self.norm1(x).transpose(1, 2)))).transpose(1, 2)
        x = x + self.channels2(F.gelu(self.channels1(self.norm2(x))))
        return self.head(x.mean(1))


class VisionTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.norm = nn.Conv2d(1, 16, 4, 4), nn.LayerNorm(16)
        self.token, self.place = nn.Parameter(torch.zeros(1, 1, 16)), nn.Parameter(torch.randn(1, 5, 16) * 0.02)
        self.qkv, self.out, self.up, self.down = linear(16, 48), linear(16, 16), linear(16, 32), linear(32, 16)
        self.head = linear(16, 4)

    def forward(self, x):
        h = self.patch(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(len(x), -1, -1), h], 1) + self.place
        q, k, v = self.qkv(self.norm(h)).reshape(len(x), 5, 3, 2, 8).permute(2, 0, 3, 1, 4)
        h = h + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        h = h + self.down(F.gelu(self.up(h)))
        return self.head(h[:, 0])


class FourierFeatures(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("frequencies", torch.randn(2, 64, generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        return torch.cat([torch.sin(x @ self.frequencies), torch.cos(x @ self.frequencies)], -1)


class Sine(nn.Module):
    """A layer of SIREN: its activation is sin(omega z)."""

    def __init__(self, n_in, n_out, omega=30.0):
        super().__init__()
        self.linear, self.omega = linear(n_in, n_out), omega

    def forward(self, x):
        return torch.sin(self.omega * self.linear(x))


class Separable(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.depth, self.point = nn.Conv2d(n_in, n_in, 3, padding=1, groups=n_in), nn.Conv2d(n_in, n_out, 1)

    def forward(self, x):
        return self.point(self.depth(x))


class SqueezeExcite(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.down, self.up = linear(n, n // 4), linear(n // 4, n)

    def forward(self, x):
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3))))))[:, :, None, None]


class Highway(nn.Module):
    def __init__(self):
        super().__init__()
        self.change, self.gate = linear(), linear()

    def forward(self, x):
        gate = torch.sigmoid(self.gate(x))
        return gate * torch.tanh(self.change(x)) + (1 - gate) * x


class Average(nn.Module):
    """A copy of the network beside it, for a moving average that nothing here calls."""

    def __init__(self):
        super().__init__()
        self.net = mlp(nn.Tanh, hidden=1)
        self.ema = copy.deepcopy(self.net).requires_grad_(False)

    def forward(self, x):
        return self.net(x)


class PlainList(nn.Module):
    """The layers between are in a Python list, so that torch does not know them."""

    def __init__(self):
        super().__init__()
        self.first, self.between, self.last = linear(), [linear(), linear()], linear(N, 64)

    def forward(self, x):
        h = torch.tanh(self.first(x))
        for layer in self.between:
            h = torch.tanh(layer(h))
        return self.last(h)


class MadeWhenNeeded(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = linear(), None

    def forward(self, x):
        h = torch.tanh(self.first(x))
        if self.second is None:
            self.second = linear(h.shape[1], 64)
        return self.second(h)


class Masked(nn.Conv2d):
    """A convolution of PixelCNN: it overwrites its weights whenever it is called."""

    def __init__(self, *sizes, **options):
        super().__init__(*sizes, **options)
        mask = torch.ones_like(self.weight)
        mask[:, :, 1, 2:] = mask[:, :, 2:] = 0
        self.register_buffer("mask", mask)

    def forward(self, x):
        self.weight.data *= self.mask
        return super().forward(x)


class Clipped(nn.Linear):
    def forward(self, x):
        self.weight.data = self.weight.data.clamp(-0.01, 0.01)
        return super().forward(x)


class Dropped(nn.Linear):
    def forward(self, x):
        return F.linear(x, F.dropout(self.weight, 0.5, self.training), self.bias)


class Renormalised(nn.Linear):
    def forward(self, x):
        with torch.no_grad():
            self.weight.div_(self.weight.norm(dim=1, keepdim=True))
        return super().forward(x)


class Bookkeeping(nn.Module):
    """Counts its calls, keeps what it saw, fits a shift to the first batch, draws random numbers, and learns."""

    def __init__(self):
        super().__init__()
        self.net, self.shift = mlp(nn.Tanh), nn.Parameter(torch.zeros(N))
        self.calls, self.sizes, self.seen, self.ready = 0, [], {}, False
        self.own, self.numpys = torch.Generator().manual_seed(3), np.random.default_rng(3)

    def forward(self, x):
        self.calls += 1
        self.sizes.append(len(x))
        self.seen[self.calls] = self.latest = x
        if not self.ready:
            self.shift.data.copy_(x.mean(0))
            self.ready = True
        with torch.enable_grad():
            self.net(x.detach() + random.random()).square().mean().backward()
        x = x + torch.rand(1, generator=self.own).to(x) + self.numpys.random()
        return self.net(x - self.shift + np.random.rand())  # noqa: NPY002


class FourierOperator(nn.Module):
    def __init__(self):
        super().__init__()
        self.lift, self.out = linear(1, 16), linear(16, 1)
        self.spectrum = nn.Parameter(torch.randn(16, 16, 5, dtype=torch.cfloat))

    def forward(self, x):
        h = self.lift(x[..., None]).transpose(1, 2)
        product = torch.einsum("bik,iok->bok", torch.fft.rfft(h)[..., :5], self.spectrum)
        return self.out(torch.tanh(torch.fft.irfft(product, n=h.shape[-1]).transpose(1, 2)))


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.last = linear(N, 2), linear(64, 8)
        self.experts = nn.ModuleList(linear(N, 64) for _ in range(2))

    def forward(self, x):
        weight, choice = torch.softmax(self.gate(x), -1).max(-1)
        out = x.new_zeros(len(x), 64)
        for i, expert in enumerate(self.experts):
            rows = (choice == i).nonzero()[:, 0]
            out = out.index_add(0, rows, weight[rows, None] * expert(x[rows]))
        return self.last(torch.tanh(out))


class Hyper(nn.Module):
    """One network makes the weights of another."""

    def __init__(self):
        super().__init__()
        self.code, self.make, self.last = nn.Embedding(1, 8), linear(8, 256), linear(16, 4)

    def forward(self, x):
        weight = self.make(self.code.weight[0]).view(16, 16)
        return self.last(torch.tanh(F.linear(x, weight)))


class TransposedLinear(nn.Module):
    """The Conv1D of GPT-2: a product that is no nn.Linear."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(n_in, n_out) * 0.02), nn.Parameter(torch.zeros(n_out))

    def forward(self, x):
        return torch.addmm(self.bias, x, self.weight)


class ReZero(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.alpha = linear(), nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x + self.alpha * torch.tanh(self.inner(x))


class TrainedTensor(nn.Module):
    """A product with a tensor that wants gradients and is no parameter."""

    def __init__(self):
        super().__init__()
        self.matrix = torch.full((N, N), 0.01, requires_grad=True)

    def forward(self, x):
        return x @ self.matrix.to(x)


class Snakes(nn.Module):
    """An activation that differs from unit to unit."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.linspace(0.5, 2, N))

    def forward(self, x):
        return x + torch.sin(self.a * x) ** 2 / self.a


class Sign(torch.autograd.Function):
    """Binarised, with the derivative of the identity."""

    @staticmethod
    def forward(ctx, x):
        return torch.sign(x)

    @staticmethod
    def backward(ctx, *grad):
        return grad[0]


class Standardised(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.linspace(-1, 1, N))
        self.register_buffer("std", torch.linspace(1, 2, N))

    def forward(self, x):
        return (x - self.mean) / self.std


def unit(function):
    """A module that computes a function."""
    return Forward(lambda module, z: function(z))


def noisy(h):
    return h + torch.randn_like(h)


def reparametrised(m, x):
    h = torch.relu(m.encoder(x))
    mean, logarithm = m.mean(h), m.logarithm(h)
    return m.decoder(mean + torch.exp(0.5 * logarithm) * torch.randn_like(mean)), mean


def half_precision_inside(m, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return m.net(x).float()


def exported():
    return torch.export.export(mlp(nn.Tanh), (vectors(),)).module()


FLAT = "no activation stands between it and 0"
SUM = "its input is a sum of which theory does not know the parts"
CASES = {
    "a block of torchvision": lambda: Case(
        nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(True), nn.MaxPool2d(2)),
            *(ResidualBlock(16, 32, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear(32, 10)),
        ),
        IMAGES,
        {"sigma_b2": 0.0},
        untouched={
            "4.conv1": "1 (BatchNorm2d), which fixes the variance",
            "4.conv2": "4.bn1 (BatchNorm2d), which fixes the variance",
            "4.downsample.0": "1 (BatchNorm2d), which fixes the variance",
            "7": SUM,
        },
    ),
    "mixer": lambda: Case(
        Mixer(),
        vectors(8, 6, 16),
        {"sigma_b2": "attracting"},
        refused=r"patches1: .* norm1 \(LayerNorm\), which fixes .*; head: its input is a sum of which a part is not",
    ),
    "vision transformer": lambda: Case(
        VisionTransformer(),
        IMAGES,
        {"sigma_b2": "attracting"},
        untouched={
            "(the model itself)": "VisionTransformer is outside the theory",
            "qkv": "norm (LayerNorm), which fixes the variance",
            "out": "its input comes from scaleddotproductattention",
            "up": "its input is a sum of which a part is not touched",
            "down": "its input comes from up (Linear), which is not touched",
            "head": "its input is a sum of which a part is not touched",
        },
        follows=False,
        unseen=("(the model itself) (VisionTransformer)",),
    ),
    "siamese": lambda: Case(
        Forward(lambda m, a, b: m.head(torch.tanh(m.encoder(a) - m.encoder(b))), encoder=linear(), head=linear(N, 1)),
        (vectors(), -vectors()),
        refused="encoder: used 2 times, .*; head: its input is a sum of which a part is not touched",
    ),
    "branches by name": lambda: Case(
        Forward(
            lambda m, image, kind: m.last(torch.tanh(m.branches[kind](image))),
            branches=nn.ModuleDict({"a": linear(), "b": linear()}),
            last=linear(N, 64),
        ),
        {"image": vectors(), "kind": "a"},
        untouched={"branches.b": "never used"},
        follows=False,
        unseen=("branches.b (Linear, never called)",),
    ),
    "checkpointed": lambda: Case(
        Forward(
            lambda m, x: m.last(checkpoint(m.block, x, use_reentrant=False)),
            block=nn.Sequential(linear(), nn.Tanh(), linear(), nn.Tanh()),
            last=linear(N, 64),
        ),
        vectors(),
    ),
    "the loss in the forward pass": lambda: Case(
        Forward(lambda m, x, y: F.cross_entropy(m.net(x), y), net=mlp(nn.Tanh)),
        (vectors(), torch.arange(64)),
        follows=False,
    ),
    "noise in every call": lambda: Case(
        mlp(lambda: nn.Sequential(nn.Tanh(), unit(noisy)), hidden=1), vectors(), {"phi": "tanh"}, untouched={"2": SUM}
    ),
    "noise in training": lambda: Case(
        mlp(lambda: Forward(lambda m, z: torch.tanh(z + torch.randn_like(z) if m.training else z)), hidden=1), vectors()
    ),
    "a random gain": lambda: Case(
        two(lambda m, x: m.last(torch.tanh(m.first(x)) * (1 + torch.rand(())))),
        vectors(),
        {"phi": "tanh"},
        untouched={"last": "its input comes from mul, which theory does not cover"},
    ),
    "dropout that stays on": lambda: Case(
        mlp(lambda: unit(lambda z: F.dropout(torch.tanh(z), 0.5)), hidden=1),
        vectors(),
        {"phi": "tanh"},
        untouched={"2": "its input comes from 1 (Forward), which theory does not cover"},
    ),
    "rrelu that stays random": lambda: Case(
        mlp(lambda: unit(lambda z: F.rrelu(z, training=True)), hidden=1),
        vectors(),
        refused="2: its input comes from 1 .Forward., which theory does not cover",
    ),
    "variational": lambda: Case(
        Forward(reparametrised, encoder=linear(), mean=linear(N, 64), logarithm=linear(N, 64), decoder=linear(64, N)),
        vectors(),
        {"sigma_b2": 0.0},
        untouched={"decoder": SUM},
    ),
    "fourier features": lambda: Case(
        nn.Sequential(FourierFeatures(), linear(), nn.ReLU(), linear(N, 64)),
        vectors(64, 2),
        {"sigma_b2": 0.0},
        refused="1: its input comes from cat, .*; 3: its input comes from 1 .Linear., which is not touched",
    ),
    "siren": lambda: Case(
        nn.Sequential(Sine(N, N), Sine(N, N), linear(N, 64)), vectors(), {"sigma_b2": 1e-4}, follows=True
    ),
    "a sine of scale 1": lambda: Case(nn.Sequential(Sine(N, N, 1.0), Sine(N, N, 1.0), linear(N, 64)), vectors()),
    "maxout": lambda: Case(
        two(lambda m, x: m.last(m.first(x).unflatten(-1, (-1, 2)).max(-1).values.repeat(1, 2))),
        vectors(),
        refused="phi must be given: no activation was found",
    ),
    "a head of probabilities": lambda: Case(nn.Sequential(mlp(nn.Tanh), nn.LogSoftmax(-1)), vectors()),
    "softmax between layers": lambda: Case(
        nn.Sequential(linear(), nn.Softmax(-1), linear()),
        vectors(),
        refused="2: its input comes from 1 .Softmax., which theory does not cover",
    ),
    "bilinear": lambda: Case(
        Forward(
            lambda m, x: m.last(torch.tanh(m.both(m.first(x), x))),
            first=linear(),
            both=nn.Bilinear(N, N, 8),
            last=linear(8, 4),
        ),
        vectors(),
        {"phi": "tanh"},
        untouched={"both": "Bilinear is outside", "last": "its input comes from both (Bilinear)"},
        unseen=("both (Bilinear)",),
    ),
    "padding with what is there": lambda: Case(
        nn.Sequential(
            *(nn.Conv2d(1, 64, 3, padding=1, padding_mode="circular"), nn.Tanh()),
            *(nn.Conv2d(64, 64, 3, padding=2, dilation=2, padding_mode="reflect"), nn.Tanh()),
            *(nn.Conv2d(64, 64, 3, padding="same", padding_mode="replicate", groups=4), nn.Tanh()),
            nn.Conv2d(64, 32, 1),
        ),
        IMAGES,
    ),
    "depthwise separable": lambda: Case(
        nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), Separable(64, 64), nn.ReLU(), nn.Conv2d(64, 8, 1)),
        IMAGES,
        {"sigma_b2": 0.0},
        untouched={"2.point": "no activation stands between it and 2.depth", "4": "2.point (Conv2d), which is not"},
    ),
    "squeeze and excite": lambda: Case(
        nn.Sequential(nn.Conv2d(1, 64, 3), nn.ReLU(), SqueezeExcite(64), nn.Conv2d(64, 8, 3)),
        IMAGES,
        {"sigma_b2": 0.0},
        untouched={"3": "its input comes from mul"},
        notes="2.down reads 2 (SqueezeExcite), whose variance theory does not know",
        follows=False,
    ),
    "highway": lambda: Case(
        nn.Sequential(linear(), Highway(), linear(N, 64)),
        vectors(),
        {"phi": "tanh"},
        untouched={"1.change": FLAT, "1.gate": FLAT, "2": SUM},
    ),
    "an average beside it": lambda: Case(
        Average(),
        vectors(),
        untouched={"ema.0": "never used", "ema.2": "never used"},
        unseen=("ema.0 (Linear, never called)", "ema.2 (Linear, never called)"),
    ),
    "layers in a plain list": lambda: Case(
        PlainList(),
        vectors(),
        {"phi": "tanh"},
        untouched={"(not registered)": "parameters of shape (128, 128), (128,)", "last": "its input comes from linear"},
        unseen=(
            "(not registered) (parameters of shape (128, 128), (128,), (128, 128), (128,) are used, but the model does "
            "not have them: are modules kept in a list?)",
        ),
    ),
    "a layer made when needed": lambda: Case(
        MadeWhenNeeded(),
        vectors(),
        {"phi": "tanh"},
        untouched={
            "(not registered)": "parameters of shape (64, 128), (64,) are used, but the model does not have them"
        },
        unseen=(
            "(not registered) (parameters of shape (64, 128), (64,) are used, but the model does not have them: are "
            "modules kept in a list?)",
        ),
    ),
    "weights that are masked": lambda: Case(
        nn.Sequential(nn.Conv2d(1, 64, 3), nn.Tanh(), Masked(64, 64, 3), nn.Tanh(), nn.Conv2d(64, 8, 1)),
        IMAGES,
        untouched={"2": "its parameters are overwritten while the model runs", "4": "2 (Masked), which is not touched"},
    ),
    "weights that are clipped": lambda: Case(
        nn.Sequential(linear(), nn.Tanh(), Clipped(N, 64)), vectors(), {"phi": "tanh"}, untouched={"2": "overwritten"}
    ),
    "weights that are dropped": lambda: Case(
        nn.Sequential(linear(), nn.Tanh(), Dropped(N, 64)),
        vectors(),
        {"phi": "tanh"},
        untouched={"2": "its parameters are dropped out in training"},
    ),
    "weights that are normalised": lambda: Case(
        nn.Sequential(linear(), nn.Tanh(), Renormalised(N, 64)),
        vectors(),
        {"phi": "tanh"},
        untouched={"2": "its parameters are overwritten while the model runs"},
    ),
    "with a life of its own": lambda: Case(
        Bookkeeping(), vectors(), refused="net.0: used 2 times", unseen=("(the model itself) (Bookkeeping)",)
    ),
    "fourier operator": lambda: Case(
        FourierOperator(),
        vectors(8, 16),
        {"phi": "tanh"},
        untouched={"(the model itself)": "FourierOperator is outside", "out": "its input comes from fftirfft"},
        follows=False,
        unseen=("(the model itself) (FourierOperator)",),
    ),
    "graph convolution": lambda: Case(
        Forward(lambda m, x, a: a @ m.last(torch.relu(a @ m.first(x))), first=linear(16, 64), last=linear(64, 4)),
        (vectors(8, 16), torch.eye(8) + torch.eye(8).flip(0)),
        {"phi": "relu", "sigma_b2": 0.0},
        untouched={"last": "its input comes from matmul"},
        follows=False,
    ),
    "experts": lambda: Case(
        Experts(),
        vectors(),
        {"phi": "tanh"},
        untouched={"last": "its input comes from indexadd"},
        notes="experts.0 reads getitem, whose variance theory does not know",
        follows=False,
        unseen=tuple(f"experts.{i} (Linear, whose rows are not those of the batch)" for i in range(2)),
    ),
    "hypernetwork": lambda: Case(
        Hyper(),
        vectors(8, 16),
        refused="code: Embedding is outside .*; last: its input comes from linear",
        unseen=("code (Embedding)", "make (Linear, whose rows are not those of the batch)"),
    ),
    "products of GPT-2": lambda: Case(
        nn.Sequential(TransposedLinear(N, N), nn.Tanh(), linear(N, 8)),
        vectors(),
        refused="0: TransposedLinear is outside the theory; 2: its input comes from 0 .TransposedLinear.",
        unseen=("0 (TransposedLinear)",),
    ),
    "a tensor that is trained": lambda: Case(
        nn.Sequential(linear(), nn.Tanh(), TrainedTensor(), nn.Tanh(), linear(N, 64)),
        vectors(),
        {"phi": "tanh"},
        untouched={"2": "TrainedTensor is outside the theory", "4": "its input comes from 2 (TrainedTensor)"},
        unseen=("2 (TrainedTensor)",),
    ),
    "branches of weight zero": lambda: Case(
        nn.Sequential(linear(), ReZero(), linear(N, 64)),
        vectors(),
        {"phi": "tanh"},
        untouched={"1": "ReZero is outside", "1.inner": FLAT, "2": SUM},
        unseen=("1 (ReZero)",),
    ),
    "an activation for each unit": lambda: Case(
        nn.Sequential(linear(), Snakes(), linear(N, 64)),
        vectors(),
        refused=f"1: Snakes is outside the theory; 2: {SUM}",
        unseen=("1 (Snakes)",),
    ),
    "binarised": lambda: Case(
        two(lambda m, x: m.last(Sign.apply(m.first(x)))), vectors(), refused="f must be continuous, but sign jumps"
    ),
    "standardised inputs": lambda: Case(
        nn.Sequential(Standardised(), linear(), nn.Tanh(), linear(N, 64)),
        vectors(),
        refused="1: its input comes from 0 .Standardised., which theory does not cover",
    ),
    "scaled activations": lambda: Case(two(lambda m, x: m.last(torch.tanh(m.first(x)) * 0.5)), vectors()),
    "half precision inside": lambda: Case(Forward(half_precision_inside, net=mlp(nn.Tanh)), vectors()),
    "layers of two precisions": lambda: Case(
        Forward(lambda m, x: m.last(torch.tanh(m.first(x.half()).float())), first=linear().half(), last=linear(N, 64)),
        vectors(),
    ),
    "mapped over inputs": lambda: Case(
        Forward(lambda m, x: torch.vmap(m.net)(x), net=mlp(nn.Tanh)),
        vectors(),
        refused="model does not run on x: .*vmap",
    ),
    "a graph of torch.fx": lambda: Case(torch.fx.symbolic_trace(mlp(nn.Tanh)), vectors()),
    "a program of torch.export": lambda: Case(
        exported(), vectors(), refused=r"model must have an evaluation and a training mode, but says: Calling train"
    ),
    "an averaged model": lambda: Case(torch.optim.swa_utils.AveragedModel(mlp(nn.Tanh, hidden=1)), vectors()),
    "two heads": lambda: Case(
        Forward(
            lambda m, x: (m.policy(h := torch.tanh(m.trunk(x))), m.value(h)),
            trunk=linear(),
            policy=linear(N, 64),
            value=linear(N, 64),
        ),
        vectors(),
    ),
    "a bag of words": lambda: Case(
        nn.Sequential(nn.EmbeddingBag(50, N), linear(), nn.Tanh(), linear(N, 4)),
        torch.arange(64).reshape(8, 8) % 50,
        refused="0: EmbeddingBag is outside the theory; 1: its input comes from 0 .EmbeddingBag.",
        unseen=("0 (EmbeddingBag)",),
    ),
}
NOT_MEASURED = {"mapped over inputs": "functorch", "a program of torch.export": "model must have an evaluation"}


@pytest.mark.parametrize("name", CASES)
def test_a_model_is_initialised_or_refused_or_named(name):
    check_fate(CASES[name]())


@pytest.mark.parametrize("name", CASES)
def test_what_the_probe_cannot_see_is_named(name):
    case = CASES[name]()
    if name in NOT_MEASURED:
        for use in (signal_propagation, diagnose):
            with pytest.raises(ValueError, match=NOT_MEASURED[name]):
                use(case.model, case.x)
        return
    check_unseen(case)


def surroundings(model):
    """Everything but tensors that a run could change."""
    parts = dict(model.named_modules())
    plain = bool | int | float | str | list | dict | None
    attributes = {
        (name, key): copy.copy(value)
        for name, part in parts.items()
        for key, value in vars(part).items()
        if isinstance(value, plain)
    }
    hooks = {name: list(part._forward_hooks) + list(part._forward_pre_hooks) for name, part in parts.items()}
    numpy_state = np.random.get_state()  # noqa: NPY002
    states = torch.get_rng_state().tolist(), numpy_state[1].tolist(), numpy_state[2], random.getstate()
    if isinstance(model, Bookkeeping):
        states += model.own.get_state().tolist(), model.numpys.bit_generator.state
    return list(parts), {key: value for key, value in attributes.items() if not key[1].startswith("_")}, hooks, states


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_left_changed(name):
    case = CASES[name]()
    next(case.model.parameters()).grad = torch.ones_like(next(case.model.parameters()))
    before = surroundings(case.model), tensors_of(case.model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for use in (signal_propagation, diagnose, survey):
            with contextlib.suppress(ValueError):
                use(case.model, case.x)
    assert not changed(before[1], tensors_of(case.model))
    assert surroundings(case.model) == before[0]


def seed():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)


def shifted(model, x, names, direction):
    """The preactivations of the last of the named layers, those of the first shifted."""
    model, found = copy.deepcopy(model).eval(), []
    for name, module in model.named_modules():
        if name in names:
            module.register_forward_hook(
                lambda module, args, h: found.append(h) or (h + direction if len(found) == 1 else h)
            )
    seed()
    model(*x) if isinstance(x, tuple) else model(**x) if isinstance(x, dict) else model(x)
    assert len(found) == len(names)
    return found[-1].detach()


NOT_DIFFERENTIATED = {
    *NOT_MEASURED,
    "binarised",  # on purpose: its derivative is another function's
    "half precision inside",
    "layers of two precisions",
    *("fourier operator", "layers in a plain list", "a layer made when needed"),  # not all of it becomes float64
    "experts",
    "hypernetwork",  # one layer, or none before the last, whose rows are inputs
    "products of GPT-2",
}


@pytest.mark.parametrize("name", sorted(set(CASES) - NOT_DIFFERENTIATED))
def test_derivatives_are_those_of_the_model_by_finite_differences(name):
    case = CASES[name]()
    model = case.model.double()
    x = mapped(
        lambda each: each.double() if isinstance(each, torch.Tensor) and each.is_floating_point() else each, case.x
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = signal_propagation(model, x, jacobians="none").attrs["names"]
        seed()
        layers = preactivations(model, x)
    generator = torch.Generator().manual_seed(1)
    u, v = (torch.randn(h.shape, generator=generator, dtype=torch.float64) for h in (layers[-1], layers[0]))
    (gradient,) = torch.autograd.grad(layers[-1], layers[0], u, allow_unused=True)
    wanted = 0.0 if gradient is None else float((gradient * v).sum())
    step = 1e-6
    ends = [shifted(model, x, names, sign * step * v) for sign in (1, -1)]
    assert float(((ends[0] - ends[1]) / (2 * step) * u).sum()) == pytest.approx(wanted, rel=1e-4, abs=1e-4)

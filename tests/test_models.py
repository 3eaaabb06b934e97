"""Models of every kind that a user may bring: initialised right, refused with the reason, or named as not touched.

Each row: a model with its inputs; what `edge_of_chaos_` does with it, given the inputs; and the modules that
`signal_propagation` says it cannot see. Where layers are initialised their weights have the promised variance, and
the variance that is measured at each of them is q*.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import re
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from afli import activations as act
from afli.networks import lessons
from afli.networks.init import edge_of_chaos_
from afli.networks.modules import Elementwise
from afli.networks.probe import diagnose, preactivations, signal_propagation
from afli.networks.running import undisturbed
from afli.networks.survey import _shared, survey

N = 128


@dataclass
class Case:
    """model, x. given: arguments. refused: a pattern of the error. untouched: name and reason of what stays as it is.

    notes: a pattern in the warnings. follows: whether q* is measured at all initialised layers. unseen: by the probe.
    """

    model: nn.Module
    x: torch.Tensor
    given: dict | None = None
    refused: str = ""
    untouched: dict | None = None
    notes: str = ""
    follows: bool = True
    unseen: tuple[str, ...] = ()


def linear(n_in=N, n_out=N, **options):
    return nn.Linear(n_in, n_out, **options)


def mlp(activation, *, bias=True, hidden=3):
    layers = [m for _ in range(hidden) for m in (linear(bias=bias), activation())]
    return nn.Sequential(*layers, linear(N, 64, bias=bias))


def vectors(count=64, *shape):
    return torch.randn(count, *(shape or (N,)), generator=torch.Generator().manual_seed(0))


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


class Functional(nn.Module):
    """Layers in the wrong order of registration, activations as functions, one layer that is never used."""

    def __init__(self):
        super().__init__()
        self.head, self.auxiliary, self.second, self.first = linear(N, 64), linear(), linear(), linear()

    def forward(self, x):
        h = F.tanh(self.first(x))
        return self.head(torch.tanh(self.second(h.flatten(1))))


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.gate, self.down = linear(), linear(), linear()

    def forward(self, x):
        return self.down(torch.sigmoid(self.gate(x)) * self.up(x))


class Residual(nn.Module):
    def __init__(self, inner, activation=torch.tanh):
        super().__init__()
        self.inner, self.activation = inner, activation

    def forward(self, x):
        return x + self.inner(self.activation(x))


class Down(nn.Module):
    """Two branches that meet: a block of a ResNet that halves the image."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.first, self.second = nn.Conv2d(n_in, n_out, 3, 2, 1), nn.Conv2d(n_out, n_out, 3, 1, 1)
        self.short = nn.Conv2d(n_in, n_out, 1, 2)

    def forward(self, x):
        return self.second(torch.relu(self.first(torch.relu(x)))) + self.short(torch.relu(x))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.middle = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(8, 8, 2, 2), nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, x):
        a = torch.relu(self.down(x))
        b = torch.relu(self.middle(F.max_pool2d(a, 2)))
        return self.out(torch.cat([a, torch.relu(self.up(b))], 1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.body, self.head = nn.LSTM(8, N, batch_first=True), linear(), linear(N, 4)

    def forward(self, x):
        return self.head(torch.relu(self.body(self.lstm(x)[0][:, -1])))


class Raw(nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix, self.head = nn.Parameter(torch.randn(N, N)), linear(N, 4)

    def forward(self, x):
        return self.head(torch.tanh(x @ self.matrix))


class Attention(nn.Module):
    """By hand: projections that nn.Linear makes, and products of their outputs."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (linear(16, 16) for _ in range(4))

    def forward(self, x):
        weights = torch.softmax(self.q(x) @ self.k(x).transpose(1, 2), -1)
        return self.out(torch.relu(weights @ self.v(x)))


class Forward(nn.Module):
    """Modules by name, and how they are used."""

    def __init__(self, use, **modules):
        super().__init__()
        self.use = use
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *args, **kwargs):
        return self.use(self, *args, **kwargs)


class Standardised(nn.Linear):
    def forward(self, x):
        return F.linear(x, (self.weight - self.weight.mean(1, keepdim=True)) / self.weight.std(1, keepdim=True))


class Equalised(nn.Conv2d):
    """Weights and biases are scaled whenever they are used (StyleGAN)."""

    def forward(self, x):
        return F.conv2d(x, self.weight * 0.1, bias=self.bias)


class LowRank(nn.Linear):
    """A layer with an update beside it (LoRA)."""

    def __init__(self):
        super().__init__(N, N)
        self.down, self.up = nn.Parameter(torch.randn(4, N)), nn.Parameter(torch.randn(N, 4))

    def forward(self, x):
        return super().forward(x) + x @ self.down.T @ self.up.T


class Packed(nn.Module):
    """Keeps its weights out of its parameters, as quantised layers do."""

    def __init__(self):
        super().__init__()
        self.packed = torch.randn(N, N)

    def get_extra_state(self):
        return self.packed

    def set_extra_state(self, state):
        self.packed = state

    def forward(self, x):
        return torch.from_numpy(x.detach().numpy() @ self.packed.numpy())


def written_into(model, x):
    h = model.first(x)
    h[h < 0] = 0
    return model.last(h)


def half_of_it_scaled(model, x):
    h = model.first(x)
    h[:, :64].mul_(2)
    return model.last(torch.tanh(h))


def caught(model, x):
    with contextlib.suppress(RuntimeError):
        model.first(x[:, :3])
    return model.last(torch.tanh(model.first(x)))


def scaled_by_a_hook():
    model = mlp(nn.Tanh)
    model[2].register_forward_hook(lambda module, args, output: 3 * output)
    return model


def two(use, **others):
    return Forward(use, first=linear(), last=linear(N, 64), **others)


def shared():
    model = mlp(nn.Tanh)
    model[4].weight = model[0].weight
    return model


def shared_in_memory(view):
    model = mlp(nn.Tanh)
    model[4].weight = nn.Parameter(view(model[0].weight.data))
    return model


def one_vector_of_all():
    """Parameters that are views of one vector, one behind the other, as some optimisers want them."""
    model = mlp(nn.Tanh)
    whole, at = nn.utils.parameters_to_vector(model.parameters()).detach(), 0
    for parameter in model.parameters():
        parameter.data, at = whole[at : at + parameter.numel()].view_as(parameter), at + parameter.numel()
    return model


def shared_and_parametrised():
    model = mlp(nn.Tanh)
    for i in (0, 4):
        parametrizations.weight_norm(model[i])
    for original in ("original0", "original1"):
        setattr(model[4].parametrizations.weight, original, getattr(model[0].parametrizations.weight, original))
    return model


def frozen():
    model = mlp(nn.Tanh)
    model[2].weight.requires_grad = False
    return model


def repeated():
    layer = linear()
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), linear(N, 64))


def pruned():
    model = mlp(nn.Tanh)
    prune.random_unstructured(model[2], "weight", amount=0.5)
    return model


def wrapped(wrap):
    model = mlp(nn.Tanh)
    model[2] = wrap(model[2])
    return model


def compiled_inside():
    model = mlp(nn.Tanh)
    model[2].compile()
    return model


IMAGES = vectors(16, 1, 8, 8)
CASES = {
    "plain tanh": lambda: Case(mlp(nn.Tanh), vectors()),
    "relu in place": lambda: Case(mlp(lambda: nn.ReLU(inplace=True)), vectors(), {"sigma_b2": 0.0}),
    "prelu": lambda: Case(mlp(lambda: nn.PReLU(N)), vectors(), {"sigma_b2": 0.0}),
    "gelu, tanh form": lambda: Case(mlp(lambda: nn.GELU("tanh")), vectors(), {"sigma_b2": "attracting"}),
    "mish": lambda: Case(mlp(nn.Mish), vectors(), {"sigma_b2": "attracting"}),
    "hardswish": lambda: Case(mlp(nn.Hardswish), vectors(), {"sigma_b2": "attracting"}),
    "hardtanh": lambda: Case(mlp(lambda: nn.Hardtanh(-2, 2)), vectors()),
    "relu6": lambda: Case(mlp(nn.ReLU6), vectors()),
    "softshrink": lambda: Case(mlp(nn.Softshrink), vectors()),
    "swish by hand": lambda: Case(mlp(Swish), vectors(), {"sigma_b2": "attracting"}),
    "a function of numpy": lambda: Case(
        mlp(lambda: Elementwise(act.from_callable(lambda z: z / np.sqrt(1 + z**2)))), vectors()
    ),
    "functional": lambda: Case(
        Functional(), vectors(), untouched={"auxiliary": "never used"}, unseen=("auxiliary (Linear, never called)",)
    ),
    "dropout": lambda: Case(mlp(lambda: nn.Sequential(nn.Tanh(), nn.Dropout(0.2))), vectors(), notes="dropout of 0.2"),
    "two activations": lambda: Case(
        nn.Sequential(linear(), nn.Tanh(), linear(), nn.ReLU(), linear(), nn.Tanh(), linear(N, 64)),
        vectors(),
        untouched={"4": "it is fed by relu, not tanh", "6": "its input comes from 4"},
    ),
    "a bottleneck": lambda: Case(
        nn.Sequential(linear(), nn.Tanh(), linear(N, 16), linear(16, N), nn.Tanh(), linear(N, 64)),
        vectors(),
        untouched={"3": "no activation stands between it and 2", "5": "its input comes from 3"},
    ),
    "without biases": lambda: Case(mlp(nn.Tanh, bias=False), vectors(), {"q": 0.05}),
    "without biases, but asked for": lambda: Case(mlp(nn.Tanh, bias=False), vectors(), refused="needs a bias"),
    "weight norm": lambda: Case(wrapped(parametrizations.weight_norm), vectors()),
    "orthogonal": lambda: Case(wrapped(parametrizations.orthogonal), vectors(), refused="parametrised by Orthogonal"),
    "spectral norm": lambda: Case(
        wrapped(parametrizations.spectral_norm), vectors(), refused="parametrised by SpectralNorm"
    ),
    "old weight norm": lambda: Case(
        wrapped(nn.utils.weight_norm), vectors(), untouched={"2": "recomputed by a hook", "4": "2", "6": "4"}
    ),
    "old spectral norm": lambda: Case(
        wrapped(nn.utils.spectral_norm), vectors(), untouched={"2": "recomputed by a hook", "4": "2", "6": "4"}
    ),
    "pruned": lambda: Case(pruned(), vectors(), untouched={"2": "recomputed by a hook", "4": "2", "6": "4"}),
    "shared weights": lambda: Case(shared(), vectors(), refused="no layer .* 0: its weight is shared"),
    "one weight, transposed": lambda: Case(
        shared_in_memory(torch.t), vectors(), refused="no layer .* 0: its weight is shared"
    ),
    "views of one vector": lambda: Case(one_vector_of_all(), vectors()),
    "shared behind a parametrisation": lambda: Case(
        shared_and_parametrised(), vectors(), refused="no layer .* 0: what its parameters are made of is shared"
    ),
    "a layer used twice": lambda: Case(repeated(), vectors(), refused="no layer .* 0: used 2 times"),
    "frozen": lambda: Case(frozen(), vectors(), untouched={"2": "frozen", "4": "2", "6": "4"}),
    "lazy": lambda: Case(nn.Sequential(nn.LazyLinear(4), nn.Tanh(), linear(4, 2)), vectors(), refused="has no shape"),
    "meta": lambda: Case(mlp(nn.Tanh).to("meta"), vectors(), refused="on the meta device"),
    "float64": lambda: Case(mlp(nn.Tanh).double(), vectors().double()),
    "bfloat16": lambda: Case(mlp(nn.Tanh).bfloat16(), vectors().bfloat16()),
    "compiled": lambda: Case(torch.compile(mlp(nn.Tanh)), vectors()),
    "compiled inside": lambda: Case(compiled_inside(), vectors()),
    "data parallel": lambda: Case(nn.DataParallel(mlp(nn.Tanh)), vectors()),
    "gated": lambda: Case(Gated(), vectors(), refused=r"phi must be given: .*down: its input comes from mul"),
    "glu": lambda: Case(
        nn.Sequential(linear(), nn.GLU(), linear(64, 4)), vectors(), refused="phi must be given: .*GLU"
    ),
    "attention by hand": lambda: Case(
        Attention(),
        vectors(4, 6, 16),
        {"sigma_b2": 0.0},
        untouched={"out": "its input comes from matmul"},
        follows=False,
    ),
    "transformer": lambda: Case(
        nn.TransformerEncoderLayer(16, 2, 32),
        vectors(4, 6, 16),
        {"sigma_b2": 0.0},
        refused="self_attn: MultiheadAttention is outside .* linear1: its input comes from norm1",
        unseen=("self_attn (MultiheadAttention)",),
    ),
    "lstm": lambda: Case(
        Recurrent(), vectors(4, 6, 8), {"sigma_b2": 0.0}, refused="lstm: LSTM is outside", unseen=("lstm (LSTM)",)
    ),
    "a raw parameter": lambda: Case(Raw(), vectors(), refused="the model itself", unseen=("(the model itself) (Raw)",)),
    "embedding": lambda: Case(
        nn.Sequential(nn.Embedding(9, 16), linear(16, 16), nn.Tanh(), linear(16, 3)),
        torch.randint(9, (4, 5)),
        refused="0: Embedding is outside",
        unseen=("0 (Embedding)",),
    ),
    "batch norm": lambda: Case(
        nn.Sequential(linear(), nn.BatchNorm1d(N), nn.Tanh(), linear(N, 64)),
        vectors(),
        untouched={"3": "1 (BatchNorm1d), which fixes the variance"},
    ),
    "layer norm without parameters": lambda: Case(
        nn.Sequential(linear(), nn.LayerNorm(N, elementwise_affine=False), nn.Tanh(), linear(N, 64)),
        vectors(),
        untouched={"3": "1 (LayerNorm), which fixes the variance"},
    ),
    "shortcuts": lambda: Case(
        nn.Sequential(linear(), *[Residual(linear()) for _ in range(4)], nn.Tanh(), linear(N, 64)),
        vectors(),
        notes="4 shortcuts: q grows",
        follows=False,
    ),
    "shortcuts round an activation": lambda: Case(
        lessons.stack([N] * 4 + [4], nn.Tanh, shortcut=0.5), vectors(), refused="phi must be given: .* sum"
    ),
    "convolutions": lambda: Case(
        nn.Sequential(
            *(nn.Conv2d(1, 64, 3, padding=1), nn.Tanh(), nn.Conv2d(64, 64, 3, padding=1), nn.Tanh()),
            *(nn.Conv2d(64, 128, 2, 2), nn.Tanh(), nn.Flatten(), linear(2048, 64)),
        ),
        IMAGES,
    ),
    "convolutions of a signal": lambda: Case(
        nn.Sequential(nn.Conv1d(8, 64, 5), nn.Tanh(), nn.Conv1d(64, 64, 3), nn.Tanh(), nn.Conv1d(64, 64, 1)),
        vectors(16, 8, 30),
    ),
    "convolutions of a volume": lambda: Case(
        nn.Sequential(nn.Conv3d(4, 64, 3), nn.Tanh(), nn.Conv3d(64, 64, 1)), vectors(8, 4, 5, 5, 5)
    ),
    "a small LeNet": lambda: Case(
        nn.Sequential(
            *(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU()),
            *(nn.Flatten(), linear(32, 10)),
        ),
        IMAGES,
        {"sigma_b2": 0.0},
        notes="3 reads 2 (MaxPool2d), whose variance theory does not know",
        follows=False,
    ),
    "a residual convolutional network": lambda: Case(
        nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            *(Residual(nn.Conv2d(16, 16, 3, padding=1), torch.relu) for _ in range(2)),
            *(Down(16, 32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear(32, 10)),
        ),
        IMAGES,
        {"sigma_b2": 0.0},
        notes="2 shortcuts: q grows",
        follows=False,
    ),
    "unet": lambda: Case(
        UNet(),
        IMAGES,
        {"sigma_b2": 0.0},
        untouched={"up": "ConvTranspose2d is outside", "out": "its input comes from cat"},
        notes="middle reads maxpool2d",
        follows=False,
        unseen=("up (ConvTranspose2d)",),
    ),
    "three deep": lambda: Case(
        nn.Sequential(nn.Sequential(nn.Sequential(linear(), phi := nn.Tanh()), linear(), phi), linear(N, 64)), vectors()
    ),
    "a loop over a list": lambda: Case(
        Forward(
            lambda m, x: m.last(functools.reduce(lambda h, layer: F.gelu(layer(h)), m.layers, x)),
            layers=nn.ModuleList(linear() for _ in range(3)),
            last=linear(N, 64),
        ),
        vectors(),
        {"sigma_b2": "attracting"},
    ),
    "in place": lambda: Case(two(lambda m, x: m.last(torch.relu_(m.first(x)))), vectors(), {"sigma_b2": 0.0}),
    "clamp": lambda: Case(two(lambda m, x: m.last(m.first(x).clamp(-1, 1))), vectors()),
    "written into": lambda: Case(
        two(written_into), vectors(), {"sigma_b2": 0.0}, refused="last: its input comes from setitem in place"
    ),
    "half of it scaled": lambda: Case(
        two(half_of_it_scaled),
        vectors(),
        {"phi": "tanh"},
        untouched={"last": "its input comes from mul in place"},
    ),
    "a sum with a weight": lambda: Case(
        nn.Sequential(
            linear(),
            *(Forward(lambda m, x: torch.add(x, m.a(torch.tanh(x)), alpha=5.0), a=linear()) for _ in range(2)),
            *(nn.Tanh(), linear(N, 64)),
        ),
        vectors(),
        untouched={"2.a": "its input comes from add", "4": "its input comes from add"},
    ),
    "standardised weights": lambda: Case(
        nn.Sequential(linear(), nn.Tanh(), Standardised(N, N), nn.Tanh(), linear(N, 64)),
        vectors(),
        untouched={"2": "its weight is recomputed in its forward", "4": "2 (Standardised), which is not touched"},
    ),
    "equalised weights": lambda: Case(
        nn.Sequential(nn.Conv2d(1, 64, 3), nn.Tanh(), Equalised(64, 64, 3)),
        IMAGES,
        untouched={"2": "its weight is recomputed in its forward"},
    ),
    "an update of low rank": lambda: Case(
        nn.Sequential(linear(), nn.Tanh(), LowRank(), nn.Tanh(), linear(N, 64)),
        vectors(),
        untouched={"2": "its output is changed before it leaves", "4": "its input is a sum"},
    ),
    "a hook that changes the output": lambda: Case(
        scaled_by_a_hook(), vectors(), untouched={"2": "by its forward or a hook", "4": "2", "6": "4"}
    ),
    "a decoder with the encoder's weights": lambda: Case(
        two(lambda m, x: m.last(torch.tanh(F.linear(torch.tanh(m.first(x)), m.first.weight.t())))),
        vectors(),
        refused="first: its parameters are used outside its own call",
    ),
    "forward, called by hand": lambda: Case(
        two(lambda m, x: m.last(torch.tanh(m.first.forward(x)))),
        vectors(),
        refused="first: never called, but its parameters are used",
        unseen=("first (Linear, never called)",),
    ),
    "an error that is caught": lambda: Case(two(caught), vectors()),
    "a branch that is not taken": lambda: Case(
        two(lambda m, x: m.last(torch.tanh(m.first(x) if x.mean() < 9 else m.other(x))), other=linear()),
        vectors(),
        untouched={"other": "never used"},
        unseen=("other (Linear, never called)",),
    ),
    "bytes": lambda: Case(
        two(lambda m, x: m.last(torch.tanh(m.first(x.float() / 255)))),
        torch.randint(256, (64, N), dtype=torch.uint8),
        follows=False,
    ),
    "complex": lambda: Case(
        nn.Sequential(linear(dtype=torch.cfloat), nn.Tanh(), linear(dtype=torch.cfloat)),
        vectors().to(torch.cfloat),
        refused="0: its weights are complex",
    ),
    "float16": lambda: Case(mlp(nn.Tanh).half(), vectors().half()),
    "rrelu": lambda: Case(mlp(nn.RReLU), vectors(), {"sigma_b2": 0.0}, notes="rrelu draws its slopes in training"),
    "alpha dropout": lambda: Case(
        mlp(lambda: nn.Sequential(nn.SELU(), nn.AlphaDropout(0.1))), vectors(), notes="dropout of 0.1"
    ),
    "repelling at every bias variance": lambda: Case(
        nn.Sequential(linear(), nn.Tanhshrink(), linear(N, 64)), vectors(), notes="It attracts at no sigma_b2"
    ),
    "groups, strides and dilation": lambda: Case(
        nn.Sequential(
            *(nn.Conv2d(1, 64, 3), nn.Tanh(), nn.Conv2d(64, 64, 3, groups=8, stride=2), nn.Tanh()),
            *(nn.Conv2d(64, 64, 2, dilation=1, groups=64, bias=True), nn.Tanh(), nn.Conv2d(64, 32, 1)),
        ),
        IMAGES,
    ),
    "pixel shuffle": lambda: Case(
        nn.Sequential(nn.Conv2d(1, 64, 3), nn.Tanh(), nn.PixelShuffle(2), nn.Conv2d(16, 64, 3)), IMAGES
    ),
    "transposed convolution": lambda: Case(
        nn.Sequential(nn.Conv2d(1, 64, 3), nn.Tanh(), nn.ConvTranspose2d(64, 64, 3), nn.Tanh(), nn.Conv2d(64, 8, 3)),
        IMAGES,
        untouched={"2": "ConvTranspose2d is outside", "4": "its input comes from 2 (ConvTranspose2d)"},
        unseen=("2 (ConvTranspose2d)",),
    ),
    "group norm": lambda: Case(
        nn.Sequential(nn.Conv2d(1, 64, 3), nn.GroupNorm(4, 64), nn.Tanh(), nn.Conv2d(64, 8, 3)),
        IMAGES,
        untouched={"3": "1 (GroupNorm), which fixes the variance"},
    ),
    "instance norm": lambda: Case(
        nn.Sequential(nn.Conv2d(1, 64, 3), nn.InstanceNorm2d(64), nn.Tanh(), nn.Conv2d(64, 8, 3)),
        IMAGES,
        untouched={"3": "1 (InstanceNorm2d), which fixes the variance"},
    ),
    "rms norm": lambda: Case(
        nn.Sequential(linear(), nn.RMSNorm(N), nn.Tanh(), linear(N, 64)),
        vectors(),
        untouched={"3": "1 (RMSNorm), which fixes the variance"},
    ),
    "rms norm by hand": lambda: Case(
        two(lambda m, x: m.last(torch.tanh((h := m.first(x)) * torch.rsqrt(h.pow(2).mean(-1, keepdim=True))))),
        vectors(),
        {"phi": "tanh"},
        untouched={"last": "its input comes from mul"},
    ),
    "a dense block": lambda: Case(
        Forward(lambda m, x: m.b(torch.cat([x, torch.tanh(m.a(x))], 1)), a=linear(), b=linear(2 * N, 4)),
        vectors(),
        untouched={"b": "its input comes from cat"},
    ),
    "swiglu": lambda: Case(
        Forward(lambda m, x: m.c(F.silu(m.a(x)) * m.b(x)), a=linear(), b=linear(), c=linear()),
        vectors(),
        {"phi": "silu", "sigma_b2": "attracting"},
        untouched={"c": "its input comes from mul"},
    ),
    "gru": lambda: Case(
        Forward(lambda m, x: m.head(m.gru(x)[0][:, -1]), gru=nn.GRU(8, N, batch_first=True), head=linear()),
        vectors(4, 6, 8),
        {"phi": "tanh"},
        refused="head: its input comes from gru",
        unseen=("gru (GRU)",),
    ),
    "weights that are no parameters": lambda: Case(
        Forward(lambda m, x: m.b(m.packed(torch.tanh(m.a(x)))), a=linear(), packed=Packed(), b=linear()),
        vectors(),
        {"phi": "tanh"},
        untouched={"packed": "Packed is outside the theory", "b": "its input comes from packed (Packed)"},
        unseen=("packed (Packed)",),
    ),
    "a product in einsum": lambda: Case(
        Forward(lambda m, x: m.b(torch.tanh(torch.einsum("bi,ij->bj", x, m.raw.matrix))), raw=Raw(), b=linear()),
        vectors(),
        refused="raw: Raw is outside the theory",
        unseen=("raw (Raw)", "raw.head (Linear, never called)"),
    ),
    "an output of parts": lambda: Case(
        two(lambda m, x: {"logits": m.last(h := torch.tanh(m.first(x))), "hidden": [h, None]}), vectors()
    ),
}


def initialised(case):
    """The theory and the warnings, for inputs of the right size."""
    given = {"sigma_b2": 0.1, **(case.given or {})}
    if "q" in given:
        del given["sigma_b2"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net = edge_of_chaos_(case.model, x=case.x, generator=torch.Generator().manual_seed(0), **given)
    return net, " | ".join(str(w.message) for w in caught)


def tensors_of(model):
    """What a model holds, by name; a copy."""
    held = {**model.state_dict(), **{f"{name}.grad": p.grad for name, p in model.named_parameters()}}
    held = {name: value for name, value in held.items() if isinstance(value, torch.Tensor)}
    return {name: value if nn.parameter.is_lazy(value) else value.detach().clone() for name, value in held.items()}


def changed(before, after):
    """The names of what differs; what spectral_norm updates whenever it is looked at is left out."""
    same = {
        name
        for name in before.keys() & after.keys()
        if nn.parameter.is_lazy(before[name]) or before[name].is_meta or torch.equal(before[name], after[name])
    }
    return {name for name in (before.keys() | after.keys()) - same if not name.endswith(("_u", "_v"))}


def check_fate(case, *, repels=False):
    """Refused before anything is changed, or initialised with the promised variance and nothing else touched."""
    before = tensors_of(case.model)
    if case.refused:
        with pytest.raises(ValueError, match=case.refused):
            initialised(case)
        assert not changed(before, tensors_of(case.model))
        return
    net, said = initialised(case)
    found = survey(case.model, case.x, (case.given or {}).get("phi"))
    assert set(found.untouched) == set(case.untouched or {})
    for layer, reason in (case.untouched or {}).items():
        assert reason in found.untouched[layer]
        assert f"{layer}: " in said
    assert case.notes in said
    assert ("repels" in said) == repels
    ours = tuple(f"{task.name}." for task in found.tasks)
    for name in changed(before, tensors_of(case.model)):
        assert re.sub(r"^(module\.|_orig_mod\.)", "", name).startswith(ours) or name.startswith(ours)
    tolerance = 0.02 if next(case.model.parameters()).dtype == torch.bfloat16 else 1e-3
    for task in found.tasks:
        weight = task.module.weight.detach().double()
        assert float(weight.square().sum() / len(weight)) == pytest.approx(task.share * net.sigma_w2, rel=tolerance)
    if case.follows:
        # Only layers that theory has initialised, and that have enough units for a mean.
        scale = ((net.q - net.sigma_b2) / net.sigma_w2 / case.x.double().square().mean()) ** 0.5
        names = signal_propagation(case.model, case.x, jacobians="none").attrs["names"]
        hidden = preactivations(case.model, (scale * case.x).to(case.x.dtype))
        measured = [float(h.detach().double().square().mean()) for h in hidden]
        values = [q for layer, q in zip(names, measured, strict=True) if f"{layer}." in ours]
        np.testing.assert_allclose(values, net.q, rtol=0.3)


def check_unseen(case):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        table = signal_propagation(case.model, case.x, jacobians="none")
    said = [str(w.message) for w in caught if "not seen" in str(w.message)]
    assert said == ([f"not seen: {', '.join(case.unseen)}"] if case.unseen else [])
    used = [m for m in case.model.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)]
    inside = sum(isinstance(m, nn.MultiheadAttention) for m in case.model.modules())
    named = sum("never called" in each or "not those of the batch" in each for each in case.unseen)
    assert len(table) >= len(used) - inside - named
    assert table["q"].notna().all()


@pytest.mark.parametrize("name", CASES)
def test_a_model_is_initialised_or_refused_or_named(name):
    check_fate(CASES[name](), repels=name == "repelling at every bias variance")


@pytest.mark.parametrize("name", CASES)
def test_what_the_probe_cannot_see_is_named(name):
    case = CASES[name]()
    if name in ("lazy", "meta", "complex"):
        with pytest.raises(ValueError, match=r"has no shape|meta device|no tensor of real numbers"):
            signal_propagation(case.model, case.x)
        return
    case.x = case.x[:4]
    check_unseen(case)


SEVERAL = {
    "tuple": lambda: (vectors(), vectors(64)),
    "dict": lambda: {"y": vectors(), "x": vectors(64)},
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_a_model_of_several_inputs_takes_them_as_a_tuple_or_by_name(kind):
    model = Forward(lambda m, x, y: m.c(torch.tanh(m.a(x) + m.b(y))), a=linear(), b=linear(), c=linear(N, 64))
    x = SEVERAL[kind]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = edge_of_chaos_(model, x=x, sigma_b2=0.1)
    shares = [float(layer.weight.detach().square().sum() / N / net.sigma_w2) for layer in (model.a, model.b)]
    np.testing.assert_allclose(shares, 0.5, rtol=1e-5)
    assert signal_propagation(model, x)["chi1"].isna().tolist() == [True, True, False]
    assert diagnose(model, x).healthy


@pytest.mark.parametrize(("x", "complaint"), [
    (torch.zeros(0, N), r"x must have values, got shape \(0, 128\)"), (torch.full((4, N), np.inf), "x must be finite"),
    (torch.zeros(4, 3), "model does not run on x: RuntimeError: .*shapes cannot be multiplied"),
    ((torch.zeros(4, N), 1), "model does not run on x: TypeError"),
    (torch.eye(4, N).to_sparse(), "x must hold dense tensors"), (np.zeros((4, N)), "model does not run on x"),
], ids=str)  # fmt: skip
def test_inputs_that_a_model_does_not_take_are_refused(x, complaint):
    with pytest.raises(ValueError, match=complaint):
        edge_of_chaos_(mlp(nn.Tanh), x=x, sigma_b2=0.1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused():
    for model in (torch.jit.script(mlp(nn.Tanh)), nn.Sequential(torch.jit.trace(linear(), vectors()), linear())):
        for use in (lambda m: edge_of_chaos_(m, x=vectors(), sigma_b2=0.1), lambda m: diagnose(m, vectors())):
            with pytest.raises(ValueError, match="is TorchScript, which cannot be followed"):
                use(model)


def test_a_warning_that_is_made_an_error_leaves_the_model_as_it_was():
    model = mlp(nn.Tanh)
    before = copy.deepcopy(model.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="InputScale"):
            edge_of_chaos_(model, x=9 * vectors(), sigma_b2=0.1)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class TwoViews(nn.Module):
    """Writes through a view of one of its buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("whole", torch.ones(4))
        self.part = self.whole[:2]

    def forward(self, x):
        self.part.fill_(3.0)
        return self.layer(x) * self.whole.sum()


def test_views_of_one_memory_stay_views_of_one_memory_while_a_model_is_run():
    model, x = TwoViews(), torch.ones(2, 4)
    with undisturbed(model):
        torch.testing.assert_close(model(x), 8 * model.layer(x))
    assert model.whole.tolist() == [1.0] * 4


def test_a_parameter_that_holds_several_shares_its_memory_with_each():
    model = nn.Module()
    model.flat = nn.Parameter(torch.zeros(300))
    model.weights = nn.ParameterList(nn.Parameter(model.flat.data[k : k + 100]) for k in (0, 100))
    model.apart = nn.Parameter(torch.zeros(5))
    assert _shared(model) == {id(model.flat), *map(id, model.weights)}

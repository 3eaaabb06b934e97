"""Part I.3, what ReLU gains and loses: noise, sparsity, cost, dying units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from afli import activations as act
from afli import data, gaussian, toy
from afli import meanfield as mf
from afli.activations import Activation
from afli.claims.comparisons import Evidence, at_most, below, equal
from afli.claims.ledger import on
from afli.claims.part_1_2 import few_digits, small_network
from afli.claims.vocabulary import point

claim = on("I_3_relu_trade", "the article on choosing activations")
_SIGMOID = act.sigmoid()
_TANH = act.tanh()
_RELU = act.relu()
_LEAKY = act.leaky_relu(0.2)
_SLIGHTLY_LEAKY = act.leaky_relu(0.01)


def _noise_passed(phi: Activation, mean: float) -> float:
    """Var phi(mean + Z), the share of a noise variance of 1 that gets through."""
    kinks = tuple(d - mean for d in phi.kinks)
    first = gaussian.expectation(lambda z: phi.function(mean + z), 1.0, kinks=kinks)
    second = gaussian.expectation(lambda z: phi.function(mean + z) ** 2, 1.0, kinks=kinks)
    return float(second - first**2)


@claim(
    "article-noise-one-neuron",
    "A ReLU whose mean preactivation is two noise deviations below zero passes under 1% of the noise.",
    claimed="A ReLU that reports absence is robust to noise.",
    found="By quadrature it passes {measured:.2%}.",
    at="robustness to noise (condition: absence pushes the preactivation well below zero)",
    status="holds under a condition",
    mutants={"mean 0": {"mean": 0.0}, "leaky slope 0.2": {"phi": _LEAKY}},
)
def noise_one_neuron(phi: Activation = _RELU, mean: float = -2.0) -> Evidence:
    return at_most(_noise_passed(phi, mean), 0.01, domain="normal noise of variance 1, by quadrature")


@claim(
    "article-noise-network",
    "On noisy digits a ReLU network beats one of leaky slope 0.2, which cannot saturate, by under one point.",
    found="The lead is {measured:points}.",
    ours="the article speaks of one neuron; this asks for a whole network",
    mutants={"noise for the leaky network only": {"noise": (0.0, 1.0)}},
)
def noise_network(noise: tuple[float, float] = (1.0, 1.0)) -> Evidence:
    digits = data.normalised(data.load("digits"))

    def accuracy(phi: Activation, level: float, seed: int) -> float:
        rng = np.random.default_rng(seed)
        layers = toy.random_layers([64, 64, 64, 10], sigma_w2=mf.edge_of_chaos(phi, sigma_b2=0.0).sigma_w2, rng=rng)
        order = rng.integers(len(digits.x_train), size=(300, 64))
        *_, layers = toy.train(layers, phi, digits.x_train, digits.y_train, rate=0.3, order=order)
        noisy = np.tile(digits.x_test, (10, 1)) + level * rng.standard_normal((10 * len(digits.x_test), 64))
        logits = toy.backprop(layers, phi, noisy, np.tile(digits.y_test, 10)).preactivations[-1]
        return float(np.mean(logits.argmax(axis=1) == np.tile(digits.y_test, 10)))

    pairs = zip((_RELU, _LEAKY), noise, strict=True)
    relu, leaky = (np.mean([accuracy(phi, level, seed) for seed in range(4)]) for phi, level in pairs)
    domain = (
        "64-64-64-10, 300 steps, 4 networks each on its edge of chaos; test images plus noise of their own variance"
    )
    return below(relu - leaky, 0.01, domain=domain)


@claim(
    "article-correlated-units",
    r"Where preactivations have mean zero, ReLU shrinks every negative correlation of two units, to no less than "
    r"$-1/(\pi - 1)$.",
    claimed="ReLU does not tie two units by a negative correlation.",
    found="Just below zero the share that is left approaches its limit, {bound:.3f}.",
    at="robustness to noise",
    status="holds under a condition",
    mutants={
        "tanh": {"phi": _TANH},
        "preactivations of mean 1": {"mean": 1.0},
        "-0.9 / (pi - 1)": {"factor": 0.9},
        "a linear unit": {"phi": act.linear()},
    },
)
def correlated_units(phi: Activation = _RELU, factor: float = 1.0, mean: float = 0.0) -> Evidence:
    rho = np.linspace(-1, -0.01, 100)
    kinks = tuple(kink - mean for kink in phi.kinks)

    def f(z: ArrayLike) -> NDArray[np.float64]:
        return phi.function(np.asarray(z) + mean)

    product = gaussian.expectation2(f, f, np.append(rho, 1.0), q1=1.0, q2=1.0, kinks_f=kinks, kinks_g=kinks)
    product -= gaussian.expectation(f, 1.0, kinks=kinks) ** 2
    shrunk = product[:-1] / product[-1]
    domain = "standard normal preactivations, 100 correlations in [-1, -0.01], by quadrature"
    at_most(-shrunk, -0.999 * rho, domain=domain)
    return at_most(-shrunk, factor / (np.pi - 1) + 1e-12, domain=domain, at=point(rho=rho))


@claim(
    "article-sparsity",
    "In a random ReLU network without biases half of the outputs of every layer are zero.",
    found=(
        "In {cases} sampled layers the share differs from one half by at most {measured:.1%}; four standard "
        "errors are {bound:.1%}."
    ),
    at="sparsity",
    status="holds, and sharpened",
    mutants={"leaky slope 0.01": {"phi": _SLIGHTLY_LEAKY}, "biases of -1": {"bias": -1.0}},
)
def sparsity(phi: Activation = _RELU, bias: float = 0.0) -> Evidence:
    rng = np.random.default_rng(0)
    z, shares = rng.standard_normal((4, 1000)), []
    for w, _ in toy.random_layers([1000] * 21, sigma_w2=2.0, rng=rng):
        z = phi.function(z @ w.T + bias)
        shares.append(np.mean(z == 0, axis=1))
    # 1000 units: four standard deviations of a share of one half are 0.063.
    domain = "20 layers of 1000 units, 4 inputs; four standard errors allowed"
    return equal(shares, 0.5, 0.064, domain=domain, at=lambda i: f"layer {i[0] + 1}")


class _Counted(np.ndarray):
    """An array that counts how many transcendental functions its elements go through."""

    evaluations = 0
    transcendental = ("exp", "expm1", "log", "log1p", "tanh", "cosh", "erf", "ndtr", "expit", "logaddexp")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [np.asarray(x) if isinstance(x, _Counted) else x for x in inputs]
        result = getattr(ufunc, method)(*plain, **options)
        if ufunc.__name__ in self.transcendental:
            _Counted.evaluations += np.size(result)
        return result.view(_Counted) if isinstance(result, np.ndarray) else result


def _evaluations(phi: Activation) -> float:
    """Transcendental functions per element, for phi and phi' together."""
    _Counted.evaluations = 0
    z = np.linspace(-3, 3, 1000).view(_Counted)
    for function in (phi.function, phi.gradient):
        function(z)
    return _Counted.evaluations / z.size


@claim(
    "article-no-exponentials",
    "ReLU and leaky ReLU need no exponential, forward or back; sigmoid, tanh and elu need at least one each.",
    found="Evaluations were counted on 1,000 numbers: none, and at least one each.",
    at="sparsity and how to choose",
    mutants={
        "elu among the cheap ones": {"cheap": (_RELU, act.elu())},
        "ReLU among the dear ones": {"dear": (_SIGMOID, _RELU)},
    },
)
def no_exponentials(
    cheap: Sequence[Activation] = (_RELU, _SLIGHTLY_LEAKY), dear: Sequence[Activation] = (_SIGMOID, _TANH, act.elu())
) -> Evidence:
    domain = "evaluations counted on 1000 numbers, phi and phi' together"
    at_most(1.0, [_evaluations(phi) for phi in dear], domain=domain)
    return at_most([_evaluations(phi) for phi in cheap], 0.0, domain=domain, at=point(cheap))


@claim(
    "article-dying-relu",
    "A unit of the first layer that is off for every training input never changes again.",
    claimed="A dead ReLU stays dead.",
    found="In 200 steps no weight of the 32 dead units moved.",
    at="the dying ReLU problem (condition: what feeds the unit does not change)",
    status="holds under a condition",
    mutants={"leaky slope 0.01": {"phi": _SLIGHTLY_LEAKY}, "a unit of the second layer": {"layer": 1}},
)
def dying_relu(phi: Activation = _RELU, layer: int = 0) -> Evidence:
    x, labels = few_digits(512)
    layers = small_network()
    w, b = layers[layer]
    highest = toy.backprop(layers, phi, x, labels).preactivations[layer].max(axis=0)
    killed = np.arange(len(b)) < 32
    layers[layer] = (w, np.where(killed, b - highest - 0.01, b))
    order = np.random.default_rng(1).integers(512, size=(200, 64))
    *_, after = toy.train(layers, phi, x, labels, rate=0.3, order=order)
    change = np.abs(after[layer][0] - w)[killed].max()
    domain = "32 of 64 units pushed just below zero on all 512 digits, 200 steps; measured is the largest weight change"
    return equal(change, 0.0, 0.0, domain=domain)

"""Part I: what an article on choosing activations and a question on positive-only activations say.

Ids `article-...` and `question-...`. Statements are in our words; where a text is loose, the statement is the corrected
one, and its status says so. Networks are sampled with numpy; torch is imported by the few checks that need it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from afli import activations as act
from afli import gaussian, toy
from afli import meanfield as mf
from afli.activations import Activation
from afli.claims.ledger import LEDGER, Evidence, at_most, equal

_ARTICLE = "the article on choosing activations"
_QUESTION = "the question on positive-only activations"
_SIGMOID, _TANH, _RELU, _ELU = act.sigmoid(), act.tanh(), act.relu(), act.elu()
_LEAKY, _SLIGHTLY_LEAKY = act.leaky_relu(0.2), act.leaky_relu(0.01)
_VANISHING = "I_1_vanishing_gradients"


# --- I.1 Vanishing gradients ---


@LEDGER.claim(
    "article-random-product",
    statement="A product of fifty uniform random numbers passes 10^-18 in 10.8% of tries (the text: never).",
    source=f"{_ARTICLE}, vanishing gradients",
    page=_VANISHING,
    status="corrected",
    mutants={"10^18, the sign lost": {"exponent": 18.0}, "forty factors": {"factors": 40}},
)
def random_product(exponent: float = -18.0, factors: int = 50, share: float = 0.108) -> Evidence:
    count = 40_000
    above = np.mean(toy.log10_products(factors, count, rng=np.random.default_rng(0)) > exponent)
    error = 4 * np.sqrt(share * (1 - share) / count)
    sampled = equal(above, share, error, domain=f"{count} products, four standard errors allowed")
    exact = float(toy.product_above(min(exponent, 0.0), factors))
    return equal(exact, share, 5e-4, domain=sampled.domain, oracle="sampling, and the Gamma distribution exactly")


@LEDGER.claim(
    "article-sigmoid-slope",
    statement="The slope of the sigmoid is positive and at most 1/4 (the text: between 0 and 1).",
    source=f"{_ARTICLE}, vanishing gradients",
    page=_VANISHING,
    status="corrected",
    mutants={"0.24 in place of 1/4": {"bound": 0.24}, "tanh in place of the sigmoid": {"phi": _TANH}},
)
def sigmoid_slope(bound: float = 0.25, phi: Activation = _SIGMOID) -> Evidence:
    z, step = np.linspace(-30, 30, 60_001), 1e-5
    difference = (phi(z + step) - phi(z - step)) / (2 * step)
    domain = "difference quotients (phi(z + h) - phi(z - h)) / 2h with h = 1e-5 at 60,001 points of [-30, 30]"
    at_most(-phi.derivative(z), 0.0, strict=True, domain=domain)
    # A difference quotient is a mean of slopes, so rounding (1e-11) is all that may take it above the bound.
    return at_most(difference, bound + 1e-11, domain=domain, at=lambda i: f"z = {z[i[0]]:g}")


def _error_sizes(
    phi: Activation, *, sigma_w2: float, sigma_b2: float = 0.1, depth: int = 50, width: int = 300, seed: int = 0
) -> np.ndarray:
    """log10 of the mean size of delta per layer, relative to the last, in a sampled network with Gaussian inputs."""
    rng = np.random.default_rng(seed)
    layers = toy.random_layers([width] * (depth + 1), sigma_w2=sigma_w2, sigma_b2=sigma_b2, rng=rng)
    z, gradients = rng.standard_normal((16, width)), []
    for w, b in layers:
        h = z @ w.T + b
        gradients.append(phi.gradient(h))
        z = phi.function(h)
    delta = rng.standard_normal((16, width))
    sizes = [np.linalg.norm(delta)]
    for (w, _), slope in zip(layers[:0:-1], gradients[-2::-1], strict=True):
        delta = slope * (delta @ w)
        sizes.append(np.linalg.norm(delta))
    return np.log10(np.array(sizes[::-1]) / sizes[0])


_SAMPLED = "one sampled Gaussian network, 50 layers of 300 units, 16 Gaussian inputs"


@LEDGER.claim(
    "article-vanishing-gradient",
    statement="With weight variance 1 the first of 50 sigmoid layers gets less than 1e-25 of the last one's gradient.",
    source=f"{_ARTICLE}, vanishing gradients (condition: the weight variance)",
    page=_VANISHING,
    status="holds under a condition",
    mutants={
        "on the edge of chaos, sigma_w2 = 103.2": {"sigma_w2": 103.2},
        "Shtanh, a = 3": {"phi": act.shtanh(a=3.0)},
    },
)
def vanishing_gradient(sigma_w2: float = 1.0, phi: Activation = _SIGMOID) -> Evidence:
    sizes = _error_sizes(phi, sigma_w2=sigma_w2)
    return at_most(sizes[0], -25.0, domain=f"log10 of the ratio; {_SAMPLED}")


@LEDGER.claim(
    "article-early-layers",
    statement="In a sigmoid network of weight variance 1 every layer gets a smaller gradient than the layer above it.",
    source=f"{_ARTICLE}, vanishing gradients (condition: the weight variance)",
    page=_VANISHING,
    status="holds under a condition",
    mutants={"sigma_w2 = 200": {"sigma_w2": 200.0}},
)
def early_layers(sigma_w2: float = 1.0) -> Evidence:
    sizes = _error_sizes(_SIGMOID, sigma_w2=sigma_w2)
    return at_most(
        -np.diff(sizes),
        0.0,
        strict=True,
        domain=f"log10 steps from layer to layer; {_SAMPLED}",
        at=lambda i: f"layer {i[0] + 1}",
    )


@LEDGER.claim(
    "article-relu-product",
    statement="ReLU's gradient neither vanishes nor explodes over 50 layers, within a factor 3, if sigma_w2 = 2.",
    source=f"{_ARTICLE}, ReLU to the rescue (condition: the weight variance)",
    page=_VANISHING,
    status="holds under a condition",
    mutants={"sigma_w2 = 1": {"sigma_w2": 1.0}, "sigma_w2 = 3": {"sigma_w2": 3.0}},
)
def relu_product(sigma_w2: float = 2.0) -> Evidence:
    sizes = _error_sizes(_RELU, sigma_w2=sigma_w2, sigma_b2=0.0)
    return at_most(
        np.abs(sizes), np.log10(3), domain=f"|log10| of the ratio; {_SAMPLED}", at=lambda i: f"layer {i[0] + 1}"
    )


@LEDGER.claim(
    "article-saturation",
    statement="Far from zero the sigmoid's slope is nearly zero: below e^-|h| for every h.",
    source=f"{_ARTICLE}, saturated neurons",
    page=_VANISHING,
    status="holds, and sharpened",
    mutants={"e^(-1.1 |h|)": {"exponent": 1.1}},
)
def saturation(exponent: float = 1.0) -> Evidence:
    h = np.linspace(-30, 30, 6_001)
    # A complex step differentiates without subtracting, so the ratio keeps all its digits.
    slope = np.imag(1 / (1 + np.exp(-(h + 1e-20j)))) / 1e-20
    domain = "6,001 points of [-30, 30], differentiated by a complex step"
    return at_most(
        slope * np.exp(exponent * np.abs(h)), 1.0, strict=True, domain=domain, at=lambda i: f"h = {h[i[0]]:g}"
    )


@LEDGER.claim(
    "article-saturated-neuron",
    statement="With a squared loss a sigmoid neuron at h that should say 0 needs more than e^h steps to unsaturate.",
    source=f"{_ARTICLE}, saturated neurons (condition: a loss that keeps the slope)",
    page=_VANISHING,
    status="holds under a condition",
    mutants={"cross-entropy loss": {"loss": "cross-entropy"}, "e^(1.1 h) steps": {"exponent": 1.1}},
)
def saturated_neuron(loss: str = "square", exponent: float = 1.0) -> Evidence:
    h = np.arange(2.0, 11.0)
    steps = np.array([toy.steps_to_unsaturate(start, loss=loss) for start in h], dtype=float)
    return at_most(
        np.exp(exponent * h) / steps, 1.0, strict=True, domain="h = 2, ..., 10; rate 1", at=lambda i: f"h = {h[i[0]]:g}"
    )


# --- I.2 Positive inputs and the zig-zag ---

_ZIG_ZAG = "I_2_zig_zag"


def _digits(images: int) -> tuple[np.ndarray, np.ndarray]:
    """Training images of digits, pixels in [0, 1], and their labels."""
    from afli import data

    digits = data.load("digits")
    return digits.x_train[:images].astype(float), digits.y_train[:images]


def _small_network(sigma_w2: float = 2.0, seed: int = 0) -> list[toy.Layer]:
    return toy.random_layers([64, 64, 64, 10], sigma_w2=sigma_w2, rng=np.random.default_rng(seed))


def _one_sign(phi: Activation, batch: int, images: int = 512) -> float:
    """Share of the second layer's neurons whose weight gradient on a batch has one sign; silent neurons left out."""
    x, labels = _digits(images)
    run = toy.backprop(_small_network(), phi, x, labels)
    shares = []
    for start in range(0, images, batch):
        rows = slice(start, start + batch)
        gradient = run.errors[1][rows].T @ run.inputs[1][rows]
        shares.append(toy.share_of_one_sign(gradient[np.abs(gradient).max(axis=1) > 0]))
    return float(np.mean(shares))


@LEDGER.claim(
    "question-one-sign",
    statement="If a neuron's inputs are positive, one example's gradient in its weights has one sign throughout.",
    source=f"{_QUESTION}, the lecture's remark and the accepted answer",
    page=_ZIG_ZAG,
    mutants={"tanh below: inputs of both signs": {"phi": _TANH}, "two examples at once": {"batch": 2}},
)
def one_sign(phi: Activation = _SIGMOID, batch: int = 1) -> Evidence:
    share = _one_sign(phi, batch)
    domain = "second layer of a random network on 512 digits; measured is the share of neurons that break the rule"
    return equal(1 - share, 0.0, 0.0, domain=domain)


@LEDGER.claim(
    "question-error-sign",
    statement="The error of a sigmoid unit takes both signs although every slope is positive, as the weights above do.",
    source=f"{_QUESTION}, the asker's derivation",
    page=_ZIG_ZAG,
    status="corrected",
    mutants={"weights and errors above all positive": {"positive": True}},
)
def error_sign(positive: bool = False) -> Evidence:
    x, labels = _digits(512)
    layers = _small_network()
    run = toy.backprop(layers, _SIGMOID, x, labels)
    above, weights = run.errors[2], layers[2][0]
    if positive:
        above, weights = np.abs(above), np.abs(weights)
    errors = _SIGMOID.gradient(run.preactivations[1]) * (above @ weights)
    share = np.mean(errors > 0)
    domain = "second layer of a random sigmoid network, 512 digits; measured is the larger of the two shares"
    return at_most(max(share, 1 - share), 0.6, domain=domain)


@LEDGER.claim(
    "article-one-direction",
    statement="The common sign belongs to a neuron, not to its layer: for every example some neurons go up, some down.",
    source=f"{_ARTICLE}, zero-centred activations (the text: all weights of the layer)",
    page=_ZIG_ZAG,
    status="corrected",
    mutants={"a layer of one neuron": {"neurons": 1}},
)
def one_direction(neurons: int = 64) -> Evidence:
    x, labels = _digits(512)
    errors = toy.backprop(_small_network(), _SIGMOID, x, labels).errors[1][:, :neurons]
    domain = "second layer of a random sigmoid network; measured is the share of 512 digits with one sign for all"
    return at_most(toy.share_of_one_sign(errors), 0.0, domain=domain)


@LEDGER.claim(
    "article-batch-one-sign",
    statement="On a batch of 64, under a fifth of a ReLU layer's neurons keep one sign in all components.",
    source=f"{_ARTICLE}, zero-centred activations (the text: mixed signs are not possible with ReLU)",
    page=_ZIG_ZAG,
    status="corrected",
    mutants={"single examples": {"batch": 1}, "sigmoid in place of ReLU": {"phi": _SIGMOID}},
)
def batch_one_sign(phi: Activation = _RELU, batch: int = 64) -> Evidence:
    return at_most(_one_sign(phi, batch), 0.2, domain="second layer of a random network, 512 digits in batches of 64")


def _two_weights(mean: float, *, spread: float = 1.0, natural: bool = False, seed: int = 0) -> toy.Descent:
    """The neuron of the page: inputs uniform around `mean`, start (-1, 1), goal (1, -1)."""
    x = mean + spread * np.random.default_rng(seed).uniform(-1, 1, (500, 2))
    rate = 0.5 if natural else 1 / float(np.mean(np.sum(x * x, axis=1)))
    return toy.descend(x, np.array([1.0, -1.0]), np.array([-1.0, 1.0]), rate=rate, steps=3000, natural=natural)


@LEDGER.claim(
    "question-search-space",
    statement="Steps that each raise both weights or lower both still reach a goal that asks for one up and one down.",
    source=f"{_QUESTION}, the asker's guess that part of the space is out of reach",
    page=_ZIG_ZAG,
    status="corrected",
    mutants={"inputs all parallel": {"spread": 0.0}},
)
def search_space(spread: float = 1.0) -> Evidence:
    run = _two_weights(2.0, spread=spread)
    steps = run.updates[np.linalg.norm(run.updates, axis=1) > 0]
    domain = "inputs uniform on [1, 3]^2, 3000 single-example steps; measured is the distance that is left"
    if len(steps):
        equal(toy.share_of_one_sign(steps), 1.0, 0.0, domain=domain)
    return at_most(np.linalg.norm(run.weights[-1] - [1.0, -1.0]), 1e-6, domain=domain)


@LEDGER.claim(
    "article-zig-zag",
    statement="Two weights need at least ten times as many steps if their inputs have mean 4 instead of 0.",
    source=f"{_ARTICLE}, zero-centred activations, and {_QUESTION} (condition: plain gradient descent)",
    page=_ZIG_ZAG,
    status="holds under a condition",
    mutants={"the natural gradient": {"natural": True}, "inputs centred": {"mean": 0.0}},
)
def zig_zag(mean: float = 4.0, natural: bool = False) -> Evidence:
    goal = np.array([1.0, -1.0])

    def steps(m: float) -> float:
        return float(np.mean([_two_weights(m, natural=natural, seed=s).steps_to(goal, 0.28) for s in range(8)]))

    domain = "means over 8 runs, rate 1 / E|x|^2, until a tenth of the distance is left; measured is 10 N(0) / N(4)"
    return at_most(10 * steps(0.0) / steps(mean), 1.0, domain=domain)


@LEDGER.claim(
    "question-centring",
    statement="A mean m on all of n inputs of variance 1 raises the condition number of E[x x^T] from 1 to 1 + n m^2.",
    source=f"{_QUESTION}, what centring has to do with it",
    page=_ZIG_ZAG,
    status="holds, and sharpened",
    mutants={"1 + m^2": {"power": 0.0}, "1 + n^2 m^2": {"power": 2.0}},
)
def centring(power: float = 1.0) -> Evidence:
    cases = [(n, m) for n in (2, 4, 8) for m in (0.0, 0.5, 1.0, 3.0)]
    ratios = []
    for n, m in cases:
        corners = m + 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        eigenvalues = np.linalg.eigvalsh(corners.T @ corners / len(corners))
        ratios.append(eigenvalues[-1] / eigenvalues[0] / (1 + n**power * m * m))
    domain = "inputs m +- 1, every corner of the cube once; n = 2, 4, 8 and m = 0, 0.5, 1, 3; measured is |ratio - 1|"
    return equal(ratios, 1.0, 1e-11, domain=domain, at=lambda i: f"n, m = {cases[i[0]]}")


@LEDGER.claim(
    "question-fisher",
    statement="The natural gradient of a linear neuron with bias does not notice a shift of its inputs.",
    source=f"{_QUESTION}, the remark on the Fisher matrix",
    page=_ZIG_ZAG,
    mutants={"plain gradient": {"natural": False}, "no bias": {"bias": False}},
)
def fisher(natural: bool = True, bias: bool = True) -> Evidence:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 5)), rng.standard_normal(200)

    def predictions(shift: float) -> np.ndarray:
        inputs = np.hstack([x + shift, np.ones((200, 1))]) if bias else x + shift
        matrix = inputs.T @ inputs / len(x) if natural else np.eye(inputs.shape[1])
        w, path = np.zeros(inputs.shape[1]), []
        for _ in range(20):
            w = w - 0.1 * np.linalg.solve(matrix, inputs.T @ (inputs @ w - y) / len(x))
            path.append(inputs @ w)
        return np.array(path)

    domain = "5 inputs, 200 examples, 20 steps; predictions with inputs shifted by 3 against none"
    return equal(predictions(3.0), predictions(0.0), 1e-10, domain=domain, at=lambda i: f"step {i[0] + 1}")


def _losses(phi: Activation, x: np.ndarray, labels: np.ndarray, rate: float, steps: int = 300) -> np.ndarray:
    """Loss on all images every 10 steps of SGD with batches of 64."""
    order = np.random.default_rng(1).integers(len(x), size=(steps, 64))
    run = enumerate(toy.train(_small_network(), phi, x, labels, rate=rate, order=order))
    return np.array([toy.backprop(layers, phi, x, labels).loss.mean() for step, layers in run if step % 10 == 9])


@LEDGER.claim(
    "question-tanh-faster",
    statement="tanh, a scaled and centred sigmoid, reaches loss 0.3 on digits in half the sigmoid's steps, best rates.",
    source=f"{_QUESTION}, a comment's observation",
    page=_ZIG_ZAG,
    mutants={"both sigmoid": {"fast": _SIGMOID}, "a tenth of the steps": {"factor": 0.1}},
)
def tanh_faster(fast: Activation = _TANH, factor: float = 0.5) -> Evidence:
    x, labels = _digits(1437)

    def steps(phi: Activation) -> float:
        runs = [_losses(phi, x, labels, rate) for rate in (0.3, 1.0, 3.0)]
        return 10.0 * (1 + min(int(np.argmax(loss < 0.3)) if (loss < 0.3).any() else 10**6 for loss in runs))

    domain = "64-64-64-10 network, raw pixels, plain SGD, the best of rates 0.3, 1, 3"
    return at_most(steps(fast), factor * steps(_SIGMOID), domain=domain)


@LEDGER.claim(
    "article-centred-data",
    statement="Centred inputs make training smoother: loss rises less than half as often from step to step.",
    source=f"{_ARTICLE}, the first of its three conditions",
    page=_ZIG_ZAG,
    mutants={"inputs left as they are": {"centre": False}},
)
def centred_data(centre: bool = True) -> Evidence:
    x, labels = _digits(1437)

    def rises(inputs: np.ndarray) -> float:
        return float(np.mean(np.diff(_losses(_RELU, inputs, labels, rate=0.3)) > 0))

    domain = "ReLU, 64-64-64-10, rate 0.3, loss on all images every 10 steps; shares of rises"
    return at_most(rises(x - x.mean(axis=0) if centre else x), 0.5 * rises(x), domain=domain)


@LEDGER.claim(
    "article-normal-distribution",
    statement="Turning the inputs makes pixels nearly normal and changes nothing, if the first weights turn with them.",
    source=f"{_ARTICLE}, the second of its three conditions (the text: without normality the network overfits)",
    page=_ZIG_ZAG,
    status="not reproduced",
    mutants={"scaling each pixel instead of turning": {"turn": False}},
)
def normal_distribution(turn: bool = True) -> Evidence:
    x, labels = _digits(256)
    rng = np.random.default_rng(2)
    matrix = np.linalg.qr(rng.standard_normal((64, 64)))[0] if turn else np.diag(rng.uniform(0.5, 2, 64))
    order = rng.integers(256, size=(60, 64))
    layers = _small_network()
    turned = [(layers[0][0] @ np.linalg.inv(matrix), layers[0][1]), *layers[1:]]
    *_, plain = toy.train(layers, _TANH, x, labels, rate=0.3, order=order)
    *_, other = toy.train(turned, _TANH, x @ matrix.T, labels, rate=0.3, order=order)
    logits = [
        toy.backprop(ls, _TANH, inputs, labels).preactivations[-1] for ls, inputs in ((plain, x), (other, x @ matrix.T))
    ]
    return equal(logits[1], logits[0], 1e-9, domain="logits of 256 digits after 60 SGD steps, random rotation")


# --- I.3 ReLU's trade ---

_TRADE = "I_3_relu_trade"


def _noise_passed(phi: Activation, mean: float) -> float:
    """Var phi(mean + Z), the share of a noise variance of 1 that gets through."""
    kinks = tuple(d - mean for d in phi.kinks)
    first = gaussian.expectation(lambda z: phi.function(mean + z), 1.0, kinks=kinks)
    second = gaussian.expectation(lambda z: phi.function(mean + z) ** 2, 1.0, kinks=kinks)
    return float(second - first**2)


@LEDGER.claim(
    "article-noise-one-neuron",
    statement="A ReLU whose mean preactivation is 2 noise deviations below zero passes under 1% of the noise.",
    source=f"{_ARTICLE}, robustness to noise (condition: absence pushes the preactivation well below zero)",
    page=_TRADE,
    status="holds under a condition",
    mutants={"mean 0": {"mean": 0.0}, "leaky slope 0.2": {"phi": _LEAKY}},
)
def noise_one_neuron(phi: Activation = _RELU, mean: float = -2.0) -> Evidence:
    return at_most(_noise_passed(phi, mean), 0.01, domain="normal noise of variance 1, by quadrature")


@LEDGER.claim(
    "article-noise-network",
    statement="On noisy digits a ReLU network beats one of leaky slope 0.2, which cannot saturate, by under one point.",
    source=f"{_ARTICLE}, robustness to noise (the text: one-sided saturation makes it robust)",
    page=_TRADE,
    status="not reproduced",
    mutants={"noise for the leaky network only": {"noise": (0.0, 1.0)}},
)
def noise_network(noise: tuple[float, float] = (1.0, 1.0)) -> Evidence:
    from afli import data

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
    return at_most(relu - leaky, 0.01, strict=True, domain=domain)


@LEDGER.claim(
    "article-correlated-units",
    statement="ReLU shrinks every negative correlation of two units, to no less than -1 / (pi - 1).",
    source=f"{_ARTICLE}, robustness to noise",
    page=_TRADE,
    status="holds, and sharpened",
    mutants={"tanh": {"phi": _TANH}, "-0.9 / (pi - 1)": {"factor": 0.9}},
)
def correlated_units(phi: Activation = _RELU, factor: float = 1.0) -> Evidence:
    rho = np.linspace(-1, -0.01, 100)
    mean = gaussian.expectation(phi.function, 1.0, kinks=phi.kinks)
    f, kinks = phi.function, phi.kinks
    product = gaussian.expectation2(f, f, np.append(rho, 1.0), q1=1.0, q2=1.0, kinks_f=kinks, kinks_g=kinks) - mean**2
    shrunk = product[:-1] / product[-1]
    domain = "standard normal preactivations, 100 correlations in [-1, -0.01], by quadrature"
    at_most(-shrunk, -rho, strict=phi.family == "relu", domain=domain)
    return at_most(-shrunk, factor / (np.pi - 1) + 1e-12, domain=domain, at=lambda i: f"rho = {rho[i[0]]:g}")


@LEDGER.claim(
    "article-sparsity",
    statement="In a random ReLU network without biases half of the outputs of every layer are zero.",
    source=f"{_ARTICLE}, sparsity",
    page=_TRADE,
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


@LEDGER.claim(
    "article-no-exponentials",
    statement="ReLU and leaky ReLU need no exponential, forward or back; sigmoid, tanh and elu need at least one each.",
    source=f"{_ARTICLE}, sparsity and how to choose",
    page=_TRADE,
    mutants={"elu among the cheap ones": {"cheap": (_RELU, act.elu())}},
)
def no_exponentials(cheap: tuple[Activation, ...] = (_RELU, _SLIGHTLY_LEAKY)) -> Evidence:
    domain = "evaluations counted on 1000 numbers, phi and phi' together"
    dear = [_evaluations(phi) for phi in (_SIGMOID, _TANH, act.elu())]
    at_most(1.0, dear, domain=domain)
    return at_most([_evaluations(phi) for phi in cheap], 0.0, domain=domain, at=lambda i: cheap[i[0]].name)


@LEDGER.claim(
    "article-dying-relu",
    statement="A unit of the first layer that is off for every training input never changes again.",
    source=f"{_ARTICLE}, the dying ReLU problem (condition: what feeds the unit does not change)",
    page=_TRADE,
    status="holds under a condition",
    mutants={"leaky slope 0.01": {"phi": _SLIGHTLY_LEAKY}, "a unit of the second layer": {"layer": 1}},
)
def dying_relu(phi: Activation = _RELU, layer: int = 0) -> Evidence:
    x, labels = _digits(512)
    layers = _small_network()
    w, b = layers[layer]
    highest = toy.backprop(layers, phi, x, labels).preactivations[layer].max(axis=0)
    killed = np.arange(len(b)) < 32
    layers[layer] = (w, np.where(killed, b - highest - 0.01, b))
    order = np.random.default_rng(1).integers(512, size=(200, 64))
    *_, after = toy.train(layers, phi, x, labels, rate=0.3, order=order)
    change = np.abs(after[layer][0] - w)[killed].max()
    domain = "32 of 64 units pushed just below zero on all 512 digits, 200 steps; measured is the largest weight change"
    return equal(change, 0.0, 0.0, domain=domain)


# --- I.4 The rectifier family ---

_FAMILY = "I_4_rectifier_family"


@LEDGER.claim(
    "article-leaky-gradient",
    statement="Below zero the slope of leaky ReLU is alpha; the printed alpha e^x is the slope of elu.",
    source=f"{_ARTICLE}, leaky ReLUs",
    page=_FAMILY,
    status="corrected",
    mutants={"alpha e^x for leaky ReLU": {"exponential": True}},
)
def leaky_gradient(exponential: bool = False) -> Evidence:
    z, step = np.linspace(-5, -0.1, 50), 1e-6
    slopes = [(phi(z + step) - phi(z - step)) / (2 * step) for phi in (act.leaky_relu(0.3), act.elu(0.3))]
    expected = [0.3 * np.exp(z) if exponential else np.full_like(z, 0.3), 0.3 * np.exp(z)]
    return equal(slopes, expected, 1e-9, domain="difference quotients at 50 points of [-5, -0.1], alpha = 0.3")


@LEDGER.claim(
    "article-leaky-directions",
    statement="Above a leaky ReLU layer hardly any neuron's gradient has one sign, even for a single example.",
    source=f"{_ARTICLE}, leaky ReLUs",
    page=_FAMILY,
    mutants={"ReLU": {"phi": _RELU}},
)
def leaky_directions(phi: Activation = _SLIGHTLY_LEAKY) -> Evidence:
    return at_most(
        _one_sign(phi, batch=1), 0.01, domain="second layer of a random network, 512 single digits, slope 0.01"
    )


@LEDGER.claim(
    "article-leaky-centred",
    statement="A slope of 0.01 lowers the mean output of ReLU by one hundredth: it is not zero-centred.",
    source=f"{_ARTICLE}, leaky ReLUs (the text: it contributes to zero-centred activations)",
    page=_FAMILY,
    status="corrected",
    mutants={"a mean of zero": {"share": 0.0}, "slope 0.5": {"slope": 0.5}},
)
def leaky_centred(slope: float = 0.01, share: float = 0.99) -> Evidence:
    leaky = act.leaky_relu(slope)
    means = [gaussian.expectation(phi.function, q, kinks=(0.0,)) for q in (0.25, 1.0, 4.0) for phi in (leaky, _RELU)]
    domain = "normal preactivations of variance 0.25, 1 and 4, by quadrature; ratio of the means"
    return equal(np.divide(means[::2], means[1::2]), share, 1e-12, domain=domain)


@LEDGER.claim(
    "article-leaky-slope",
    statement="With slope s a layer moves correlations (1 - s)^2 / (1 + s^2) times as far as ReLU: 1/5.5 beats 0.01.",
    source=f"{_ARTICLE}, leaky ReLUs (it reports the better slope as an empirical finding)",
    page=_FAMILY,
    status="holds, and sharpened",
    mutants={"(1 - s)^2": {"power": 0.0}, "the factor exchanged between the slopes": {"exchange": True}},
)
def leaky_slope(power: float = 1.0, exchange: bool = False) -> Evidence:
    rho = np.linspace(-1, 1, 101)
    slopes = np.array([0.01, 1 / 5.5])
    gap = [mf.edge_of_chaos(act.leaky_relu(s), sigma_b2=0.0).correlation_gap(rho) for s in slopes]
    factor = (1 - slopes) ** 2 / (1 + slopes**2) ** power
    factor = factor[::-1] if exchange else factor
    relu = mf.edge_of_chaos(_RELU, sigma_b2=0.0).correlation_gap(rho)
    at_most(factor[1], factor[0], strict=True, domain="slopes 0.01 and 1/5.5")
    return equal(gap, factor[:, None] * relu, 1e-12, domain="slopes 0.01 and 1/5.5, 101 correlations in [-1, 1]")


@LEDGER.claim(
    "article-randomised-slope",
    statement="A slope uniform on (0, 1) has mean 1/2 and deviation 0.289, not 0 and 1; torch draws from [1/8, 1/3].",
    source=f"{_ARTICLE}, randomised leaky ReLU",
    page=_FAMILY,
    status="corrected",
    mutants={"mean 0 and deviation 1, as printed": {"mean": 0.0, "deviation": 1.0}},
)
def randomised_slope(mean: float = 0.5, deviation: float = 12**-0.5) -> Evidence:
    import torch

    count = 100_000
    torch_state = torch.get_rng_state()
    torch.manual_seed(0)
    drawn = -torch.nn.RReLU(0.0, 1.0)(torch.full((count,), -1.0, dtype=torch.float64)).numpy()
    usual = -torch.nn.RReLU()(torch.full((count,), -1.0, dtype=torch.float64)).numpy()
    torch.set_rng_state(torch_state)
    domain = f"{count} slopes drawn by torch's own module; four standard errors allowed"
    at_most([1 / 8 - usual.min(), usual.max() - 1 / 3], 1e-7, domain=domain)
    return equal([drawn.mean(), drawn.std()], [mean, deviation], 4 * deviation / np.sqrt(count), domain=domain)


def _trained(makers: Any, *, images: int, epochs: int, rate: float, seeds: int, depth: int = 3) -> np.ndarray:
    """Steps to loss 0.1 and test accuracy of torch networks, means over seeds: (makers, 2).

    makers: pairs of a function that makes the activation and the gain of its weights.
    """
    import dataclasses

    import torch

    from afli import data
    from afli.networks import lessons

    digits = data.normalised(data.load("digits"))
    state = torch.get_rng_state()
    rows = []
    for make, gain in makers:
        results = []
        for seed in range(seeds):
            torch.manual_seed(seed)  # the randomised slopes of RReLU come from torch's own generator
            chosen = np.random.default_rng(seed).permutation(len(digits.x_train))[:images]
            few = dataclasses.replace(digits, x_train=digits.x_train[chosen], y_train=digits.y_train[chosen])
            model = lessons.stack([64] * (depth + 1) + [10], make, gain=gain, seed=seed)
            run = lessons.fit(model, few, learning_rate=rate, epochs=epochs, batch=50, seed=seed)
            results.append((run.steps_to(0.1), run.test_accuracy[-1]))
        rows.append(np.mean(results, axis=0))
    torch.set_rng_state(state)
    return np.array(rows)


def _few(make: Any, images: int) -> float:
    """Test accuracy after 40 epochs on that many training images, mean over 4 seeds."""
    return float(_trained([(make, 1.4)], images=images, epochs=40, rate=0.1, seeds=4)[0, 1])


@LEDGER.claim(
    "article-randomised-noise",
    statement="Random slopes do not speed training up: leaky ReLU of the same mean slope is at most 10% slower.",
    source=f"{_ARTICLE}, randomised leaky ReLU (the text: its noise steers clear of minima and saddle points)",
    page=_FAMILY,
    status="not reproduced",
    mutants={"slope 0 in place of the mean slope": {"slope": 0.0}},
)
def randomised_noise(slope: float = 11 / 48) -> Evidence:
    from torch import nn

    makers = ((lambda: nn.LeakyReLU(slope), 1.38), (nn.RReLU, 1.38))
    steps = _trained(makers, images=1437, epochs=5, rate=0.1, seeds=3, depth=8)[:, 0]
    domain = "eight layers of 64 on digits, rate 0.1, 3 seeds; steps to loss 0.1, leaky over randomised"
    return at_most(steps[0] / steps[1], 1.1, domain=domain)


@LEDGER.claim(
    "article-randomised-overfitting",
    statement="On 100 training images RReLU gains under one point over leaky ReLU of the same mean slope.",
    source=f"{_ARTICLE}, how to choose (the text: useful against overfitting)",
    page=_FAMILY,
    status="not reproduced",
    mutants={"RReLU gets 400 images, leaky 100": {"images": 400}},
)
def randomised_overfitting(images: int = 100) -> Evidence:
    from torch import nn

    leaky = _few(lambda: nn.LeakyReLU(11 / 48), 100)
    randomised = _few(nn.RReLU, images)
    return at_most(randomised - leaky, 0.01, domain="64-64-64-64-10 on digits, 40 epochs, 4 seeds; test accuracies")


@LEDGER.claim(
    "article-prelu-data",
    statement="On 100 training images learned slopes cost under two points against fixed ones.",
    source=f"{_ARTICLE}, how to choose (the text: only with a lot of training data)",
    page=_FAMILY,
    status="not reproduced",
    mutants={"the fixed slopes get 400 images": {"images": 400}},
)
def prelu_data(images: int = 100) -> Evidence:
    from torch import nn

    fixed = _few(lambda: nn.LeakyReLU(0.25), images)
    learned = _few(lambda: nn.PReLU(64), 100)
    domain = "64-64-64-64-10 on digits, 40 epochs, 4 seeds; one slope per unit, starting at the fixed slope 0.25"
    return at_most(fixed - learned, 0.02, domain=domain)


@LEDGER.claim(
    "article-prelu-parameters",
    statement="Even with a slope per unit, PReLU adds under 2% to the parameters of a layer of width 64.",
    source=f"{_ARTICLE}, how to choose (the text: a whole bunch of parameters)",
    page=_FAMILY,
    status="corrected",
    mutants={"width 8": {"width": 8}},
)
def prelu_parameters(width: int = 64) -> Evidence:
    from torch import nn

    slopes, layer = (sum(p.numel() for p in m.parameters()) for m in (nn.PReLU(width), nn.Linear(width, width)))
    return at_most(slopes / layer, 0.02, domain="parameters of torch's own modules")


@LEDGER.claim(
    "article-elu-saturation",
    statement="elu tends to -alpha on the left, within e^z alpha of it.",
    source=f"{_ARTICLE}, exponential linear units",
    page=_FAMILY,
    status="holds, and sharpened",
    mutants={"+alpha": {"sign": 1.0}, "within e^(1.1 z) alpha": {"rate": 1.1}},
)
def elu_saturation(sign: float = -1.0, rate: float = 1.0) -> Evidence:
    z, alphas = np.linspace(-30, 0, 301), (0.5, 1.0, 2.0)
    distance = [np.abs(act.elu(alpha)(z) - sign * alpha) / alpha for alpha in alphas]
    # Both sides are rounded to 16 digits.
    return at_most(distance, np.exp(rate * z) + 4e-16, domain="301 points of [-30, 0]; alpha = 0.5, 1, 2")


@LEDGER.claim(
    "article-elu-centred",
    statement="elu's mean output is positive at every variance, and below ReLU's: nearer zero, not zero.",
    source=f"{_ARTICLE}, exponential linear units (the text: zero-centred)",
    page=_FAMILY,
    status="corrected",
    mutants={"selu": {"phi": act.selu()}, "half of ReLU's": {"factor": 0.5}},
)
def elu_centred(phi: Activation = _ELU, factor: float = 1.0) -> Evidence:
    q = np.logspace(-3, 2, 26)
    mean = np.array([gaussian.expectation(phi.function, v, kinks=(0.0,)) for v in q])
    relu = np.sqrt(q / (2 * np.pi))
    domain = "26 variances from 0.001 to 100, by quadrature"
    at_most(-mean, 0.0, strict=True, domain=domain, at=lambda i: f"q = {q[i[0]]:.3g}")
    return at_most(mean / relu, factor, strict=True, domain=domain, at=lambda i: f"q = {q[i[0]]:.3g}")


@LEDGER.claim(
    "article-one-sided-convergence",
    statement="elu needs fewer steps than the same function with an open left side, asinh z, with critical weights.",
    source=f"{_ARTICLE}, exponential linear units (condition: equal rates)",
    page=_FAMILY,
    status="holds under a condition",
    mutants={"the two exchanged": {"exchange": True}},
)
def one_sided_convergence(exchange: bool = False) -> Evidence:
    import torch
    from torch import nn

    class OpenLeft(nn.Module):
        def forward(self, z: Any) -> Any:
            return torch.where(z > 0, z, torch.asinh(z))

    def critical_gain(slope: Any) -> float:
        """The gain with chi_1 = 1 at q = 1."""
        return float(gaussian.expectation(lambda z: np.where(z > 0, 1.0, slope(z)) ** 2, 1.0, kinks=(0.0,)) ** -0.5)

    elu = critical_gain(lambda z: np.exp(np.minimum(z, 0)))
    open_left = critical_gain(lambda z: (1 + z * z) ** -0.5)
    makers = ((nn.ELU, elu), (OpenLeft, open_left))
    steps = _trained(makers, images=1437, epochs=5, rate=0.1, seeds=3, depth=8)[:, 0]
    domain = "eight layers of 64 on digits, rate 0.1, 3 seeds; ratio of steps to loss 0.1"
    return at_most(steps[1] / steps[0] if exchange else steps[0] / steps[1], 1.0, strict=True, domain=domain)


# --- I.5 How to choose ---

_CHOOSE = "I_5_how_to_choose"


def _best_accuracy(depth: int) -> dict[str, float]:
    """Test accuracy of each activation at its best learning rate, from the table that `afli run choose` wrote."""
    from pathlib import Path

    import pandas as pd

    from afli.experiments.table import summary

    table = pd.read_parquet(Path(__file__).parents[2] / "results" / "choose-laptop-digits.parquet")
    cells = summary(table[table["depth"] == depth])
    return cells.groupby("phi")["mean"].max().to_dict()


_TABLE = "results/choose-laptop-digits: width 64, 10 epochs of SGD, 3 trials, the best of 5 rates"


@LEDGER.claim(
    "article-relu-first",
    statement="ReLU first is advice for shallow networks: at 50 layers it gets under half of the digits right.",
    source=f"{_ARTICLE}, how to choose (condition: the depth)",
    page=_CHOOSE,
    status="holds under a condition",
    mutants={"20 layers": {"depth": 20}},
)
def relu_first(depth: int = 50) -> Evidence:
    return at_most(_best_accuracy(depth)["relu"], 0.5, domain=_TABLE)


@LEDGER.claim(
    "article-elu-next",
    statement="At 50 layers elu gets over half of the images right that ReLU misses; leaky ReLU does not.",
    source=f"{_ARTICLE}, how to choose (the text: leaky ReLU or elu next)",
    page=_CHOOSE,
    status="holds under a condition",
    mutants={"leaky slope 0.2 in place of elu": {"phi": "leaky_relu(slope=0.2)"}},
)
def elu_next(phi: str = "elu(alpha=1)") -> Evidence:
    accuracy = _best_accuracy(50)
    at_most(1 - accuracy[phi], 0.5 * (1 - accuracy["relu"]), domain=_TABLE)
    return at_most(accuracy["leaky_relu(slope=0.2)"], 0.5 * (1 + accuracy["relu"]), domain=_TABLE)


@LEDGER.claim(
    "article-centred-better",
    statement="At 50 layers the best four are those with the four smallest R(0): over 0.9, and the others under 0.5.",
    source=f"{_ARTICLE}, how to choose (the text: zero-centred activations are much better)",
    page=_CHOOSE,
    status="holds, and sharpened",
    mutants={"10 layers": {"depth": 10}, "five in place of four": {"count": 5}},
)
def centred_better(depth: int = 50, count: int = 4) -> Evidence:
    homogeneous = {"relu": _RELU, "leaky_relu(slope=0.2)": _LEAKY}
    others = {phi.name: phi for phi in (_ELU, act.selu(), act.gelu(), act.silu(), _TANH, act.shtanh(a=5.0))}
    gap = {name: mf.edge_of_chaos(phi, sigma_b2=0.0).correlation_map(0.0) for name, phi in homogeneous.items()}
    gap |= {name: mf.edge_of_chaos(phi, sigma_b2=0.1).correlation_map(0.0) for name, phi in others.items()}
    accuracy = _best_accuracy(depth)
    order = sorted(gap, key=gap.__getitem__)
    at_most([accuracy[name] for name in order[count:]], 0.5, domain=_TABLE, at=lambda i: order[count:][i[0]])
    return at_most([1 - accuracy[name] for name in order[:count]], 0.1, domain=_TABLE, at=lambda i: order[i[0]])


def _shifted(phi: Activation, constant: float, tilt: float) -> Activation:
    """phi(z) + constant + tilt z."""
    return act.from_callable(
        lambda z: phi.function(z) + constant + tilt * z, lambda z: phi.gradient(z) + tilt, kinks=phi.kinks
    )


@LEDGER.claim(
    "article-mean-is-bias",
    statement="At equal q, subtracting an activation's mean leaves its critical correlation map as it was.",
    source="this companion (the article: activations that can be centred are much better)",
    page=_CHOOSE,
    status="corrected",
    mutants={"a tilt of 0.2 z added": {"tilt": 0.2}},
)
def mean_is_bias(tilt: float = 0.0) -> Evidence:
    rho, differences = np.linspace(-1, 1, 41), []
    cases = ((_RELU, 1.0), (_ELU, 4.0), (act.gelu(), 4.0))
    for phi, q in cases:
        mean = gaussian.expectation(phi.function, q, kinks=phi.kinks)
        shifted = _shifted(phi, -mean, tilt)
        # This map comes from expectations in two dimensions, which know nothing of slopes.
        net = mf.critical_at(shifted, q=q)
        options = {"sigma_w2": net.sigma_w2, "sigma_b2": net.sigma_b2}
        product = mf.covariance_map(shifted, rho, q1=q, q2=q, **options)
        differences.append(product / q - mf.critical_at(phi, q=q).correlation_map(rho))
    domain = "ReLU at q = 1, elu and gelu at q = 4; 41 correlations in [-1, 1]"
    return equal(differences, 0.0, 1e-11, domain=domain, at=lambda i: cases[i[0]][0].name)


@LEDGER.claim(
    "article-one-parameter",
    statement="Leaky ReLU and elu each add one parameter to be chosen.",
    source=f"{_ARTICLE}, how to choose",
    page=_CHOOSE,
    mutants={"selu among them": {"activations": (_LEAKY, act.selu())}},
)
def one_parameter(activations: tuple[Activation, ...] = (_LEAKY, _ELU)) -> Evidence:
    return equal([len(phi.params) for phi in activations], 1.0, 0.0, domain=", ".join(phi.name for phi in activations))


@LEDGER.claim(
    "article-batch-norm",
    statement="Batch norm keeps images apart through 50 ReLU layers; the gradient grows over 10% a layer downwards.",
    source=f"{_ARTICLE}, conclusion (condition: the network is not deep)",
    page=_CHOOSE,
    status="holds under a condition",
    mutants={"no normalisation": {"normalise": False}},
)
def batch_norm(normalise: bool = True) -> Evidence:
    import torch
    from torch import nn

    from afli import data
    from afli.networks import lessons, probe

    digits = data.normalised(data.load("digits"))
    x, y = torch.from_numpy(digits.x_train[:256]), torch.from_numpy(digits.y_train[:256])
    norm = nn.BatchNorm1d if normalise else None
    model = lessons.stack([64] * 51 + [10], nn.ReLU, gain=2**0.5, seed=0, normalise=norm)
    last = probe.preactivations(model, x)[-2].detach()
    unit = nn.functional.normalize(last, dim=1)
    rho = float((unit @ unit.T)[~torch.eye(256, dtype=torch.bool)].mean())
    nn.functional.cross_entropy(model(x), y).backward()
    linear = [m.weight.grad for m in model.modules() if isinstance(m, nn.Linear)]
    sizes = [float(gradient.norm()) for gradient in linear if gradient is not None]
    domain = "one random network, 256 digits; correlations in layer 50, gradients of weights from layer 50 to layer 2"
    at_most(rho, 0.5, domain=domain)
    return at_most(1.1, (sizes[1] / sizes[49]) ** (1 / 48), domain=domain)


@LEDGER.claim(
    "article-constant-distributions",
    statement="With batch norm a sigmoid network on raw digits needs under half of the steps to loss 0.3.",
    source=f"{_ARTICLE}, the third of its three conditions (the cause may be the centring alone)",
    page=_CHOOSE,
    status="holds under a condition",
    mutants={"no normalisation": {"normalise": False}},
)
def constant_distributions(normalise: bool = True) -> Evidence:
    from torch import nn

    from afli import data
    from afli.networks import lessons

    digits = data.load("digits")

    def steps(norm: Any) -> float:
        model = lessons.stack([64, 64, 64, 10], nn.Sigmoid, gain=1.4, seed=1, normalise=norm)
        return lessons.fit(model, digits, learning_rate=3.0, epochs=14).steps_to(0.3)

    ratio = steps(nn.BatchNorm1d if normalise else None) / steps(None)
    return at_most(ratio, 0.5, domain="64-64-64-10, rate 3 (the best of 0.3, 1, 3, 10 without batch norm), one seed")

"""Part I.1, vanishing gradients: what the article on choosing activations says of them.

Ids of Part I are `article-...` and `question-...`. Statements are in our words; where a text is loose, the statement is
the corrected one, and its status says so. Networks are sampled with numpy; the few checks that need torch import it.
"""

from __future__ import annotations

import numpy as np

from afli import activations as act
from afli import toy
from afli.activations import Activation
from afli.claims.comparisons import Evidence, at_most, below, equal, rising
from afli.claims.ledger import on
from afli.claims.vocabulary import point

claim = on("I_1_vanishing_gradients", "the article on choosing activations")
_SIGMOID = act.sigmoid()
_TANH = act.tanh()
_RELU = act.relu()


@claim(
    "article-random-product",
    "A product of fifty uniform random numbers passes $10^{-18}$ in 10.8% of tries.",
    claimed="A product of fifty uniform random numbers never passes $10^{-18}$.",
    found="Sampled and exact share differ by {measured}; four standard errors are {bound}.",
    at="vanishing gradients",
    status="corrected",
    mutants={"10^18, the sign lost": {"exponent": 18.0}, "forty factors": {"factors": 40}, "11.0%": {"share": 0.11}},
)
def random_product(exponent: float = -18.0, factors: int = 50, share: float = 0.108) -> Evidence:
    count = 40_000
    above = np.mean(toy.log10_products(factors, count, rng=np.random.default_rng(0)) > exponent)
    error = 4 * np.sqrt(share * (1 - share) / count)
    sampled = equal(above, share, error, domain=f"{count} products, four standard errors allowed")
    exact = float(toy.product_above(min(exponent, 0.0), factors))
    return equal(exact, share, 5e-4, domain=sampled.domain, oracle="sampling, and the Gamma distribution exactly")


@claim(
    "article-sigmoid-slope",
    "The slope of the sigmoid is positive and at most $1/4$.",
    claimed="The slope of the sigmoid lies between 0 and 1.",
    found="The largest difference quotient is {measured}.",
    at="vanishing gradients",
    status="corrected",
    mutants={
        "0.24 in place of 1/4": {"bound": 0.24},
        "tanh in place of the sigmoid": {"phi": _TANH},
        "gelu": {"phi": act.gelu()},
    },
)
def sigmoid_slope(bound: float = 0.25, phi: Activation = _SIGMOID) -> Evidence:
    z, step = np.linspace(-30, 30, 60_001), 1e-5
    difference = (phi(z + step) - phi(z - step)) / (2 * step)
    domain = "difference quotients (phi(z + h) - phi(z - h)) / 2h with h = 1e-5 at 60,001 points of [-30, 30]"
    below(-phi.derivative(z), 0.0, domain=domain)
    # A difference quotient is a mean of slopes, so rounding (1e-11) is all that may take it above the bound.
    return at_most(difference, bound + 1e-11, domain=domain, at=point(z=z))


@claim(
    "article-one-path",
    "Fifty sigmoid neurons in a row, positive weights of any size, input 1: the gradient is below $10^{-27}$.",
    found="The largest gradient of all chains is {measured:power}.",
    at="vanishing gradients (it argues with one path)",
    status="holds, and sharpened",
    mutants={"tanh in place of the sigmoid": {"phi": _TANH}, "below 10^-30": {"exponent": -30.0}},
)
def one_path(phi: Activation = _SIGMOID, exponent: float = -27.0) -> Evidence:
    # With w = h / z the factors w phi'(h) telescope to z_50 / z_0 times h (1 - sigma(h)) a neuron, at most 0.2785.
    scales = np.logspace(-1, 2, 41)
    spread = np.repeat([0.1, 0.3, 0.6, 1.2], 500)[:, None]
    mixed = np.exp(spread * np.random.default_rng(0).standard_normal((2000, 50)))
    weights = np.concatenate([scales[:, None] * np.ones(50), mixed])
    domain = "log10; equal weights from 0.1 to 100, and 2000 chains of log-normal weights of four spreads"
    return below(toy.log10_chain_gradients(phi, weights), exponent, domain=domain)


def error_sizes(
    phi: Activation,
    *,
    sigma_w2: float,
    sigma_b2: float = 0.1,
    images: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
) -> np.ndarray:
    """log10 of the size of delta per layer, relative to the last, in a sampled network with a linear head.

    Fifty layers of 300 units; inputs and labels are random if no images are given, the loss is cross-entropy.
    """
    rng = np.random.default_rng(seed)
    features = images[0].shape[1] if images else 300
    layers = toy.random_layers([features] + [300] * 50, sigma_w2=sigma_w2, sigma_b2=sigma_b2, rng=rng)
    head = toy.random_layers([300, 10], sigma_w2=1.0, rng=rng)
    x, labels = images or (rng.standard_normal((16, 300)), rng.integers(10, size=16))
    run = toy.backprop([*layers, *head], phi, x, labels)
    sizes = np.array([np.linalg.norm(delta) for delta in run.errors[:-1]])
    return np.log10(sizes / sizes[-1])


_SAMPLED = "one sampled Gaussian network, 50 layers of 300 units and a head for 10 classes, 16 Gaussian inputs"


@claim(
    "article-vanishing-gradient",
    "With weight variance 1 the first of 50 sigmoid layers gets less than $10^{-25}$ of the last one's gradient.",
    claimed="The gradient vanishes in the first layers of a deep sigmoid network.",
    found="In a sampled network the ratio is {measured:power}.",
    at="vanishing gradients (condition: the weight variance)",
    status="holds under a condition",
    mutants={
        "on the edge of chaos, sigma_w2 = 103.2": {"sigma_w2": 103.2},
        "Shtanh, a = 3": {"phi": act.shtanh(a=3.0)},
    },
)
def vanishing_gradient(sigma_w2: float = 1.0, phi: Activation = _SIGMOID) -> Evidence:
    sizes = error_sizes(phi, sigma_w2=sigma_w2)
    return at_most(sizes[0], -25.0, domain=f"log10 of the ratio; {_SAMPLED}")


@claim(
    "article-early-layers",
    "In a sigmoid network of weight variance 1 every layer gets a smaller gradient than the layer above it.",
    claimed="The earlier the layer, the smaller its gradient.",
    found="In a sampled network each layer gets at most {measured:power} of the gradient above it.",
    at="vanishing gradients (condition: the weight variance)",
    status="holds under a condition",
    mutants={"sigma_w2 = 200": {"sigma_w2": 200.0}},
)
def early_layers(sigma_w2: float = 1.0) -> Evidence:
    sizes = error_sizes(_SIGMOID, sigma_w2=sigma_w2)
    return rising(sizes, domain=f"log10 steps from layer to layer; {_SAMPLED}", at=lambda i: f"layer {i[0] + 1}")


@claim(
    "article-relu-product",
    r"Over 50 layers ReLU's gradient keeps its size within a factor 3 if $\sigma_w^2 = 2$.",
    claimed="With ReLU the gradient does not vanish.",
    found="In a sampled network the ratio is off 1 by a factor of {measured:power}.",
    at="ReLU to the rescue (condition: the weight variance)",
    status="holds under a condition",
    mutants={"sigma_w2 = 1": {"sigma_w2": 1.0}, "sigma_w2 = 3": {"sigma_w2": 3.0}},
)
def relu_product(sigma_w2: float = 2.0) -> Evidence:
    sizes = error_sizes(_RELU, sigma_w2=sigma_w2, sigma_b2=0.0)
    return at_most(
        np.abs(sizes), np.log10(3), domain=f"|log10| of the ratio; {_SAMPLED}", at=lambda i: f"layer {i[0] + 1}"
    )


@claim(
    "article-saturation",
    "Far from zero the sigmoid's slope is nearly zero: below $e^{-|h|}$ for every $h$.",
    found="On the grid the slope stays below that bound, and nears it far out.",
    at="saturated neurons",
    status="holds, and sharpened",
    mutants={"e^(-1.1 |h|)": {"exponent": 1.1}},
)
def saturation(exponent: float = 1.0) -> Evidence:
    h = np.linspace(-30, 30, 6_001)
    # A complex step differentiates without subtracting, so the ratio keeps all its digits.
    slope = np.imag(1 / (1 + np.exp(-(h + 1e-20j)))) / 1e-20
    domain = "6,001 points of [-30, 30], differentiated by a complex step"
    return below(slope * np.exp(exponent * np.abs(h)), 1.0, domain=domain, at=point(h=h))


@claim(
    "article-saturated-neuron",
    "With a squared loss and rate 1, a sigmoid neuron at $h$ that should say 0 needs more than $e^h$ "
    "steps to leave saturation.",
    claimed="A saturated neuron that should be off learns slowly.",
    found="The bound $e^h$ is at most {measured} of the steps that were needed.",
    at="saturated neurons (condition: a loss that keeps the slope)",
    status="holds under a condition",
    mutants={"cross-entropy loss": {"loss": "cross-entropy"}, "e^(1.1 h) steps": {"exponent": 1.1}},
)
def saturated_neuron(loss: str = "square", exponent: float = 1.0) -> Evidence:
    h = np.arange(2.0, 11.0)
    steps = np.array([toy.steps_to_unsaturate(start, loss=loss) for start in h], dtype=float)
    return below(np.exp(exponent * h) / steps, 1.0, domain="h = 2, ..., 10; rate 1", at=point(h=h))

"""Part I.2, positive inputs and the zig-zag: what the question on positive-only activations, and the article, say."""

from __future__ import annotations

import numpy as np

from afli import activations as act
from afli import data, toy
from afli import meanfield as mf
from afli.activations import Activation
from afli.claims.comparisons import Evidence, at_most, equal
from afli.claims.ledger import on
from afli.claims.part_1_1 import error_sizes

claim = on("I_2_zig_zag", "the article on choosing activations")
question = on("I_2_zig_zag", "the question on positive-only activations")
_SIGMOID = act.sigmoid()
_TANH = act.tanh()
_RELU = act.relu()


def few_digits(images: int) -> tuple[np.ndarray, np.ndarray]:
    """Training images of digits, pixels in [0, 1], and their labels."""
    digits = data.load("digits")
    return digits.x_train[:images].astype(float), digits.y_train[:images]


def small_network(sigma_w2: float = 2.0, seed: int = 0) -> list[toy.Layer]:
    return toy.random_layers([64, 64, 64, 10], sigma_w2=sigma_w2, rng=np.random.default_rng(seed))


def share_of_one_sign(phi: Activation, batch: int, images: int = 512) -> float:
    """Share of the second layer's neurons whose weight gradient on a batch has one sign; silent neurons left out."""
    x, labels = few_digits(images)
    return toy.backprop(small_network(), phi, x, labels).one_sign(1, batch)


@question(
    "question-one-sign",
    "If a neuron's inputs are positive, the gradient of one example in its weights has one sign throughout.",
    found="No neuron broke the rule on 512 digits.",
    at="the lecture's remark and the accepted answer",
    mutants={"tanh below: inputs of both signs": {"phi": _TANH}, "two examples at once": {"batch": 2}},
)
def one_sign(phi: Activation = _SIGMOID, batch: int = 1) -> Evidence:
    share = share_of_one_sign(phi, batch)
    domain = "second layer of a random network on 512 digits; measured is the share of neurons that break the rule"
    return equal(1 - share, 0.0, 0.0, domain=domain)


@question(
    "question-error-sign",
    "The error of a sigmoid unit takes both signs although every slope is positive, as the weights above it do.",
    claimed="The error of a sigmoid unit has one sign, since every slope is positive.",
    found="On 512 digits the more frequent sign has {measured:.0%} of the errors.",
    at="the asker's derivation",
    status="corrected",
    mutants={"weights and errors above all positive": {"positive": True}},
)
def error_sign(positive: bool = False) -> Evidence:
    x, labels = few_digits(512)
    layers = small_network()
    run = toy.backprop(layers, _SIGMOID, x, labels)
    above, weights = run.errors[2], layers[2][0]
    if positive:
        above, weights = np.abs(above), np.abs(weights)
    errors = _SIGMOID.gradient(run.preactivations[1]) * (above @ weights)
    share = np.mean(errors > 0)
    domain = "second layer of a random sigmoid network, 512 digits; measured is the larger of the two shares"
    return at_most(max(share, 1 - share), 0.6, domain=domain)


@claim(
    "article-one-direction",
    "The common sign belongs to one neuron, not to its layer: for every example some neurons go up and some down.",
    claimed="With positive inputs all weights of a layer move up together or down together.",
    found="No digit of 512 moved all neurons of the layer the same way.",
    at="zero-centred activations",
    status="corrected",
    mutants={"a layer of one neuron": {"neurons": 1}},
)
def one_direction(neurons: int = 64) -> Evidence:
    x, labels = few_digits(512)
    errors = toy.backprop(small_network(), _SIGMOID, x, labels).errors[1][:, :neurons]
    domain = "second layer of a random sigmoid network; measured is the share of 512 digits with one sign for all"
    return at_most(toy.share_of_one_sign(errors), 0.0, domain=domain)


@claim(
    "article-batch-one-sign",
    "On a batch of 64, under a fifth of a ReLU layer's neurons keep one sign in all components of the gradient.",
    claimed="With ReLU below, gradients of mixed signs are not possible.",
    found="The share is {measured:.1%}.",
    at="zero-centred activations",
    status="corrected",
    mutants={"single examples": {"batch": 1}, "sigmoid in place of ReLU": {"phi": _SIGMOID}},
)
def batch_one_sign(phi: Activation = _RELU, batch: int = 64) -> Evidence:
    return at_most(
        share_of_one_sign(phi, batch), 0.2, domain="second layer of a random network, 512 digits in batches of 64"
    )


@question(
    "question-search-space",
    "Steps that each raise both weights or lower both still reach a goal that asks for one up and one down.",
    claimed="With positive inputs part of the space of weights is out of reach.",
    found="After 3,000 steps the distance left is {measured}.",
    at="the asker's guess that part of the space is out of reach",
    status="corrected",
    mutants={"inputs all parallel": {"spread": 0.0}, "inputs of both signs": {"mean": 0.0}},
)
def search_space(spread: float = 1.0, mean: float = 2.0) -> Evidence:
    run = toy.two_weights(mean, spread=spread)
    steps = run.updates[np.linalg.norm(run.updates, axis=1) > 0]
    domain = "inputs uniform on [1, 3]^2, 3000 single-example steps; measured is the distance that is left"
    if len(steps):
        equal(toy.share_of_one_sign(steps), 1.0, 0.0, domain=domain)
    return at_most(np.linalg.norm(run.weights[-1] - toy.GOAL), 1e-6, domain=domain)


@claim(
    "article-zig-zag",
    "Two weights need at least ten times as many steps if their inputs have mean 4 instead of 0.",
    claimed="Positive inputs make gradient descent zigzag, and slow.",
    found="Ten times the steps of mean 0 are {measured:.0%} of those of mean 4: the ratio is {ratio:.1f}.",
    at="zero-centred activations, and the question on positive-only activations (condition: plain gradient descent)",
    status="holds under a condition",
    mutants={"the natural gradient": {"natural": True}, "inputs centred": {"mean": 0.0}},
)
def zig_zag(mean: float = 4.0, natural: bool = False) -> Evidence:
    def steps(m: float) -> float:
        return float(np.mean([toy.two_weights(m, natural=natural, seed=s).steps_to(toy.GOAL, 0.28) for s in range(8)]))

    domain = "means over 8 runs, rate 1 / E|x|^2, until a tenth of the distance is left; measured is 10 N(0) / N(4)"
    share = 10 * steps(0.0) / steps(mean)
    return at_most(share, 1.0, domain=domain, values={"ratio": 10 / share})


@question(
    "question-centring",
    r"A mean $m$ on all of $n$ inputs of variance 1 raises the condition number of $\E[x x^T]$ from 1 to "
    "$1 + n m^2$.",
    found="On the cube's corners the condition number agrees to {measured}.",
    at="what centring has to do with it",
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


@question(
    "question-fisher",
    "The natural gradient of a linear neuron with bias does not notice a shift of its inputs.",
    found="Predictions with and without a shift of 3 differ by {measured} after 20 steps.",
    at="the remark on the Fisher matrix",
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
    run = enumerate(toy.train(small_network(), phi, x, labels, rate=rate, order=order))
    return np.array([toy.backprop(layers, phi, x, labels).loss.mean() for step, layers in run if step % 10 == 9])


@question(
    "question-tanh-faster",
    "tanh, a scaled and centred sigmoid, reaches loss 0.3 on digits in half the sigmoid's steps, each at "
    "its best rate.",
    found="tanh needs {measured} steps; half of the sigmoid's are {bound}.",
    at="a comment's observation",
    mutants={"both sigmoid": {"fast": _SIGMOID}, "a tenth of the steps": {"factor": 0.1}},
)
def tanh_faster(fast: Activation = _TANH, factor: float = 0.5) -> Evidence:
    x, labels = few_digits(1437)

    def steps(phi: Activation) -> float:
        runs = [_losses(phi, x, labels, rate) for rate in (0.3, 1.0, 3.0)]
        return 10.0 * (1 + min(int(np.argmax(loss < 0.3)) if (loss < 0.3).any() else 10**6 for loss in runs))

    domain = "64-64-64-10 network, raw pixels, plain SGD, the best of rates 0.3, 1, 3"
    return at_most(steps(fast), factor * steps(_SIGMOID), domain=domain)


@claim(
    "article-centred-data",
    "Centred inputs make training smoother: the loss rises less than half as often from step to step.",
    found="The loss rises in {measured:.1%} of the steps; half of the other share is {bound:.1%}.",
    at="the first of its three conditions",
    mutants={"inputs left as they are": {"centre": False}},
)
def centred_data(centre: bool = True) -> Evidence:
    x, labels = few_digits(1437)

    def rises(inputs: np.ndarray) -> float:
        return float(np.mean(np.diff(_losses(_RELU, inputs, labels, rate=0.3)) > 0))

    domain = "ReLU, 64-64-64-10, rate 0.3, loss on all images every 10 steps; shares of rises"
    return at_most(rises(x - x.mean(axis=0) if centre else x), 0.5 * rises(x), domain=domain)


@claim(
    "article-centring-gradient",
    "Adding 1 to tanh's outputs, at its critical weights, takes five powers of ten from a gradient over 50 layers.",
    claimed="Inputs that are not centred make gradients vanish.",
    found="In the worst of three networks the ratio of first to last layer is {measured:power}.",
    at="the first of its three conditions (condition: outputs that saturate, not the data)",
    status="holds under a condition",
    mutants={
        "raw images in place of the added 1": {"shift": 0.0, "centre": False},
        "ReLU in place of tanh": {"phi": _RELU, "sigma_b2": 0.0},
    },
)
def centring_gradient(
    shift: float = 1.0, centre: bool = True, phi: Activation = _TANH, sigma_b2: float = 0.1
) -> Evidence:
    x, labels = few_digits(64)
    x = x - x.mean(axis=0) if centre else x
    sigma_w2 = mf.edge_of_chaos(phi, sigma_b2=sigma_b2).sigma_w2
    moved = act.from_callable(lambda z: phi(z) + shift, phi.derivative, kinks=phi.kinks, name="shifted")
    options = {"sigma_w2": sigma_w2, "sigma_b2": sigma_b2}
    ratios = [error_sizes(moved, images=(x, labels), seed=seed, **options)[0] for seed in range(3)]
    domain = "log10 of the ratio, layer 1 to layer 50; 3 sampled networks of width 300, 64 digits"
    return at_most(ratios, -5.0, domain=domain)


@question(
    "question-generalisation",
    "In a small dense network on 200 digits, once all are learned, outputs that are all positive cost "
    "under one point of test accuracy.",
    claimed="Positive-only activations hinder generalisation.",
    found="The cost is {measured:points}, the mean of eight starts.",
    at="its fourth point: how does it hinder generalisation? (condition: a small dense network)",
    status="holds under a condition",
    mutants={"after 50 steps each": {"steps": 50}, "rate 1 for both": {"rate": 1.0}},
)
def generalisation(steps: int = 1500, rate: float = 0.3) -> Evidence:
    digits = data.load("digits")
    mean = digits.x_train.mean(axis=0)
    positive = act.from_callable(lambda z: _TANH(z) + 1, _TANH.derivative, name="tanh + 1")

    def accuracy(phi: Activation, rate: float, seed: int) -> float:
        """Test accuracy once the loss on the 200 training images is below 0.05, or after all steps."""
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(len(digits.x_train))[:200]
        x, labels = digits.x_train[chosen].astype(float) - mean, digits.y_train[chosen]
        order = rng.integers(200, size=(steps, 50))
        run = toy.train(small_network(seed=seed), phi, x, labels, rate=rate, order=order)
        for step, layers in enumerate(run):
            if step % 10 == 9 and toy.backprop(layers, phi, x, labels).loss.mean() < 0.05:
                break
        logits = toy.backprop(layers, phi, digits.x_test - mean, digits.y_test).preactivations[-1]
        return float(np.mean(logits.argmax(axis=1) == digits.y_test))

    cost = np.mean([accuracy(_TANH, 1.0, seed) - accuracy(positive, rate, seed) for seed in range(8)])
    domain = "64-64-64-10, tanh at rate 1 less tanh + 1 at 0.3, each the fastest of 0.1, 0.3 and 1; mean of 8 starts"
    return at_most(cost, 0.01, domain=domain)


@claim(
    "article-normal-distribution",
    "Turning the inputs makes each pixel nearly normal, and changes nothing if the first weights turn "
    "with them: that single pixels are normal cannot be what matters.",
    claimed="Inputs should be normally distributed.",
    found="After 60 steps the logits of a turned and an unturned network differ by {measured}.",
    at="the second of its three conditions (the text asks for normal data; overfitting is not tested here)",
    status="corrected",
    mutants={"scaling each pixel instead of turning": {"turn": False}},
)
def normal_distribution(turn: bool = True) -> Evidence:
    x, labels = few_digits(256)
    rng = np.random.default_rng(2)
    matrix = np.linalg.qr(rng.standard_normal((64, 64)))[0] if turn else np.diag(rng.uniform(0.5, 2, 64))
    order = rng.integers(256, size=(60, 64))
    layers = small_network()
    turned = [(layers[0][0] @ np.linalg.inv(matrix), layers[0][1]), *layers[1:]]
    *_, plain = toy.train(layers, _TANH, x, labels, rate=0.3, order=order)
    *_, other = toy.train(turned, _TANH, x @ matrix.T, labels, rate=0.3, order=order)
    logits = [
        toy.backprop(ls, _TANH, inputs, labels).preactivations[-1] for ls, inputs in ((plain, x), (other, x @ matrix.T))
    ]
    return equal(logits[1], logits[0], 1e-9, domain="logits of 256 digits after 60 SGD steps, random rotation")

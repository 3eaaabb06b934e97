"""Part I.4, the rectifier family: leaky, randomised, learned, exponential."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from afli import activations as act
from afli import data, gaussian
from afli import meanfield as mf
from afli.activations import Activation
from afli.claims.comparisons import Evidence, at_most, below, equal
from afli.claims.later import lessons, nn, torch
from afli.claims.ledger import on
from afli.claims.part_1_2 import share_of_one_sign
from afli.claims.vocabulary import point

claim = on("I_4_rectifier_family", "the article on choosing activations")
_RELU = act.relu()
_ELU = act.elu()
_SLIGHTLY_LEAKY = act.leaky_relu(0.01)


@claim(
    "article-leaky-gradient",
    r"Below zero the slope of leaky ReLU is $\alpha$; $\alpha e^x$ is the slope of elu.",
    claimed=r"Below zero the slope of leaky ReLU is $\alpha e^x$.",
    found="Difference quotients agree to {measured}.",
    at="leaky ReLUs",
    status="corrected",
    mutants={"alpha e^x for leaky ReLU": {"exponential": True}},
)
def leaky_gradient(exponential: bool = False) -> Evidence:
    z, step = np.linspace(-5, -0.1, 50), 1e-6
    slopes = [(phi(z + step) - phi(z - step)) / (2 * step) for phi in (act.leaky_relu(0.3), act.elu(0.3))]
    expected = [0.3 * np.exp(z) if exponential else np.full_like(z, 0.3), 0.3 * np.exp(z)]
    return equal(slopes, expected, 1e-9, domain="difference quotients at 50 points of [-5, -0.1], alpha = 0.3")


@claim(
    "article-leaky-directions",
    "Above a leaky ReLU layer hardly any neuron's gradient has one sign, even for a single example.",
    found="Of 512 digits and 64 neurons, the share is {measured:.1%}.",
    at="leaky ReLUs",
    mutants={"ReLU": {"phi": _RELU}},
)
def leaky_directions(phi: Activation = _SLIGHTLY_LEAKY) -> Evidence:
    return at_most(
        share_of_one_sign(phi, batch=1), 0.01, domain="second layer of a random network, 512 single digits, slope 0.01"
    )


@claim(
    "article-leaky-centred",
    "A slope of 0.01 lowers the mean output of ReLU by one hundredth: it is not zero-centred.",
    claimed="Leaky ReLU contributes to zero-centred activations.",
    found="By quadrature, at {cases:count} variances, the ratio of the means is 0.99 to {bound}.",
    at="leaky ReLUs",
    status="corrected",
    mutants={"a mean of zero": {"share": 0.0}, "slope 0.5": {"slope": 0.5}},
)
def leaky_centred(slope: float = 0.01, share: float = 0.99) -> Evidence:
    leaky = act.leaky_relu(slope)
    means = [gaussian.expectation(phi.function, q, kinks=(0.0,)) for q in (0.25, 1.0, 4.0) for phi in (leaky, _RELU)]
    domain = "normal preactivations of variance 0.25, 1 and 4, by quadrature; ratio of the means"
    return equal(np.divide(means[::2], means[1::2]), share, 1e-12, domain=domain)


@claim(
    "article-leaky-slope",
    "With slope $s$ a layer moves correlations $(1 - s)^2/(1 + s^2)$ times as far as with ReLU, so "
    "$1/5.5$ is better than 0.01.",
    found="On 101 correlations the two sides differ by {measured}.",
    at="leaky ReLUs (it reports the better slope as an empirical finding)",
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
    below(factor[1], factor[0], domain="slopes 0.01 and 1/5.5")
    return equal(gap, factor[:, None] * relu, 1e-12, domain="slopes 0.01 and 1/5.5, 101 correlations in [-1, 1]")


@claim(
    "article-randomised-slope",
    "A slope uniform on $(0, 1)$ has mean $1/2$ and deviation 0.289; torch draws from $[1/8, 1/3]$.",
    claimed="The random slope is uniform, with mean 0 and deviation 1.",
    found=("Mean and deviation of 100,000 slopes are off by {measured} at most; four standard errors are {bound}."),
    at="randomised leaky ReLU",
    status="corrected",
    mutants={"mean 0 and deviation 1, as printed": {"mean": 0.0, "deviation": 1.0}, "up to 0.3": {"largest": 0.3}},
)
def randomised_slope(mean: float = 0.5, deviation: float = 12**-0.5, largest: float = 1 / 3) -> Evidence:
    count = 100_000
    torch_state = torch.get_rng_state()
    torch.manual_seed(0)
    drawn = -torch.nn.RReLU(0.0, 1.0)(torch.full((count,), -1.0, dtype=torch.float64)).numpy()
    usual = -torch.nn.RReLU()(torch.full((count,), -1.0, dtype=torch.float64)).numpy()
    torch.set_rng_state(torch_state)
    domain = f"{count} slopes drawn by torch's own module; four standard errors allowed"
    at_most([1 / 8 - usual.min(), usual.max() - largest], 1e-7, domain=domain)
    return equal([drawn.mean(), drawn.std()], [mean, deviation], 4 * deviation / np.sqrt(count), domain=domain)


def _trained(makers: Any, *, images: int, epochs: int, rate: float, seeds: int, depth: int = 3) -> np.ndarray:
    """Steps to loss 0.1 and test accuracy of torch networks, means over seeds: (makers, 2).

    makers: pairs of a function that makes the activation and the gain of its weights.
    """
    digits = data.normalised(data.load("digits"))
    state = torch.get_rng_state()
    rows = []
    for make, gain in makers:
        results = []
        for seed in range(seeds):
            torch.manual_seed(seed)  # the randomised slopes of RReLU come from torch's own generator
            chosen = np.random.default_rng(seed).permutation(len(digits.x_train))[:images]
            few = replace(digits, x_train=digits.x_train[chosen], y_train=digits.y_train[chosen])
            model = lessons.stack([64] * (depth + 1) + [10], make, gain=gain, seed=seed)
            run = lessons.fit(model, few, learning_rate=rate, epochs=epochs, batch=50, seed=seed)
            results.append((run.steps_to(0.1), run.test_accuracy[-1]))
        rows.append(np.mean(results, axis=0))
    torch.set_rng_state(state)
    return np.array(rows)


def _few(make: Any, images: int) -> float:
    """Test accuracy after 40 epochs on that many training images, mean over 4 seeds."""
    return float(_trained([(make, 1.4)], images=images, epochs=40, rate=0.1, seeds=4)[0, 1])


@claim(
    "article-randomised-noise",
    "In a dense network on digits random slopes do not speed training up: leaky ReLU of the same mean "
    "slope is at most 10% slower.",
    claimed="The noise of random slopes steers training clear of poor minima.",
    found="Leaky ReLU needs {measured:.2f} times the steps of randomised slopes, the mean of three seeds.",
    at="randomised leaky ReLU (convolutional networks are not tested here)",
    status="not reproduced",
    mutants={"slope 0 in place of the mean slope": {"slope": 0.0}},
)
def randomised_noise(slope: float = 11 / 48) -> Evidence:
    makers = ((lambda: nn.LeakyReLU(slope), 1.38), (nn.RReLU, 1.38))
    steps = _trained(makers, images=1437, epochs=5, rate=0.1, seeds=3, depth=8)[:, 0]
    domain = "eight layers of 64 on digits, rate 0.1, 3 seeds; steps to loss 0.1, leaky over randomised"
    return at_most(steps[0] / steps[1], 1.1, domain=domain)


@claim(
    "article-randomised-overfitting",
    "In a dense network on 100 digits RReLU gains under one point over leaky ReLU of the same mean slope.",
    claimed="Random slopes are useful against overfitting.",
    found="The gain is {measured:points}, the mean of four seeds.",
    at="how to choose (convolutional networks are not tested here)",
    status="not reproduced",
    mutants={"RReLU gets 400 images, leaky 100": {"images": 400}},
)
def randomised_overfitting(images: int = 100) -> Evidence:
    leaky = _few(lambda: nn.LeakyReLU(11 / 48), 100)
    randomised = _few(nn.RReLU, images)
    return at_most(randomised - leaky, 0.01, domain="64-64-64-64-10 on digits, 40 epochs, 4 seeds; test accuracies")


@claim(
    "article-prelu-data",
    "In a dense network on 100 digits learned slopes cost under two points against fixed ones.",
    claimed="Learned slopes are good only with a lot of training data.",
    found="The cost is {measured:points}, the mean of four seeds.",
    at="how to choose (convolutional networks are not tested here)",
    status="not reproduced",
    mutants={"the fixed slopes get 400 images": {"images": 400}},
)
def prelu_data(images: int = 100) -> Evidence:
    fixed = _few(lambda: nn.LeakyReLU(0.25), images)
    learned = _few(lambda: nn.PReLU(64), 100)
    domain = "64-64-64-64-10 on digits, 40 epochs, 4 seeds; one slope per unit, starting at the fixed slope 0.25"
    return at_most(fixed - learned, 0.02, domain=domain)


@claim(
    "article-prelu-parameters",
    "Even with a slope per unit, PReLU adds under 2% to the parameters of a layer of width 64.",
    claimed="PReLU adds a whole bunch of parameters.",
    found="At width 64 it adds {measured:.2%}.",
    at="how to choose",
    status="corrected",
    mutants={"width 8": {"width": 8}},
)
def prelu_parameters(width: int = 64) -> Evidence:
    slopes, layer = (sum(p.numel() for p in m.parameters()) for m in (nn.PReLU(width), nn.Linear(width, width)))
    return at_most(slopes / layer, 0.02, domain="parameters of torch's own modules")


@claim(
    "article-elu-saturation",
    r"elu tends to $-\alpha$ on the left, within $\alpha e^z$ of it.",
    found="On 301 points of $[-30, 0]$ no value is farther.",
    at="exponential linear units",
    status="holds, and sharpened",
    mutants={"+alpha": {"sign": 1.0}, "within e^(1.1 z) alpha": {"rate": 1.1}},
)
def elu_saturation(sign: float = -1.0, rate: float = 1.0) -> Evidence:
    z, alphas = np.linspace(-30, 0, 301), (0.5, 1.0, 2.0)
    distance = [np.abs(act.elu(alpha)(z) - sign * alpha) / alpha for alpha in alphas]
    # Both sides are rounded to 16 digits.
    return at_most(distance, np.exp(rate * z) + 4e-16, domain="301 points of [-30, 0]; alpha = 0.5, 1, 2")


@claim(
    "article-elu-centred",
    "elu's mean output is positive at every variance, and below ReLU's: nearer zero, not zero.",
    claimed="elu is zero-centred.",
    found="At {cases} variances it is at most {measured:.2f} times ReLU's mean.",
    at="exponential linear units",
    status="corrected",
    mutants={"selu": {"phi": act.selu()}, "half of ReLU's": {"factor": 0.5}},
)
def elu_centred(phi: Activation = _ELU, factor: float = 1.0) -> Evidence:
    q = np.logspace(-3, 2, 26)
    mean = np.array([gaussian.expectation(phi.function, v, kinks=(0.0,)) for v in q])
    relu = np.sqrt(q / (2 * np.pi))
    domain = "26 variances from 0.001 to 100, by quadrature"
    below(-mean, 0.0, domain=domain, at=point(q=q))
    return below(mean / relu, factor, domain=domain, at=point(q=q))


@claim(
    "article-one-sided-convergence",
    "At equal rates and critical weights elu needs fewer steps than the same function with an open left "
    r"side, $\operatorname{asinh} z$.",
    claimed="An activation that saturates on one side only helps convergence.",
    found="It needs {measured:.2f} times the steps, the mean of three seeds.",
    at="exponential linear units (condition: equal rates)",
    status="holds under a condition",
    mutants={"the two exchanged": {"exchange": True}},
)
def one_sided_convergence(exchange: bool = False) -> Evidence:
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
    return below(steps[1] / steps[0] if exchange else steps[0] / steps[1], 1.0, domain=domain)

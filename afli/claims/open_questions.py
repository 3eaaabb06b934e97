"""Sentences of the paper that stand outside its numbered statements: what relaxing a property costs, and other weights.

The page *Open questions* says of each what is answered here and what is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from afli import activations as act
from afli import bounds
from afli import meanfield as mf
from afli.activations import Activation
from afli.claims.comparisons import Evidence, at_most, rising
from afli.claims.later import open_questions
from afli.claims.ledger import on
from afli.claims.section_2_1 import correlations_agree
from afli.claims.vocabulary import BIAS, OURS, critical, names, point
from afli.pieces import odd_piecewise_linear

claim = on("open_questions", "Section 3.2")


# --- Orthogonal weights and the Gaussian process ---


@claim(
    "section-3.2.orthogonal-process",
    "With orthogonal weights too, correlations of pairs follow $R$ from layer to layer.",
    at="and footnote 1 of Section 2.2: highly likely, and observed",
    mutants={"R - rho fifteen per cent larger": {"gap": 1.15}, "correlations stay as they are": {"gap": 0.0}},
)
def orthogonal_process(gap: float = 1.0) -> Evidence:
    nets = [critical(phi) for phi in (act.tanh(), act.shtanh(a=1.0))]
    return correlations_agree(nets, "orthogonal", 8, 80, gap)


# --- Boundedness relaxed ---


@lru_cache
def growing(power: float) -> Activation:
    """z up to 1, then sign(z) |z|^power: odd, and unbounded for power > 0."""
    return act.from_callable(
        lambda z: np.sign(z) * np.minimum(np.abs(z), np.maximum(np.abs(z), 1.0) ** power),
        lambda z: np.where(np.abs(z) <= 1, 1.0, power * np.maximum(np.abs(z), 1.0) ** (power - 1)),
        kinks=(-1.0, 1.0),
        name=f"z, then z^{power:g}",
    )


_SLOPES = (0.5, 0.9)
_POWERS = (0.25, 0.5, 0.75)


@claim(
    "section-3.2.growth",
    r"Boundedness can be relaxed: for odd $\phi$ that is $z$ up to $a$, and then $a^{1-\gamma} z^\gamma$ with "
    r"$\gamma < 1$ or of slope $s < 1$, the gap still tends to 0 with $\sigma_b^2/a^2$.",
    found="In {cases:count} examples ten times the radius leaves {measured:.0%} of the gap at most.",
    at="the third of the four properties (it suspects so)",
    status=OURS,
    mutants={"sigma_b2 / a^2 kept constant": {"power": 0.0}},
)
def growth_condition(power: float = 1.0) -> Evidence:
    straight = [odd_piecewise_linear([1.0], [1.0, s], name=f"z, then slope {s:g}") for s in _SLOPES]
    activations = [*straight, *(growing(p) for p in _POWERS)]
    y = 1e-2 * 10.0 ** (-2 * power * np.arange(5))  # a^2 grows by 100 each time
    gap = np.array([[critical(phi, float(b)).correlation_gap(0.0) for b in y] for phi in activations])
    domain = (
        f"{names(activations)}, scaled to radius a; sigma_b2 / a^2 from 1e-2 to 1e-10: what is left of the gap "
        "at ten times the radius"
    )
    return at_most(gap[:, 1:] / gap[:, :-1], 0.6, domain=domain, at=point(activations, y=y[1:]))


@claim(
    "section-3.2.growth-constant",
    r"Without boundedness the constants go: with slope 0.9 beyond $a$, $a/\sqrt{q^*}$ is below $\nu(y)$, "
    "the lower bound of Lemma 3.4.",
    found=r"At {cases:count} values of $y$ it is at most {measured:.0%} of $\nu(y)$.",
    ours="what breaks when boundedness is relaxed, Section 3.2",
    status=OURS,
    mutants={"slope 0 (Shtanh)": {"slope": 0.0}},
)
def growth_breaks_the_constant(slope: float = 0.9) -> Evidence:
    phi, y = odd_piecewise_linear([1.0], [1.0, slope]), np.array([0.01, 0.1, 1.0])
    net = [critical(phi, float(b)) for b in y]
    ratio = np.array([1 / np.sqrt(n.q) for n in net])
    lower = np.asarray(bounds.linear_ratio(y)[0])
    return at_most(ratio / lower, 1.0, domain=f"z, then slope {slope:g}; y = 0.01, 0.1, 1; a/sqrt(q*) over nu(y)")


# --- Nearly linear ---


@claim(
    "section-1.nearly-linear",
    r"For odd $\phi$ with $|\phi'| \le k$ and $|\phi(z)| \ge (1 - \epsilon) k |z|$ on $[-a, a]$, $\max "
    r"|R(\rho) - \rho|$ on $[0, 1]$ is at most $2 \epsilon + y \ell_0^2$ on the edge of chaos, where $1 - "
    r"\E[Z^2; |Z| < \ell_0] = y \ell_0^2$. It vanishes with $y$ and $\epsilon$.",
    found="For tanh, erf, softsign and zigzags the gap at 0 is at most {measured:.0%} of the bound.",
    ours="Section 1: why activations that approximate the identity train well; tanh is outside the class",
    status=OURS,
    mutants={
        "epsilon in place of 2 epsilon, for a zigzag along the line": {"share": 0.5},
        "|phi'| <= k dropped (slopes of 3)": {"steep": True},
    },
)
def nearly_linear(share: float = 1.0, steep: bool = False) -> Evidence:
    ratios, labels = [], []

    def check(phi: Activation, sigma_b2: float, a: float, epsilon: float) -> None:
        gap = sigma_b2 / critical(phi, sigma_b2).q  # Lemma 3.3, which holds for every odd phi
        ratios.append(gap / float(bounds.nearly_linear_gap(sigma_b2 / a**2, share * epsilon)))
        labels.append(f"{phi.name}, sigma_b2 = {sigma_b2:g}, a = {a:g}")

    for phi in (act.tanh(), act.erf(), act.softsign()):
        for a in (0.1, 0.3, 1.0):
            epsilon = 1 - abs(phi(a)) / (phi.slope * a)  # phi(z) / z falls away from zero
            for sigma_b2 in (1e-6, 1e-4, 1e-2, 0.1):
                check(phi, sigma_b2, a, epsilon)
    for epsilon in (0.01, 0.1):
        check(along_the_line(epsilon, steepness=3.0 if steep else 1.0), 1e-3, 20.0, epsilon)
    domain = (
        "tanh, erf, softsign with a = 0.1, 0.3, 1, sigma_b2 = 1e-6 to 0.1; zigzags along (1 - epsilon) z, "
        "epsilon = 0.01, 0.1; the gap at 0 over its bound"
    )
    return at_most(ratios, 1.0, domain=domain, at=point(labels))


def along_the_line(epsilon: float, *, steepness: float) -> Activation:
    """Slopes of +-steepness that follow (1 - epsilon) z out to 20, in 200 teeth."""
    width, share = 0.1, 0.5 * (1 + (1 - epsilon) / steepness)  # of each tooth that rises
    starts = width * np.arange(200)
    knots = np.sort(np.concatenate([starts + share * width, starts[1:]]))
    slopes = [steepness if i % 2 == 0 else -steepness for i in range(len(knots) + 1)]
    return odd_piecewise_linear(knots, slopes, name=f"zigzag along {1 - epsilon:g} z")


# --- nu, Hayou's rule, weighted sums ---


@claim(
    "section-3.1.nu-limits",
    r"$\nu(y)$ falls strictly, to 0 as $y$ grows, and grows without bound as $y$ tends to 0.",
    found=("It falls at each of 3,000 steps of $y$ from $10^{-200}$ to $10^{100}$, to {measured} at the end."),
    at="below Lemma 3.4: easy to check",
    mutants={
        "above the square root of ln(1/y)": {"order": 2.5},
        "nu <= 0.1 / sqrt(y)": {"small": 0.1},
        "nu rises": {"sign": -1.0},
    },
)
def nu_limits(order: float = 1.0, small: float = 1.0, sign: float = 1.0) -> Evidence:
    y = np.logspace(-200, 100, 3001)
    nu = np.asarray(bounds.linear_ratio(y)[0])
    domain = "3001 values of y from 1e-200 to 1e100"
    rising(-sign * nu, domain=domain, at=point(y=y))
    at_most(order * np.sqrt(np.log(1 / y[y < 1e-9])), nu[y < 1e-9], domain=f"{domain}; nu >= sqrt(ln 1/y), y < 1e-9")
    return at_most(nu[y > 1], small / np.sqrt(y[y > 1]), domain=f"{domain}; nu <= 1 / sqrt(y), y > 1")


@claim(
    "section-2.3.hayou-rule",
    r"Hayou et al. (2019) choose $\sigma_b$ so that $2/R''(1)$ is the depth $L$. For tanh $\sigma_b^2$ "
    "then falls with the depth, in the limit like $L^{-3/2}$.",
    found="The exponent is off $-3/2$ by {measured:.3f}.",
    at="first paragraphs",
    mutants={"sigma_b2 falls like 1 / L": {"exponent": -1.0}},
)
def hayou_rule(exponent: float = -1.5) -> Evidence:
    q = np.logspace(-1, -4, 7)
    nets = [mf.critical_at(act.tanh(), q=float(v)) for v in q]
    bend = [net.phi.mean(lambda u: (2 * np.tanh(u) / np.cosh(u) ** 2) ** 2, net.q) for net in nets]  # phi''^2
    depth = np.array([2 / (net.sigma_w2 * net.q * b) for net, b in zip(nets, bend, strict=True)])
    sigma_b2 = np.array([net.sigma_b2 for net in nets])
    local = np.diff(np.log(sigma_b2)) / np.diff(np.log(depth))
    domain = f"tanh; depths 2 / R''(1) from {depth[2]:.3g} to {depth[-1]:.3g}; exponent of sigma_b2 against -3/2"
    return at_most(np.abs(local[2:] - exponent), 0.02, domain=domain, at=point(depth=depth[3:]))


@claim(
    "section-2.1.weighted-sum",
    r"In $s z + (1 - s) \phi(z)$ a larger linear share $s$ means a smaller gap of the correlation map, "
    "and it tends to 0.",
    found=r"For {cases:count} $\phi$ the gap falls with each of seven shares.",
    at="after Hayou et al. (2019)",
    mutants={"from the linear end": {"reverse": True}, "a gap below 1e-8 at s = 0.99": {"least": 1e-8}},
)
def weighted_sum(
    activations: Sequence[Activation] = (act.tanh(), act.erf(), act.shtanh(a=1.0)),
    least: float = 0.02,
    reverse: bool = False,
) -> Evidence:
    shares = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.99])[:: -1 if reverse else 1]
    gaps = BIAS / np.array([[critical(mixed(phi, float(s))).q for s in shares] for phi in activations])  # all are odd
    domain = f"{names(activations)}, sigma_b2 = {BIAS:g}; s = {', '.join(f'{s:g}' for s in shares)}; the gap at 0"
    evidence = rising(-gaps, domain=domain, at=point(activations, s=shares[1:]))
    at_most(gaps[:, -1], least, domain=domain, at=point(activations))
    return evidence


@lru_cache
def mixed(phi: Activation, s: float) -> Activation:
    """s z + (1 - s) phi(z)."""
    if s == 0:
        return phi
    return act.from_callable(
        lambda z: s * z + (1 - s) * phi.function(z),
        lambda z: s + (1 - s) * phi.gradient(z),
        kinks=phi.kinks,
        name=f"{s:g} z + {1 - s:g} {phi.name}",
    )


# --- Future work, tried once ---

_RATES, _STARTS = (0.003, 0.01), (0, 1)
_TRIED = "20 layers of 64 units, digits, 10 epochs of plain SGD, sigma_b2 = 0.1, two starts"


def _accuracy(share: float, kept: bool, rate: float) -> float:
    return float(np.mean([open_questions.accuracy(share, kept=kept, rate=rate, seed=seed) for seed in _STARTS]))


@claim(
    "open.more-affine",
    r"A more affine start learns faster at rate 0.003: with $z/2 + \tanh(z)/2$ in place of $\tanh$ it is "
    "over four points ahead after ten epochs, each on its own edge of chaos.",
    claimed="Activations that are more affine at the start may train better.",
    found="The lead is {bound:points}.",
    ours="future work in Section 5; one small network",
    status="holds under a condition",
    mutants={"tanh against itself": {"share": 0.0}},
)
def more_affine(share: float = 0.5) -> Evidence:
    return at_most(0.04, _accuracy(share, False, 0.003) - _accuracy(0.0, False, 0.003), domain=f"{_TRIED}; the lead")


@claim(
    "open.orthogonality-kept",
    "Weights that are kept orthogonal while they are trained do not help here: at rates 0.003 and 0.01 "
    "they end behind weights that are free.",
    claimed="Optimising over orthogonal matrices may help.",
    found="The lead of kept weights is {measured:points}.",
    ours="Section 4.2 suggests to optimise over orthogonal matrices; one small tanh network",
    status="holds under a condition",
    mutants={"kept, at three times the rate": {"faster": 10 / 3}},
)
def orthogonality_kept(faster: float = 1.0) -> Evidence:
    rates_tried = _RATES if faster == 1.0 else _RATES[:1]
    lead = [_accuracy(0.0, True, faster * rate) - _accuracy(0.0, False, rate) for rate in rates_tried]
    return at_most(lead, 0.0, domain=f"{_TRIED}; lead of kept over free", at=point(rate=rates_tried))

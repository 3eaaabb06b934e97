"""Section 2.1, continued: order, chaos and the edge between them, by iterating the maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from afli import activations as act
from afli import meanfield as mf
from afli.activations import Activation
from afli.claims.comparisons import Evidence, at_most, below, equal
from afli.claims.section_2_1 import TESTED, claim
from afli.claims.vocabulary import critical, multiples, names, off_the_edge, place, point


@claim(
    "section-2.1.order-and-chaos",
    r"If $\chi_1 \le 1$ and $\phi$ is not linear, every pair of inputs ends at correlation 1; if $\chi_1 > 1$, every "
    r"pair, however close, ends at $\rho^* < 1$.",
    found="After 2,000 layers the pairs are within {measured} of the predicted limit.",
    at="Figure 2(a, b)",
    mutants={
        "the edge at chi_1 = 1.2": {"edge": 1.2},
        "the edge at chi_1 = 0.8": {"edge": 0.8},
        "after ten layers": {"depth": 10},
    },
)
def order_and_chaos(activations: Sequence[Activation] = TESTED[:3], edge: float = 1.0, depth: int = 2000) -> Evidence:
    starts, factors = np.array([-0.999, -0.5, 0.0, 0.5, 1 - 1e-9]), (0.5, 0.8, 1.0, 1.15, 1.6, 2.5)
    nets = off_the_edge(activations, factors)
    domain = f"{names(activations)}; {multiples(factors)}; pairs that start at -0.999, -0.5, 0, 0.5 and 1 - 1e-9, "
    domain += f"{depth} layers; on the edge, where the approach is slow, within 0.01 of the limit"
    # chi_1 = 1 up to rounding is the edge.
    chaotic = np.array([net.chi1 > edge + 1e-9 for net in nets])
    slow = np.array([abs(net.chi1 - 1) < 1e-9 for net in nets])
    limit = np.where(chaotic, [net.correlation_fixed_point() for net in nets], 1.0)
    ends = np.array([net.correlation_trajectory(starts, depth)[-1] for net in nets])
    at = point(nets)
    at_most(np.where(chaotic, limit, 0.0), 1 - 1e-6, domain=domain, at=at)
    return at_most(
        np.abs(ends - limit[:, None]).max(axis=1), np.where(slow, 0.01, 1e-8), domain=domain, oracle="iteration", at=at
    )


@claim(
    "section-2.1.exponential-off-the-edge",
    r"Off the edge of chaos $q$ and $\rho$ approach their fixed points exponentially: in the end each "
    r"layer multiplies the distance by $V'(q^*)$, and by $\chi_1$ (order) or $R'(\rho^*)$ (chaos), all "
    "below 1.",
    found="Measured and predicted factors differ by {measured} at most.",
    at="after Schoenholz et al., 2017",
    mutants={"on the edge": {"factors": (1.0,)}, "chi_1 on both sides": {"everywhere": True}},
)
def exponential_off_the_edge(
    activations: Sequence[Activation] = TESTED[:3],
    factors: Sequence[float] = (0.6, 0.8, 1.3, 2.0),
    everywhere: bool = False,
) -> Evidence:
    nets = off_the_edge(activations, factors)
    measured, rates = [], []
    for net in nets:
        rest = net.correlation_fixed_point()
        measured.append([_shrinkage(net.correlation_map, 0.3, rest, 1e-7), _variance_shrinkage(net)])
        rates.append([net.chi1 if everywhere or rest == 1.0 else net.correlation_slope(rest), net.variance_slope])
    domain = f"{names(activations)}; {multiples(factors)}"
    at = lambda i: f"{'q' if i[1] else 'rho'}, {place(nets[i[0]])}"  # noqa: E731
    agreed = equal(
        measured, rates, 1e-3, domain=domain, at=at, oracle="ratio of successive distances, within 1e-7 of the limit"
    )
    below(np.abs(rates), 1.0 - 1e-9, domain=domain, at=at)
    return agreed


@claim(
    "section-1.lengths-on-the-edge",
    "For lengths the edge of chaos is not enough: on it they still converge exponentially, by $V'(q^*) < 1$ a layer.",
    claimed="The edge of chaos is necessary so that neither lengths nor correlations converge exponentially.",
    found="Measured factors agree with $V'(q^*)$ to {measured}.",
    at="Section 1, on why the edge of chaos is necessary",
    status="corrected",
    mutants={
        "correlations too": {"of": "rho"},
        "gelu, whose q* repels": {"activations": [act.gelu()]},
        "two per cent faster": {"factor": 0.98},
    },
)
def lengths_on_the_edge(
    activations: Sequence[Activation] = (act.tanh(), act.erf(), act.shtanh(a=1.0), act.elu()),
    of: str = "q",
    factor: float = 1.0,
) -> Evidence:
    nets = [critical(phi) for phi in activations]
    slopes = [net.variance_slope if of == "q" else net.chi1 for net in nets]
    domain = f"{names(activations)}; sigma_b2 = 0.1; ratio of successive distances from q*, and V'(q*)"
    at = point(nets)
    below(slopes, 0.95, domain=domain, at=at)
    shrinkage = [factor * _variance_shrinkage(net) for net in nets]
    return equal(shrinkage, slopes, 1e-3, domain=domain, at=at, oracle="iteration of V from 2 q*")


def _shrinkage(step: Callable[[float], float], start: float, rest: float, near: float) -> float:
    """By what a step multiplies the distance from the fixed point, where iteration first comes so near to it."""
    x = start
    for _ in range(10**4):
        if abs(x - rest) < near:
            break
        x = step(x)
    return (step(x) - rest) / (x - rest)


def _variance_shrinkage(net: mf.MeanField) -> float:
    """From 2 q*, to within 1e-5 q* (W, and so q*, is known to about 1e-13)."""

    def step(q: float) -> float:
        return mf.variance_map(net.phi, q, sigma_w2=net.sigma_w2, sigma_b2=net.sigma_b2)

    return _shrinkage(step, 2 * net.q, net.q, 1e-5 * net.q)

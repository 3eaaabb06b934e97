"""Section 3.1, continued (this companion's own): q* attracts on the class; the plain iteration; gelu's q* repels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

from afli import activations as act
from afli import fixed_points, gaussian
from afli import meanfield as mf
from afli._inputs import Array
from afli.activations import Activation
from afli.claims.domain import BIAS_VARIANCES, FAMILY_MEMBERS, describe
from afli.claims.ledger import LEDGER, Evidence, at_most, equal
from afli.claims.search import odd_piecewise_linear, scaled_bounded_activations
from afli.claims.section_3_1 import OURS, PAGE, critical

STEEP = odd_piecewise_linear([1.0, 2.0], [1.0, 0.0, 100.0], "slopes 1, 0, 100")


@LEDGER.claim(
    "section-3.1.attracts",
    statement="On the edge of chaos of a scaled-bounded phi every variance converges to q*: V(q) is closer than q.",
    source=OURS,
    page=PAGE,
    status="holds, and sharpened",
    mutants={
        "phi neither odd nor bounded (gelu)": {"activations": [act.gelu()]},
        "phi not bounded (slopes 1, 0, 100)": {"activations": [STEEP]},
    },
)
def fixed_point_attracts(activations: Sequence[Activation] | None = None) -> Evidence:
    return _moves_closer(
        activations, lambda net, q: mf.variance_map(net.phi, q, sigma_w2=net.sigma_w2, sigma_b2=net.sigma_b2)
    )


def _moves_closer(activations: Sequence[Activation] | None, map_of: Callable[[mf.MeanField, Array], Array]) -> Evidence:
    """Evidence that a map of the variance brings every q closer to q*: the distance after it over that before, < 1."""
    nets = critical(_class() if activations is None else activations)
    away = np.concatenate([np.geomspace(1e-6, 0.99, 10), np.geomspace(1.01, 1e6, 10)])
    return at_most(
        [np.abs(map_of(net, away * net.q) / net.q - 1) / np.abs(away - 1) for net in nets],
        1.0,
        strict=True,
        domain=f"{_who(activations)}; 20 variances from 1e-6 q* to 1e6 q*",
        at=lambda i: f"q = {away[i[1]]:.4g} q*, {nets[i[0]]!r}",
    )


@LEDGER.claim(
    "section-3.1.variance-slope",
    statement="On the class, with l = a / sqrt(q*): -0.0197 <= V'(q*) <= 1 - 2 l p(l) / erf(l / sqrt 2) if l >= 1, "
    "and |V'(q*)| <= 0.3545 l if l < 1.",
    source=OURS,
    page=PAGE,
    status="holds, and sharpened",
    mutants={
        "-0.013 in place of -0.0197": {"lowest": -0.013},
        "3 l p(l) in place of 2 l p(l)": {"loss": 3.0},
        "0.2 l in place of 0.3545 l": {"small": 0.2},
    },
)
def slope_of_variance_map(lowest: float = -0.0197, loss: float = 2.0, small: float = 0.3545) -> Evidence:
    # Of all that a search over slopes found with l >= 1, the saw tooth at l = 1 is nearest to the lower bound.
    nets = [*critical(_class(), (*BIAS_VARIANCES, 0.65, 10.0, 100.0)), mf.critical_at(act.ssaw(a=1.0), q=1.0)]
    l = np.array([net.phi.linear_radius / np.sqrt(net.q) for net in nets])
    slope = np.array([_numerical_slope(net) for net in nets])
    upper = np.where(l >= 1, 1 - loss * l * gaussian.normal_density(l) / special.erf(l / np.sqrt(2)), small * l)
    lower = np.where(l >= 1, lowest, -small * l)
    # Shtanh attains the upper bound; a central difference is good to 1e-9.
    return at_most(
        [slope - upper, lower - slope],
        1e-9,
        domain=f"{_who(None)}, 0.65, 10, 100; and Ssaw at l = 1",
        oracle="central differences of V",
        at=lambda i: f"{('upper', 'lower')[i[0]]} bound, l = {l[i[1]]:.4g}, {nets[i[1]]!r}",
        values={"lowest": float(slope[l >= 1].min())},
    )


def _numerical_slope(net: mf.MeanField, step: float = 1e-3) -> float:
    """V'(q*) by central differences of fourth order."""
    q = net.q * (1 + step * np.array([-2, -1, 1, 2]))
    values = mf.variance_map(net.phi, q, sigma_w2=net.sigma_w2, sigma_b2=net.sigma_b2)
    return float(np.dot(values, [1, -8, 8, -1]) / (12 * step * net.q))


def _class() -> tuple[Activation, ...]:
    return FAMILY_MEMBERS + scaled_bounded_activations()


def _who(activations: Sequence[Activation] | None) -> str:
    if activations is not None:
        return describe(activations)
    return f"{len(scaled_bounded_activations())} random scaled-bounded phi, and {describe(FAMILY_MEMBERS)}"


# --- The plain iteration ---


def plain_iteration(phi: Activation, sigma_b2: float, start: float, tolerance: float) -> tuple[float, int]:
    """q <- W(q) until a step is smaller than the tolerance: the last q, and the number of steps."""
    q, steps, step = start, 0, np.inf
    while step >= tolerance:
        image = mf.critical_map(phi, q, sigma_b2=sigma_b2)
        q, step, steps = image, abs(image - q), steps + 1
    return q, steps


@LEDGER.claim(
    "section-3.1.plain-iteration",
    statement="For scaled-bounded phi q <- W(q) converges to q* from every q > 0: W(q) is closer to q* than q.",
    source=OURS,
    page=PAGE,
    status="holds, and sharpened",
    mutants={"phi not bounded (slopes 1, 0, 100)": {"activations": [STEEP]}},
)
def plain_iteration_converges(activations: Sequence[Activation] | None = None) -> Evidence:
    return _moves_closer(activations, lambda net, q: mf.critical_map(net.phi, q, sigma_b2=net.sigma_b2))


@LEDGER.claim(
    "section-3.1.plain-iteration-stalls",
    statement="Stopped at a step below t, q <- W(q) is still t W' / (1 - W') away from q*, to 5 per cent.",
    source=OURS,
    page=PAGE,
    mutants={"the error is the size of the last step": {"amplified": False}},
)
def plain_iteration_stalls(tolerance: float = 1e-5, amplified: bool = True) -> Evidence:
    ratios = []
    cases = [(10.0, 1e-4, 100.0), (5.0, 1e-4, 10.0), (10.0, 1e-3, 1.0)]
    for a, sigma_b2, start in cases:
        net = mf.edge_of_chaos(act.shtanh(a), sigma_b2=sigma_b2)
        # 1 - W' = r', and r is known without cancellation.
        flank = fixed_points.bias_variance_at(net.phi, net.q * np.array([0.999, 1.001]))
        one_minus_slope = (flank[1] - flank[0]) / (0.002 * net.q)
        predicted = tolerance * (1 / one_minus_slope - 1) if amplified else tolerance
        found, _ = plain_iteration(net.phi, sigma_b2, start, tolerance)
        ratios.append(abs(found - net.q) / predicted)
    return equal(
        ratios,
        1.0,
        0.05,
        domain="Shtanh; (a, sigma_b2, start) = (10, 1e-4, 100), (5, 1e-4, 10), (10, 1e-3, 1); t = 1e-5",
        at=lambda i: f"(a, sigma_b2, start) = {cases[i[0]]}",
    )


# --- Outside the class ---


@LEDGER.claim(
    "section-3.1.gelu-repels",
    statement="On the edge of gelu (sigma_b2 <= 0.1) and silu (<= 0.5) V'(q*) > 1; from below, q drifts into order.",
    source=OURS,
    page=PAGE,
    mutants={
        "sigma_b2 = 0.3": {"points": ((act.gelu(), 0.3),)},
        "phi = tanh": {"points": ((act.tanh(), 0.01),)},
    },
)
def gelu_repels(points: Sequence[tuple[Activation, float]] | None = None) -> Evidence:
    if points is None:
        points = [(act.gelu(), b) for b in (1e-3, 1e-2, 0.1)] + [(act.silu(), b) for b in (1e-3, 1e-2, 0.1, 0.5)]
    nets = [mf.edge_of_chaos(phi, sigma_b2=b) for phi, b in points]
    domain = ", ".join(f"{phi.name} at {b:g}" for phi, b in points)
    evidence = at_most(
        [1 / _numerical_slope(net) for net in nets],
        1.0,
        strict=True,
        domain=f"{domain}; 1 / V'(q*)",
        oracle="central differences of V",
        at=lambda i: f"1 / V'(q*) of {nets[i[0]]!r}",
    )
    drifted = [mf.MeanField(net.phi, sigma_w2=net.sigma_w2, sigma_b2=net.sigma_b2, start=0.99 * net.q) for net in nets]
    at_most([net.chi1 for net in drifted], 1.0, strict=True, domain=domain, at=lambda i: repr(drifted[i[0]]))
    return evidence

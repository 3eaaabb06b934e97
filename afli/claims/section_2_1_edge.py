"""Section 2.1, continued: order, chaos and the edge between them, by iterating the maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from afli import activations as act
from afli import meanfield as mf
from afli.activations import Activation
from afli.claims.ledger import LEDGER, Evidence, at_most, equal
from afli.claims.section_2_1 import BIAS, PAGE, TESTED, around_the_edge, critical, multiples, names


@LEDGER.claim(
    "section-2.1.order-and-chaos",
    statement="chi_1 <= 1: every pair of inputs ends at correlation 1; chi_1 > 1: every pair, however close, below 1.",
    source="Section 2.1, Figure 2(a, b)",
    page=PAGE,
    mutants={"the edge at chi_1 = 1.2": {"edge": 1.2}, "the edge at chi_1 = 0.8": {"edge": 0.8}},
)
def order_and_chaos(activations: Sequence[Activation] = TESTED[:3], edge: float = 1.0) -> Evidence:
    depth, starts = 1500, np.array([0.0, 0.5, 0.99, 1 - 1e-9])
    nets = around_the_edge(activations, (0.5, 0.8, 1.15, 1.6, 2.5))
    ends = [net.correlation_trajectory(starts, depth)[-1] for net in nets]
    chaotic = np.array([net.chi1 > edge for net in nets])
    domain = (
        f"{names(activations)}; {multiples((0.5, 0.8, 1.15, 1.6, 2.5))}; "
        f"pairs that start at 0, 0.5, 0.99 and 1 - 1e-9, {depth} layers"
    )
    far = np.array(ends)
    # All four pairs must agree on one limit: 1 in order; in chaos rho*, which differs from 1 by more than rounding.
    at_most(np.ptp(far, axis=1), 1e-9, domain=domain, at=lambda i: f"spread of the four pairs, {nets[i[0]]!r}")
    distance = 1 - far.min(axis=1)
    at_most(np.where(chaotic, 1e-6, 0.0), distance, domain=domain, at=lambda i: f"1 - rho, {nets[i[0]]!r}")
    expected = np.where(chaotic, [1 - net.correlation_fixed_point() for net in nets], 0.0)
    return equal(distance, expected, 1e-9, domain=domain, at=lambda i: f"1 - rho, {nets[i[0]]!r}", oracle="iteration")


@LEDGER.claim(
    "section-2.1.exponential-off-the-edge",
    statement="Off the edge of chaos q and rho approach their fixed points exponentially: each layer, in "
    "the end, multiplies the distance by V'(q*), and by chi_1 (order) or R'(rho*) (chaos), all below 1.",
    source="Section 2.1 (after Schoenholz et al., 2017)",
    page=PAGE,
    mutants={"on the edge": {"factors": (1.0,)}},
)
def exponential_off_the_edge(
    activations: Sequence[Activation] = TESTED[:3], factors: Sequence[float] = (0.6, 0.8, 1.3, 2.0)
) -> Evidence:
    nets = around_the_edge(activations, factors)
    measured, rates = [], []
    for net in nets:
        rest = net.correlation_fixed_point()
        measured.append([_shrinkage(net, rest), _variance_shrinkage(net)])
        rates.append([net.chi1 if rest == 1.0 else net.correlation_slope(rest), net.variance_slope])
    domain = f"{names(activations)}; {multiples(factors)}"
    at_most(
        np.abs(rates),
        1.0,
        strict=True,
        domain=domain,
        at=lambda i: f"{'rate of q' if i[1] else 'rate of rho'}, {nets[i[0]]!r}",
    )
    return equal(
        measured,
        rates,
        1e-3,
        domain=domain,
        at=lambda i: f"{'q' if i[1] else 'rho'}, {nets[i[0]]!r}",
        oracle="ratio of successive distances, within 1e-7 of the fixed point",
    )


def _shrinkage(net: mf.MeanField, rest: float) -> float:
    """(rho* - R(rho)) / (rho* - rho) where iteration from 0.3 first comes within 1e-7 of rho*."""
    rho = 0.3
    for _ in range(10**4):
        if abs(rest - rho) < 1e-7:
            break
        rho = net.correlation_map(rho)
    return 1 - net.correlation_gap(rho) / (rest - rho)


def _variance_shrinkage(net: mf.MeanField) -> float:
    """The same for the variance, from 2 q*, to within 1e-5 q* (W, and so q*, is known to about 1e-13)."""
    q = 2 * net.q
    for _ in range(10**4):
        after = mf.variance_map(net.phi, q, sigma_w2=net.sigma_w2, sigma_b2=net.sigma_b2)
        if abs(q - net.q) < 1e-5 * net.q:
            break
        q = after
    return (after - net.q) / (q - net.q)


@LEDGER.claim(
    "section-2.1.smooth-rate",
    statement="On the edge of chaos, for activations whose slope is continuous (tanh, elu, swish), 1 - rho falls like "
    "2 / (R''(1) l): as O(1/l).",
    source="Section 2.1 (after Hayou et al., 2019); the constant is this companion's",
    page=PAGE,
    mutants={"a kinked activation (hard tanh)": {"activations": (act.shtanh(a=1.0),)}, "O(1/l^2)": {"exponent": 0.5}},
)
def smooth_rate(
    activations: Sequence[Activation] = (act.tanh(), act.elu(), act.silu()), exponent: float = 1.0
) -> Evidence:
    nets = [critical(phi) for phi in activations]
    curvature = [_curvature_at_one(net) for net in nets]
    measured = []
    for net in nets:
        early, late = _growth(net, exponent, (500, 1000), (2000, 4000))
        measured.append(2 * late - early)  # elu's bend at zero adds a term in 1/sqrt(l), which this removes
    return equal(
        np.array(measured) / np.array(curvature),
        0.5,
        0.01,
        domain=f"{names(activations)}; sigma_b2 = {BIAS:g}; growth of 1/(1 - rho) per layer relative to R''(1), "
        "extrapolated from layers 500 to 1000 and 2000 to 4000; 0.01 allowed",
        at=lambda i: nets[i[0]].phi.name,
        oracle="iteration of R from rho = 0",
    )


def _curvature_at_one(net: mf.MeanField) -> float:
    """R''(1) = sigma_w2 q E phi''^2 by the trapezoidal rule, with phi'' as a difference of phi': good to 1e-4 here."""
    u, step = np.linspace(-10, 10, 200001, retstep=True)
    slope = net.phi.gradient(np.sqrt(net.q) * u)
    density = np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi)
    return net.sigma_w2 * float(np.sum(density * np.gradient(slope, step) ** 2)) * step


def _growth(net: mf.MeanField, exponent: float, *windows: tuple[int, int]) -> list[float]:
    """Mean growth per layer of (1 - rho)^(-exponent) between the two depths of each window."""
    distance, distances = 1.0, [1.0]
    for _ in range(windows[-1][1]):
        distance -= net.correlation_gap(1 - distance)
        distances.append(distance)
    power = np.array(distances) ** -exponent
    return [float(power[last] - power[first]) / (last - first) for first, last in windows]


@LEDGER.claim(
    "section-2.1.kinked-rate",
    statement="On the edge of chaos, for activations with a kink (ReLU and its kind), 1 - rho falls like 9 / (c l)^2, "
    "c = sigma_w2 sqrt(q*/pi) sum_i J_i^2 p_q(d_i): as O(1/l^2).",
    source="Section 2.1 (after Hayou et al., 2019); the constant is this companion's",
    page=PAGE,
    mutants={"O(1/l)": {"exponent": 1.0}, "c / 2 in place of c / 3": {"divisor": 2.0}},
)
def kinked_rate(
    activations: Sequence[Activation] = (act.relu(), act.leaky_relu(0.2), act.shtanh(a=1.0), act.ssaw(a=1.0)),
    exponent: float = 0.5,
    divisor: float = 3.0,
) -> Evidence:
    nets = [critical(phi) for phi in activations]
    constant = []
    for net in nets:
        jumps, kinks = np.diff(np.array(net.phi.piece_slopes)), np.array(net.phi.kinks)
        density = np.exp(-(kinks**2) / (2 * net.q)) / np.sqrt(2 * np.pi * net.q)
        constant.append(net.sigma_w2 * np.sqrt(net.q / np.pi) * np.sum(jumps**2 * density))
    measured = np.array([_growth(net, exponent, (2000, 4000))[0] for net in nets])
    return equal(
        measured / np.array(constant),
        1 / divisor,
        0.01 / divisor,
        domain=f"{names(activations)}; sigma_b2 = {BIAS:g} (0 for relu and leaky_relu); growth of "
        "(1 - rho)^(-1/2) per layer over layers 2000 to 4000, relative to c; one per cent allowed",
        at=lambda i: nets[i[0]].phi.name,
        oracle="iteration of R from rho = 0",
    )

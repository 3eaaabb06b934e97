"""Appendix B.6: how fast correlations converge with depth on the edge of chaos, and what a jump of phi' changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from afli import activations as act
from afli import gaussian
from afli import meanfield as mf
from afli.activations import Activation
from afli.claims.ledger import LEDGER, Evidence, at_most, equal

PAGE = "B_6_convergence_with_depth"
Q = (0.1, 0.2, 0.5, 1.0)
RHO_0 = (0.01, 0.6)
SMOOTH = (act.tanh(), act.elu(), act.gelu(), act.silu())
KINKED = (act.relu(), act.abs_(), act.shtanh(1.0), act.selu())
DEPTH = 4000


def slope_jumps(phi: Activation) -> NDArray[np.float64]:
    """J_i, the jump of phi' at each of phi.kinks; zero where only phi'' jumps, as in elu."""
    kinks = np.array(phi.kinks)
    jumps = phi.gradient(np.nextafter(kinks, np.inf)) - phi.gradient(np.nextafter(kinks, -np.inf))
    return np.where(np.abs(jumps) > 1e-9, jumps, 0.0)


def curvature(net: mf.MeanField, step: float = 1e-4) -> float:
    """R''(1) = sigma_w2 q* E phi''(U)^2 for phi' without jumps; phi'' by central differences of phi'."""
    phi = net.phi
    near = [d + s for d in phi.kinks for s in (-step, step)]
    second = gaussian.expectation(
        lambda u: ((phi.gradient(u + step) - phi.gradient(u - step)) / (2 * step)) ** 2,
        net.q,
        kinks=near,
        scale=phi.scale,
    )
    return net.sigma_w2 * net.q * float(second)


def kink_constant(net: mf.MeanField) -> float:
    """c = sigma_w2 sqrt(q* / pi) sum_i J_i^2 p_q*(d_i): 1 - R'(rho) is about c sqrt(1 - rho) near rho = 1."""
    root = np.sqrt(net.q)
    density = gaussian.normal_density(np.array(net.phi.kinks) / root) / root
    return float(net.sigma_w2 * root / np.sqrt(np.pi) * np.sum(slope_jumps(net.phi) ** 2 * density))


def predicted_distance(net: mf.MeanField, rho0: float, depth: NDArray[np.float64], share: float = 1 / 3) -> NDArray:
    """1 - rho_l to leading order: (1 - rho_0)^(-1/2) grows by c / 3 a layer, or (1 - rho_0)^(-1) by R''(1) / 2."""
    if np.any(slope_jumps(net.phi)):
        return ((1 - rho0) ** -0.5 + share * kink_constant(net) * depth) ** -2.0
    return 1 / (1 / (1 - rho0) + curvature(net) / 2 * depth)


def _networks(activations: Sequence[Activation], q: Sequence[float]) -> list[mf.MeanField]:
    return [mf.critical_at(phi, q=v) for phi in activations for v in q]


def _names(activations: Sequence[Activation], q: Sequence[float]) -> str:
    return f"{', '.join(phi.name for phi in activations)}; q* = {', '.join(f'{v:g}' for v in q)}"


def _rate(
    activations: Sequence[Activation], q: Sequence[float], exponent: float, room: float, share: float = 1 / 3
) -> Evidence:
    """1 - rho_l falls like depth^exponent between layers 2000 and 4000, and has the predicted size, up to `room`."""
    nets = _networks(activations, q)
    distance = np.array([1 - net.correlation_trajectory(np.array(RHO_0), DEPTH)[[DEPTH // 2, DEPTH]] for net in nets])
    domain = f"{_names(activations, q)}; rho_0 = 0.01, 0.6; the exponent between layers 2000 and 4000"
    predicted = [[predicted_distance(net, rho, np.array(DEPTH), share) for rho in RHO_0] for net in nets]
    evidence = equal(
        np.log2(distance[:, 1] / distance[:, 0]),
        exponent,
        0.05,  # the limit is that of infinite depth; rates 1 / l and 1 / l^2 differ by 1
        domain=domain,
        oracle="iterated correlation map",
        at=lambda i: f"exponent from rho_0 = {RHO_0[i[1]]:g}, {nets[i[0]]!r}",
    )
    equal(
        distance[:, 1] / np.array(predicted),
        1.0,
        room,
        domain=domain,
        at=lambda i: f"1 - rho_l over its prediction from rho_0 = {RHO_0[i[1]]:g}, {nets[i[0]]!r}",
    )
    return evidence


@LEDGER.claim(
    "section-b.6.rates-smooth",
    statement="On the edge of chaos 1 - rho_l falls like 1 / l where phi' does not jump, and is about 2 / (R''(1) l).",
    source="Section 2.1 and Appendix B.6 (the rate), this companion (the size)",
    page=PAGE,
    mutants={"phi' with a jump (hard tanh)": {"activations": [act.shtanh(1.0)]}, "1 / l^2": {"exponent": -2.0}},
)
def smooth_rate(
    activations: Sequence[Activation] = SMOOTH, q: Sequence[float] = (0.5, 1.0), exponent: float = -1.0
) -> Evidence:
    return _rate(activations, q, exponent, 0.07)  # elu nears the limit slowly, like l^(-1/2)


@LEDGER.claim(
    "section-b.6.rates-kinked",
    statement="Where phi' jumps, 1 - rho_l falls like 1 / l^2: it is about [(1 - rho_0)^(-1/2) + c l / 3]^(-2).",
    source="Section 2.1 and Appendix B.6 (the rate), this companion (the size)",
    page=PAGE,
    mutants={
        "phi' without a jump (tanh)": {"activations": [act.tanh()]},
        "c l / 2 in place of c l / 3": {"share": 0.5},
    },
)
def kinked_rate(
    activations: Sequence[Activation] = KINKED, q: Sequence[float] = (0.5, 1.0), share: float = 1 / 3
) -> Evidence:
    return _rate(activations, q, -2.0, 0.02, share)


@LEDGER.claim(
    "section-b.6.smaller-q",
    statement="For tanh, hard tanh, elu, gelu, silu a smaller q* is slower: rho_l rises with q* in every layer.",
    source="Appendix B.6",
    page=PAGE,
    mutants={"phi = ReLU": {"activations": [act.relu()]}, "phi = the modulus": {"activations": [act.abs_()]}},
)
def smaller_is_slower(activations: Sequence[Activation] = (*SMOOTH, act.shtanh(1.0))) -> Evidence:
    paths = np.array(
        [[mf.critical_at(phi, q=v).correlation_trajectory(np.array(RHO_0), 100)[1:] for v in Q] for phi in activations]
    )  # (activation, q, layer, rho_0)
    return at_most(
        -np.diff(paths, axis=1),
        0.0,
        strict=True,
        domain=f"{_names(activations, Q)}; rho_0 = 0.01, 0.6; layers 1 to 100; rho_l at one q* minus that at the next",
        at=lambda i: f"layer {i[2] + 1}, rho_0 = {RHO_0[i[3]]:g}, q* = {Q[i[1]]:g}, {activations[i[0]].name}",
    )

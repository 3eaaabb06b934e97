"""Appendix B.6: how fast correlations converge with depth on the edge of chaos, and what a jump of phi' changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from afli import activations as act
from afli import gaussian, rates
from afli import meanfield as mf
from afli.activations import Activation
from afli.claims.comparisons import Evidence, at_most, equal, rising
from afli.claims.ledger import on
from afli.claims.vocabulary import FAMILY_MEMBERS, OURS, describe, names, networks, point
from afli.pieces import random_scaled_bounded

claim = on("B_6_convergence_with_depth", "Section 2.1 and Appendix B.6")

Q = (0.1, 0.2, 0.5, 1.0)
RHO_0 = (0.01, 0.6)
SMOOTH = (act.tanh(), act.elu(), act.gelu(), act.silu())
KINKED = (act.relu(), act.abs_(), act.leaky_relu(0.2), act.shtanh(1.0), act.ssaw(1.0), act.selu())


def _names(activations: Sequence[Activation], q: Sequence[float]) -> str:
    return f"{names(activations)}; q* = {', '.join(f'{v:g}' for v in q)}"


@lru_cache(maxsize=64)
def _network(phi: Activation, q: float) -> mf.MeanField:
    return mf.critical_at(phi, q=q)


@lru_cache(maxsize=64)
def _distances(net: mf.MeanField) -> NDArray[np.float64]:
    """1 - rho in layers 0 to 4000, from orthogonal inputs."""
    return 1 - net.correlation_trajectory(0.0, 4000)


def _growth(net: mf.MeanField, power: float) -> list[float]:
    """Mean growth per layer of (1 - rho)^(-power) over layers 500 to 1000, and 2000 to 4000."""
    grown = _distances(net) ** -power
    return [(grown[2 * layer] - grown[layer]) / layer for layer in (500, 2000)]


def _rate(activations: Sequence[Activation], power: float, per_layer: Callable[[mf.MeanField], float]) -> Evidence:
    """(1 - rho)^(-power) grows by a constant a layer, in the limit of depth."""
    nets = [_network(phi, q) for phi in activations for q in (0.5, 1.0)]
    ratios = []
    for net in nets:
        early, late = _growth(net, power)
        limit = 2 * late - early  # a bend of phi' as in elu adds a term in 1 / sqrt(l), which this removes
        expected = per_layer(net)
        ratios.append(limit / expected if expected else np.inf)
    domain = (
        f"{_names(activations, (0.5, 1.0))}; growth of (1 - rho)^-{power:g} a layer, over its prediction, "
        "extrapolated from layers 500 to 4000; 0.01 allowed"
    )
    return equal(ratios, 1.0, 0.01, domain=domain, oracle="iteration of R from rho = 0", at=point(nets))


@claim(
    "section-b.6.rates-smooth",
    r"On the edge of chaos $1 - \rho^{(l)}$ falls like $2/(R''(1)\, l)$ where $\phi'$ is the integral of $\phi''$ and "
    r"$\E\phi''^2$ is finite.",
    found="Measured and predicted growth differ by {measured:.1%} at most; {bound:.0%} is allowed.",
    at="after Hayou et al. (2019), whose constant it is",
    formerly=("section-2.1.smooth-rate",),
    mutants={
        "phi' with a jump (hard tanh)": {"activations": [act.shtanh(1.0)]},
        "1 / l^2": {"power": 0.5},
        "R'' of a q* five per cent larger": {"stretch": 1.05},
    },
)
def smooth_rate(activations: Sequence[Activation] = SMOOTH, power: float = 1.0, stretch: float = 1.0) -> Evidence:
    def per_layer(net: mf.MeanField) -> float:
        if rates.slope_jumps(net.phi).any():
            return np.inf
        return rates.curvature(mf.critical_at(net.phi, q=stretch * net.q)) / 2

    return _rate(activations, power, per_layer)


@claim(
    "section-b.6.rates-kinked",
    r"Where $\phi'$ has jumps $J_i$ at $d_i$, $1 - \rho^{(l)}$ falls like $9/(c l)^2$, $c = \sigma_w^2 "
    r"\sqrt{q^*/\pi} \sum_i J_i^2 p_{q^*}(d_i)$; $p_q$ is the normal density of variance $q$.",
    found="Measured and predicted growth differ by {measured:.1%} at most; {bound:.0%} is allowed.",
    at="after Hayou et al. (2019), who have the rate, and the constant for ReLU; here for kinks in general",
    formerly=("section-2.1.kinked-rate",),
    mutants={
        "phi' without a jump (tanh)": {"activations": [act.tanh()]},
        "1 / l": {"power": 1.0},
        "c / 2 in place of c / 3": {"share": 0.5},
    },
)
def kinked_rate(activations: Sequence[Activation] = KINKED, power: float = 0.5, share: float = 1 / 3) -> Evidence:
    return _rate(activations, power, lambda net: share * rates.kink_constant(net))


@claim(
    "section-b.6.smaller-q",
    r"For tanh, hard tanh, elu, gelu and silu and $q^* \le 1$ a smaller $q^*$ is slower: $\rho^{(l)}$ rises "
    "with $q^*$ in every layer.",
    claimed="A smaller $q^*$ slows the first layers.",
    found="The order of the four $q^*$ holds in each of 100 layers.",
    at="Appendix B.6",
    status="holds under a condition",
    mutants={
        "phi = ReLU": {"activations": [act.relu()]},
        "phi = the modulus": {"activations": [act.abs_()]},
    },
)
def smaller_is_slower(activations: Sequence[Activation] = (*SMOOTH, act.shtanh(1.0))) -> Evidence:
    paths = np.array(
        [[mf.critical_at(phi, q=v).correlation_trajectory(np.array(RHO_0), 100)[1:] for v in Q] for phi in activations]
    )  # (activation, q, layer, rho_0)
    return rising(
        paths,
        axis=1,
        domain=f"{_names(activations, Q)}; rho_0 = 0.01, 0.6; layers 1 to 100; rho_l at one q* minus that at the next",
        at=lambda i: f"layer {i[2] + 1}, rho_0 = {RHO_0[i[3]]:g}, q* = {Q[i[1]]:g}, {activations[i[0]].name}",
    )


@claim(
    "section-3.2.no-smooth-member",
    r"No scaled-bounded $\phi$ has a continuous derivative. Where $\phi'$ has limits on both sides it jumps by at "
    r"least $k$ at $\pm a$, so $c \ge 2 p(\ell)/\sqrt{\pi}$ with $\ell = a/\sqrt{q^*}$: the faster rate, $1/l^2$.",
    found=("Over the families and 100 random members the bound is never passed; the nearest comes within {margin}."),
    ours="on the fourth property, Section 3.2",
    status=OURS,
    mutants={"a jump of 1.1 k": {"least": 1.1}, "c >= 2.2 p(l) / sqrt(pi)": {"factor": 2.2}},
)
def no_smooth_member(least: float = 1.0, factor: float = 2.0) -> Evidence:
    members = (*FAMILY_MEMBERS, *random_scaled_bounded(np.random.default_rng(6), 100))
    domain = f"{describe(FAMILY_MEMBERS)}; 100 random members"
    jumps = [np.abs(rates.slope_jumps(phi)[np.isclose(np.abs(phi.kinks), phi.linear_radius)]).min() for phi in members]
    at_most(least - 1e-7, jumps, domain=domain, at=point(members))
    nets = networks(members)
    bound = [factor * gaussian.normal_density(net.phi.linear_radius / np.sqrt(net.q)) / np.sqrt(np.pi) for net in nets]
    return at_most(np.array(bound) / [rates.kink_constant(net) for net in nets], 1.0, domain=domain)

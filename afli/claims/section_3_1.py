"""Section 3.1: the critical map W has a fixed point (Lemma 3.1); it is the only one, and well conditioned (ours)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import special

from afli import activations as act
from afli import fixed_points
from afli import meanfield as mf
from afli._inputs import Array
from afli.activations import Activation
from afli.claims.comparisons import Evidence, at_most, below, equal
from afli.claims.ledger import on
from afli.claims.vocabulary import BIAS_VARIANCES, FAMILY_MEMBERS, OURS, describe, names, networks, point
from afli.errors import NoFixedPointError
from afli.pieces import jumping_clip, wild

claim = on("3_1_fixed_point", "Section 3.1")

JUMP = jumping_clip(6.0, at=10.0)
NOT_ODD = (act.elu(), act.selu(), act.gelu(), act.silu())
LIFTED = (act.softplus(), act.sigmoid())  # phi(0) is not 0


def second_moments(phi: Activation, q: Array | float) -> tuple[Array, Array]:
    """E phi^2 and E phi'^2, each by quadrature of its own integrand: a second route to W."""
    square, slope2 = phi.mean(lambda u: phi.function(u) ** 2, q), phi.mean(lambda u: phi.gradient(u) ** 2, q)
    return np.asarray(square), np.asarray(slope2)


# --- The paper's statements ---


@claim(
    "lemma-3.1",
    r"For scaled-bounded $\phi$ and $\sigma_b^2 > 0$ the map $q \mapsto \E\phi^2/\E\phi'^2 + \sigma_b^2$ "
    "has a fixed point $q^* > 0$.",
    found="In all {cases} networks $W(q) - q$ changes its sign between the two ends of the proof.",
    at="Lemma 3.1, eq. (18)",
    mutants={"phi without the bound (ReLU)": {"activations": [act.relu()]}, "sigma_b2 = 0": {"sigma_b2": (0.0,)}},
)
def fixed_point_exists(
    activations: Sequence[Activation] = FAMILY_MEMBERS, sigma_b2: Sequence[float] = BIAS_VARIANCES
) -> Evidence:
    # W is continuous, so a fixed point lies between a q with W(q) > q and one with W(q) < q. No root is computed.
    cases = [(phi, b) for phi in activations for b in sigma_b2]
    rise = []
    for phi, b in cases:
        ends = np.array([b / 2, 100 * (phi.linear_radius**2 + b + 1)])  # by (28) W is below q at the second
        square, slope2 = second_moments(phi, ends)
        rise.append((square / slope2 + b - ends) * [-1, 1])
    return below(
        rise,
        0.0,
        domain=f"{describe(activations, sigma_b2)}; q - W(q) at q = sigma_b2 / 2, W(q) - q at 100 (a^2 + sigma_b2 + 1)",
        oracle="quadrature of phi^2 and of phi'^2",
        at=lambda i: f"{cases[i[0]][0].name}, sigma_b2 = {cases[i[0]][1]:g}",
    )


@claim(
    "corollary-3.1.1",
    r"With $\sigma_w^2 = 1/\E\phi'(\sqrt{q^*} Z)^2$ both $V(q^*) = q^*$ and $\chi_1 = 1$.",
    found=r"In all {cases} networks $V(q^*)/q^*$ and $\chi_1$ are 1 to {measured}.",
    at="Corollary 3.1.1, eq. (19)",
    mutants={"sigma_w2 one per cent larger": {"weights": 1.01}, "q* one per cent larger": {"factor": 1.01}},
)
def critical_point(
    activations: Sequence[Activation] = FAMILY_MEMBERS, weights: float = 1.0, factor: float = 1.0
) -> Evidence:
    nets = networks(activations)
    found = []
    for net in nets:
        square, slope2 = second_moments(net.phi, factor * net.q)
        sigma_w2 = weights * net.sigma_w2
        found.append(((sigma_w2 * square + net.sigma_b2) / (factor * net.q), sigma_w2 * slope2))
    return equal(
        found,
        1.0,
        1e-12,
        domain=f"{describe(activations)}; V(q*) / q* and chi_1",
        oracle="quadrature of phi^2 and of phi'^2",
        at=point(nets, ("V(q*) / q*", "chi_1")),
    )


@claim(
    "eq-28",
    r"$\E\phi^2 \le a^2 k^2$ and $\E\phi'^2 \ge k^2 \operatorname{erf}(a/\sqrt{2q})$, so $W(q) \le "
    r"a^2/\operatorname{erf}(a/\sqrt{2q}) + \sigma_b^2$.",
    found="Each of the three holds at 61 variances.",
    at="proof of Lemma 3.1, eqs. (26) to (28)",
    mutants={
        "|phi| exceeds a k (Ssine, a = 0.3)": {"activations": [act.ssine(0.3)]},
        "erf(a / sqrt(q)) in place of erf(a / sqrt(2 q))": {"inside": 1.0},
    },
)
def bound_of_critical_map(activations: Sequence[Activation] = FAMILY_MEMBERS, inside: float = 2.0) -> Evidence:
    q = np.geomspace(1e-4, 1e6, 61)
    ratios = []
    for phi in activations:
        square, slope2 = second_moments(phi, q)
        a, k, share = phi.linear_radius, phi.slope, special.erf(phi.linear_radius / np.sqrt(inside * q))
        ratios.append([square / (a * k) ** 2, k**2 * share / slope2, (square / slope2) / (a**2 / share)])
    # Shtanh attains (27), and with it the ratio 1, so rounding needs room.
    return at_most(
        ratios,
        1 + 1e-13,
        domain=f"{names(activations)}; 61 variances q in [1e-4, 1e6]; each side of (26), (27), (28) over the other",
        at=lambda i: f"eq. ({26 + i[1]}), q = {q[i[2]]:.3g}, {activations[i[0]].name}",
    )


@claim(
    "section-3.1.relu",
    r"For ReLU, leaky ReLU and the modulus $W(q) = q + \sigma_b^2$: there is no fixed point unless "
    r"$\sigma_b^2 = 0$.",
    found=r"At 13 variances $W(q) - \sigma_b^2$ equals $q$ to {measured}.",
    at="below Corollary 3.1.1",
    mutants={"phi = elu": {"activations": [act.elu()]}, "sigma_b2 = 0": {"sigma_b2": 0.0}},
)
def relu_has_no_fixed_point(
    activations: Sequence[Activation] = (act.relu(), act.leaky_relu(0.2), act.abs_()), sigma_b2: float = 0.1
) -> Evidence:
    def exists(phi: Activation) -> bool:
        try:
            return bool(mf.edge_of_chaos(phi, sigma_b2=sigma_b2))
        except NoFixedPointError:
            return False

    q = np.geomspace(1e-3, 1e3, 13)
    moments = [second_moments(phi, q) for phi in activations]
    identity = equal(
        [square / slope2 / q for square, slope2 in moments],
        1.0,
        1e-12,
        domain=f"{describe(activations, (sigma_b2,))}; 13 variances q in [1e-3, 1e3], W(q) - sigma_b2 over q",
        oracle="quadrature of phi^2 and of phi'^2",
        at=point(activations, q=q),
    )
    at_most([exists(phi) for phi in activations], 0, domain="critical networks found", at=point(activations))
    return identity


# --- What the paper leaves open: uniqueness and conditioning ---


@lru_cache
def everyone() -> tuple[Activation, ...]:
    """Whom uniqueness is searched over: random functions, odd, not odd, and not zero at 0; and the usual ones."""
    rng = np.random.default_rng(31)
    return (*wild(rng, 200), *wild(rng, 100, odd=False), *wild(rng, 100, odd=False, lifted=True), *NOT_ODD, *LIFTED)


_EVERYONE = (
    "400 random piecewise-linear phi, half of them not odd, a quarter with phi(0) not 0; elu, selu, gelu, silu, "
    "softplus, sigmoid; 100 variances q from far below the first kink to far above the last"
)


def _scan(phi: Activation) -> Array:
    knots = np.abs(phi.kinks)
    low, high = (min(knots[knots > 0]), max(knots)) if len(knots[knots > 0]) else (0.5, 5.0)
    return np.geomspace((low / 5) ** 2, (20 * high) ** 2, 100)


@lru_cache(maxsize=1024)
def excess(phi: Activation) -> Array:
    """r(q) = q - E phi^2 / E phi'^2 on the scan; the library's formula without cancellation needs a continuous phi."""
    q = _scan(phi)
    if phi is JUMP:
        square, slope2 = second_moments(phi, q)
        return q - square / slope2
    return fixed_points.bias_variance_at(phi, q)


@claim(
    "section-3.1.unique",
    r"Let $r(q) = q - \E\phi^2/\E\phi'^2$. For every locally absolutely continuous $\phi$, odd or not, with "
    r"$\E\phi'^2$ finite and not 0, $r(q)/\sqrt{q}$ increases, so there is at most one $q^*$ for each $\sigma_b^2 > 0$,"
    r" where $r = \sigma_b^2$. If $\phi(0) = 0$ then $r > 0$, and there is one. The exception is a $\phi$ that is "
    "linear on both half-lines.",
    found=r"For {cases} $\phi$, all but six of them random, $r/\sqrt{q}$ rises at every step of $q$.",
    ours="Section 3.1 leaves it open",
    status=OURS,
    mutants={
        "phi with a jump": {"activations": [JUMP]},
        "linear on both half-lines (ReLU)": {"activations": [act.leaky_relu(0.2)]},
        "phi(0) = ln 2 (softplus), existence": {"vanishing": [act.softplus()]},
    },
)
def fixed_point_is_unique(
    activations: Sequence[Activation] | None = None, vanishing: Sequence[Activation] | None = None
) -> Evidence:
    searched = everyone() if activations is None else activations
    growth = [excess(phi) / np.sqrt(_scan(phi)) for phi in searched]
    with np.errstate(invalid="ignore"):  # 0 / 0 on both half-lines linear, and NaN never passes
        fall = [-np.diff(g) / np.abs(g[1:]) for g in growth]
    risen = below(
        fall,
        0.0,
        domain=f"{_EVERYONE}; relative fall of r / sqrt(q)",
        at=lambda i: f"q = {_scan(searched[i[0]])[i[1]]:.4g}, {searched[i[0]].name}",
    )
    from_zero = [phi for phi in searched if phi(0.0) == 0.0] if vanishing is None else vanishing
    below([-excess(phi) for phi in from_zero], 0.0, domain=_EVERYONE, at=point(from_zero))
    return risen


@claim(
    "section-3.1.condition-number",
    r"For every such $\phi$, $q^*$ is well conditioned: $dq^*/d\sigma_b^2 \le 2 q^*/\sigma_b^2$.",
    found="The largest condition number of the search is {measured:.3f}.",
    ours="Section 3.1 leaves it open",
    status=OURS,
    mutants={"1.99 in place of 2": {"bound": 1.99}},
)
def fixed_point_is_well_conditioned(bound: float = 2.0) -> Evidence:
    # sigma_b2 = r(q*), so the elasticity of q* is one over that of r, where r > 0.
    searched = [(phi, r > 0) for phi in everyone() for r in [excess(phi)] if (r > 0).sum() > 1]
    elasticity = [np.max(np.diff(np.log(_scan(p)[on])) / np.diff(np.log(excess(p)[on]))) for p, on in searched]
    return at_most(elasticity, bound, domain=_EVERYONE, at=point([phi for phi, _ in searched]))

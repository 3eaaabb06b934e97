"""Section 3.4: the ratio l = a / sqrt(q*) of linear radius to standard deviation, against y = sigma_b2 / a^2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import special

from afli import bounds, gaussian
from afli import meanfield as mf
from afli._inputs import Array
from afli.activations import Activation, shtanh
from afli.claims.comparisons import Evidence, at_most, below, equal
from afli.claims.ledger import on
from afli.claims.vocabulary import BIAS_VARIANCES, FAMILY_MEMBERS, OURS, RADII, describe, networks, point
from afli.pieces import odd_piecewise_linear, random_scaled_bounded, through_heights, zigzag

claim = on("3_4_linear_region", "Section 3.1")

MEMBERS = (*FAMILY_MEMBERS, *random_scaled_bounded(np.random.default_rng(34), 60), zigzag(0.1, reach=12.0))
UNBOUNDED = odd_piecewise_linear([1.0], [1.0, 0.9], name="slope 0.9 beyond a")
STEEP = zigzag(0.5, reach=3.0, steepness=20.0)


def ratios(activations: Sequence[Activation]) -> tuple[Array, Array]:
    """(y, l) of the critical network of every activation at every bias variance: arrays (activations, variances)."""
    nets = networks(activations)
    y = np.array([net.sigma_b2 / net.phi.linear_radius**2 for net in nets])
    ratio = np.array([net.phi.linear_radius / np.sqrt(net.q) for net in nets])
    return y.reshape(len(activations), -1), ratio.reshape(len(activations), -1)


def members_domain(activations: Sequence[Activation]) -> str:
    """The domain in words."""
    if tuple(activations[: len(FAMILY_MEMBERS)]) != FAMILY_MEMBERS or len(activations) == len(FAMILY_MEMBERS):
        return describe(activations)
    others = len(activations) - len(FAMILY_MEMBERS)
    return f"{describe(FAMILY_MEMBERS)}; and {others} random or zigzag members of the class at the same sigma_b2"


def over(activations: Sequence[Activation]) -> dict[str, Any]:
    """What a comparison says of an array (activations, bias variances): its domain, and the place of an entry."""
    return {"domain": members_domain(activations), "at": point(activations, sigma_b2=BIAS_VARIANCES)}


# --- As printed ---


@claim(
    "lemma-3.4",
    r"On the edge of chaos $\nu(y) < a/\sqrt{q^*} < (8/\pi)^{1/6} y^{-1/3}$, where $y = \sigma_b^2/a^2$.",
    found=(
        "Over the four families and 61 random members, at five bias variances, the nearest comes to "
        "{measured:.1%} of a bound."
    ),
    at="Lemma 3.4, eq. (23)",
    mutants={
        "|phi| <= a k dropped (slope 0.9 beyond a)": {"activations": [UNBOUNDED]},
        "|phi'| <= k dropped (slopes of 20)": {"activations": [STEEP]},
        "delta in place of nu": {"lower": lambda y: bounds.tangent_point(y)[0]},
        "constant 0.85 in place of (8/pi)^(1/6)": {"constant": 0.85},
    },
)
def linear_ratio(
    activations: Sequence[Activation] = MEMBERS,
    lower: Callable[[Array], Array] = lambda y: bounds.linear_ratio(y)[0],
    constant: float = (8 / np.pi) ** (1 / 6),
) -> Evidence:
    y, ratio = ratios(activations)
    from_below = below(lower(y) / ratio, **over(activations))
    from_above = below(ratio / (constant * y ** (-1 / 3)), **over(activations))
    return min(from_below, from_above, key=lambda evidence: evidence.margin)


@claim(
    "section-3.4.nu-valid-for-all-y",
    r"$\nu(y)$ is a lower bound for every $y > 0$: $g(\nu) > (1 - y) \operatorname{erfc}(\nu/\sqrt 2) + "
    "y$.",
    found=(
        "At {cases} values of $y$ from $10^{-300}$ to $10^{150}$ the inequality holds; the least relative "
        "distance is {margin}."
    ),
    ours="the printed proof inspects a range of y",
    status=OURS,
    mutants={
        "delta in place of nu": {"candidate": lambda y: bounds.tangent_point(y)[0]},
        "nu one per cent larger": {"candidate": lambda y: 1.01 * bounds.linear_ratio(y)[0]},
    },
)
def nu_for_all_y(candidate: Callable[[Array], Array] = lambda y: bounds.linear_ratio(y)[0]) -> Evidence:
    y = np.logspace(-300, 150, 18001)
    nu = candidate(y)
    # Both sides times exp(nu^2 / 2), so that nothing underflows; erfcx(x) = exp(x^2) erfc(x).
    with np.errstate(over="ignore", under="ignore"):
        right = special.erfcx(nu / np.sqrt(2)) + y * np.exp(0.5 * nu**2) * special.erf(nu / np.sqrt(2))
    share = right * nu / np.sqrt(2 / np.pi)
    domain = f"{len(y)} values of y from 1e-300 to 1e150, equally spaced in log y"
    return below(share, 1.0, domain=domain, at=point(y=y))


# --- Sharp ---


@claim(
    "eq-34",
    r"$g(\ell) \le (1 - y) \operatorname{erfc}(\ell/\sqrt 2) + y$ at every critical point, with equality for Shtanh. "
    r"So $\ell_\mathrm{sh}(y) \le a/\sqrt{q^*}$ on the whole class, and no lower bound can be better.",
    claimed=r"$g(\ell) \le (1 - y) \operatorname{erfc}(\ell/\sqrt 2) + y$ at every critical point.",
    found="No member passes the bound, {cases:count} hill climbs included, and Shtanh attains it to {extremal}.",
    at="Appendix B.5, eq. (34)",
    formerly=("section-3.4.sharp-lower",),
    status=OURS,
    mutants={
        "|phi| <= a k dropped (slope 0.9 beyond a)": {"activations": [UNBOUNDED]},
        "y / 2 in place of y": {"share": 0.5},
        "2 y in place of y, attained": {"share": 2.0},
        "l_sh one per cent larger": {"climbed": 1.01},
    },
)
def key_inequality(activations: Sequence[Activation] = MEMBERS, share: float = 1.0, climbed: float = 1.0) -> Evidence:
    def sides(members: Sequence[Activation]) -> Array:
        """The left side over the right."""
        y, ratio = ratios(members)
        tail = special.erfc(ratio / np.sqrt(2))
        return 2 * gaussian.normal_density(ratio) / ratio / ((1 - share * y) * tail + share * y)

    at_most(sides(activations), 1 + 1e-11, **over(activations))
    equality = [shtanh(a) for a in RADII]
    attained = equal(sides(equality), 1.0, 1e-11, **over(equality))
    return _searched(-1, climbed, attained.measured)


@claim(
    "section-3.4.sharp-upper",
    r"$a/\sqrt{q^*} < \ell_\mathrm{zz}(y)$ on the whole class; saw teeth with a vanishing zigzag come as "
    "near as one likes.",
    found=(
        "No member passes it, {cases:count} hill climbs included; a saw with a zigzag of height 0.01 comes within "
        "{extremal}."
    ),
    ours="sharpens Lemma 3.4; the paper asks for a tighter upper bound",
    status=OURS,
    mutants={
        "|phi'| <= k dropped (slopes of 1.1)": {"activations": [zigzag(0.1, reach=6.0, steepness=1.1)]},
        "a bound one per cent smaller": {"factor": 0.99},
    },
)
def sharp_upper(activations: Sequence[Activation] = MEMBERS, factor: float = 1.0) -> Evidence:
    found = _searched(+1, factor, zigzag_distance(1.0, 0.01))
    y, ratio = ratios(activations)
    below_supremum(y, ratio / (factor * np.asarray(bounds.linear_ratio_sharp(y)[1])), activations)
    return found


def below_supremum(y: Array, share: Array, activations: Sequence[Activation]) -> Evidence:
    """Evidence that share < 1 for y >= 1e-3, and <= 1 below, where a plain saw tooth meets the limit to rounding."""
    allowed = np.where(y >= 1e-3, 1 - 1e-15, 1 + 1e-12)
    return at_most(share, allowed, **over(activations))


def zigzag_distance(y: float, height: float) -> float:
    """1 - l / l_zz(y) for the saw tooth with a zigzag of this height, out to nine standard deviations."""
    limit = bounds.linear_ratio_sharp(y)[1]
    net = mf.edge_of_chaos(zigzag(height, reach=9 / limit), sigma_b2=y)
    return float(1 - 1 / np.sqrt(net.q) / limit)


def _searched(sign: int, factor: float, extremal: float) -> Evidence:
    """Hill climbing towards the bound above (+1) or below (-1), at seven ratios l; a share of 1 would touch it."""
    y, ratio = np.array([climb(sign, ratio) for ratio in _CLIMBS]).T
    lower, upper = (np.asarray(bound) for bound in bounds.linear_ratio_sharp(y))
    share = ratio / (factor * upper) if sign > 0 else factor * lower / ratio
    domain = (
        f"{members_domain(MEMBERS)}; and {len(_CLIMBS)} hill climbs of {_STEPS} steps over members with 8 pieces, "
        f"y from {min(y):.2g} to {max(y):.2g}"
    )
    values = {"nearest": float(share.max()), "extremal": extremal}
    # The lower bound is attained, so there rounding decides; the upper one is not.
    bound = 1 - 1e-15 if sign > 0 else 1 + 1e-12
    return at_most(share, bound, domain=domain, at=point(l=_CLIMBS), values=values)


_CLIMBS = (0.1, 0.3, 0.6, 1.0, 1.6, 2.4, 3.5)
_STEPS = 300


@lru_cache(maxsize=32)
def climb(sign: int, ratio: float) -> tuple[float, float]:
    """(y, l) of the member of the class found by raising (+1) or lowering (-1) y at this l, that is, at this q*."""
    rng = np.random.default_rng([2021, round(1000 * ratio)])
    point, step = np.concatenate([rng.uniform(-1, 1, 8), rng.exponential(1.0, 8)]), 0.5

    def value(p: Array) -> float:
        phi = through_heights(np.clip(p[:8], -1, 1), np.abs(p[8:]), name="climber")
        return sign * mf.critical_at(phi, q=ratio**-2).sigma_b2

    best = value(point)
    for _ in range(_STEPS):
        trial = point + step * rng.normal(size=16)
        reached = value(trial)
        better = reached > best
        point, best = (trial, reached) if better else (point, best)
        step = min(2.0, step * 1.5) if better else max(1e-4, step * 0.9)
    return sign * best, ratio


@claim(
    "section-3.4.closed-upper",
    r"$a/\sqrt{q^*} < \sqrt{\Lambda_0(8/(\pi y^2))}$ for $y \le 1.6$, and $a/\sqrt{q^*} < 1/\sqrt{y}$ beyond; "
    r"$\Lambda_0$ is Lambert's function.",
    found=(
        "The supremum over the class stays below it at {cases} values of $y$; the least relative distance is {margin}."
    ),
    ours="sharpens Lemma 3.4",
    status=OURS,
    mutants={
        "|phi'| <= k dropped (slopes of 20)": {"activations": [STEEP]},
        "Lambert's function of 4 / (pi y^2)": {"constant": 4 / np.pi},
        "the Lambert form up to y = 2": {"cut": 2.0},
        "the printed step from y = 2 on": {"step_from": 2.0},
    },
)
def closed_upper(
    activations: Sequence[Activation] = MEMBERS, constant: float = 8 / np.pi, cut: float = 1.6, step_from: float = 1.6
) -> Evidence:
    def closed(y: Array) -> Array:
        return np.where(y <= cut, np.sqrt(special.lambertw(constant / y**2).real), 1 / np.sqrt(y))

    fine = np.logspace(-12, 4, 4001)
    share = np.asarray(bounds.linear_ratio_sharp(fine)[1]) / closed(fine)
    domain = f"the supremum l_zz at {len(fine)} values of y from 1e-12 to 1e4; {members_domain(activations)}"
    evidence = below(share, 1.0, domain=domain, at=point(y=fine))
    y, ratio = ratios(activations)
    below(ratio / closed(y), 1.0, **over(activations))
    # The printed proof's step, erfc(l / sqrt 2) <= 2 l p(l), from the value of the Lambert form at y = 1.6 on.
    low = np.linspace(np.sqrt(special.lambertw(8 / np.pi / step_from**2).real), 30, 3001)
    half_tail = special.erfcx(low / np.sqrt(2)) / (low * np.sqrt(2 / np.pi))
    at_most(half_tail, 1.0, domain=f"l from its value at y = {step_from:g} to 30", at=point(l=low))
    return evidence

"""Section 2.3: Definition 2.1, who satisfies it, and the function that lies above them all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from afli import activations as act
from afli.activations import Activation
from afli.claims.comparisons import Evidence, at_most, below
from afli.claims.ledger import on
from afli.claims.vocabulary import FAMILY_MEMBERS, point
from afli.pieces import random_scaled_bounded, zigzag

claim = on("2_3_scaled_bounded", "Section 2.3")

_OUTSIDERS = (act.tanh(), act.relu(), act.elu())


def _suprema(family: str, radii: np.ndarray) -> np.ndarray:
    """max |phi| / a over a fine grid that covers five wavelengths of the tail."""
    beyond = np.linspace(0, 10 * np.pi, 10001)
    return np.array([np.abs(act.get(family, a=float(a))(a + beyond)).max() / a for a in radii])


@claim(
    "definition-2.1",
    r"Shtanh and Ssaw (every $a$), Ssine ($a \ge 1$) and Sexp ($a \ge 1/2$) are scaled-bounded; tanh, "
    "ReLU and elu are not.",
    found="The grid refutes no property of the {cases} members, and one at least of tanh, ReLU and elu each.",
    at="Definition 2.1, Figure 3",
    mutants={
        "Ssine at a = 0.8": {"members": (act.ssine(a=0.8),)},
        "Sexp at a = 0.4": {"members": (act.sexp(a=0.4),)},
        "Shtanh among those outside": {"outsiders": (act.shtanh(a=1.0),)},
    },
)
def definition(
    members: Sequence[Activation] = (*FAMILY_MEMBERS, act.shtanh(a=0.1), act.ssaw(a=0.1), act.sexp(a=0.5)),
    outsiders: Sequence[Activation] = _OUTSIDERS,
) -> Evidence:
    failures = {phi: sum(not row.holds for row in act.check_scaled_bounded(phi)) for phi in (*members, *outsiders)}
    names = ", ".join(phi.name for phi in outsiders)
    domain = (
        f"{len(members)} members of the four families, a from 0.1 to 10, and {names}; "
        "number of properties refuted on a grid of 80,001 points and at the kinks"
    )
    at_most(
        [-failures[phi] for phi in outsiders], -1, domain=domain, at=lambda i: f"{outsiders[i[0]].name} (none refuted)"
    )
    return at_most([failures[phi] for phi in members], 0, domain=domain, at=point(members))


@claim(
    "section-2.3.how-small-a-may-be",
    r"$|\phi| \le ak$ holds for Ssine exactly when $a \ge 1$, and for Sexp exactly when $a \ge 1/2$.",
    claimed="Ssine and Sexp are scaled-bounded.",
    found=r"At the radii allowed the largest $|\phi|/(ak)$ is 1, and beyond them it is larger.",
    ours="Definition 2.1 applied to the families of Figure 3",
    status="holds under a condition",
    mutants={
        "Ssine from a = 0.9": {"ssine_from": 0.9},
        "Ssine only from a = 1.1": {"ssine_from": 1.1},
        "Sexp from a = 0.4": {"sexp_from": 0.4},
    },
)
def how_small_a_may_be(ssine_from: float = 1.0, sexp_from: float = 0.5) -> Evidence:
    radii = np.round(np.arange(0.05, 3.0001, 0.05), 2)
    allowed = {"ssine": radii >= ssine_from, "sexp": radii >= sexp_from}
    heights = {family: _suprema(family, radii) for family in allowed}
    domain = "a from 0.05 to 3 in steps of 0.05; largest |phi| / (a k) among the a allowed, 1 + 1e-12 allowed"
    for family, inside in allowed.items():
        # A radius that is not allowed must break the bound.
        below(-heights[family][~inside], -1.0, domain=f"{domain}; {family}")
    tallest = np.concatenate([heights[family][inside] for family, inside in allowed.items()])
    return at_most(tallest, 1 + 1e-12, domain=domain)


@claim(
    "section-2.3.lies-under-shtanh",
    r"Every scaled-bounded $\phi$ lies under its Shtanh: $|\phi(z)| \le |\mathrm{Shtanh}_{k,a}(z)|$ for "
    "all $z$.",
    found="No member of the families, and none of 200 random ones, exceeds it on the grid.",
    at="eq. (14)",
    mutants={
        "phi with slope up to 3 and height up to 2": {"extra": (zigzag(2.0, reach=30.0, steepness=3.0),)},
        "Shtanh of radius 0.9 a": {"shrink": 0.9},
        "Ssine at a = 0.8": {"extra": (act.ssine(a=0.8),)},
    },
)
def lies_under_shtanh(extra: Sequence[Activation] = (), shrink: float = 1.0) -> Evidence:
    rng = np.random.default_rng(23)
    scaled = [act.get(family, a=2.0, k=1.7) for family in act.SCALED_BOUNDED_FAMILIES]
    members = [*FAMILY_MEMBERS, *scaled, *random_scaled_bounded(rng, 200), *extra]
    excess = []
    for phi in members:
        a, k = phi.linear_radius, phi.slope
        z = a * np.linspace(-12, 12, 4801)
        above = np.abs(act.shtanh(a=shrink * a, k=k)(z))
        excess.append((np.abs(phi(z)) - above).max() / (a * k))
    domain = (
        "the four families at a = 1 to 10, and at a = 2, k = 1.7; 200 random piecewise-linear members; "
        "z on 4801 points of [-12 a, 12 a]; excess relative to a k"
    )
    return at_most(excess, 1e-14, domain=domain, at=point(members), oracle="adversarial search")

"""Section 3.1: the critical map W has a fixed point (Lemma 3.1); it is the only one, and well conditioned (ours)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

from afli import activations as act
from afli import fixed_points
from afli import meanfield as mf
from afli.activations import Activation
from afli.claims.domain import BIAS_VARIANCES, FAMILY_MEMBERS, describe, networks
from afli.claims.ledger import LEDGER, ClaimRefuted, Evidence, at_most, equal
from afli.claims.search import wild_odd_activations
from afli.errors import NoFixedPointError

PAGE = "3_1_fixed_point"
OURS = "this companion (Section 3.1 leaves it open)"

JUMP = act.from_callable(
    lambda z: np.clip(z, -1, 1) + 6 * np.sign(z) * (np.abs(z) > 10),
    lambda z: (np.abs(z) < 1).astype(float),
    kinks=(-10, -1, 1, 10),
    name="clip with a jump of 6 at |z| = 10",
)


def critical(activations: Sequence[Activation], sigma_b2: Sequence[float] = BIAS_VARIANCES) -> list[mf.MeanField]:
    """The critical networks; that one does not exist refutes the claim."""
    try:
        return networks(activations, sigma_b2)
    except NoFixedPointError as error:
        raise ClaimRefuted(str(error)) from None


def _second_moments(phi: Activation, q: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """E phi^2 and E phi'^2, each by quadrature of its own integrand: a second route to W."""

    def mean_square(f: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return np.asarray(phi.mean(lambda u: f(u) ** 2, q))

    return mean_square(phi.function), mean_square(phi.gradient)


def _power(phi: Activation, power: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda u: phi.gradient(u) ** power


def _excess(phi: Activation, q: np.ndarray) -> np.ndarray:
    """r(q) = q - E phi^2 / E phi'^2; the library's formula without cancellation holds only for continuous phi."""
    if phi.piece_slopes is not None:
        return fixed_points.bias_variance_at(phi, q)
    square, slope2 = _second_moments(phi, q)
    return q - square / slope2


# --- The paper's statements ---


@LEDGER.claim(
    "lemma-3.1",
    statement="For scaled-bounded phi and sigma_b2 > 0, W = E phi^2 / E phi'^2 + sigma_b2 has a fixed point q* > 0.",
    source="Lemma 3.1, eq. (18)",
    page=PAGE,
    mutants={
        "phi without the bound (ReLU)": {"activations": [act.relu()]},
        "sigma_b2 = 0": {"sigma_b2": (0.0,)},
    },
)
def fixed_point_exists(
    activations: Sequence[Activation] = FAMILY_MEMBERS, sigma_b2: Sequence[float] = BIAS_VARIANCES
) -> Evidence:
    nets = critical(activations, sigma_b2)
    # W is continuous: W(q) - q > 0 on one side and < 0 on the other leaves a fixed point in between.
    sides = np.array([1 - 1e-7, 1 + 1e-7])
    rise = []
    for net in nets:
        square, slope2 = _second_moments(net.phi, net.q * sides)
        rise.append((square / slope2 + net.sigma_b2) / (net.q * sides) - 1)
    return at_most(
        np.array(rise) * [-1, 1],
        0.0,
        strict=True,
        domain=f"{describe(activations, sigma_b2)}; W(q) / q - 1 changes sign within 1e-7 of the q* found",
        oracle="quadrature of phi^2 and of phi'^2",
        at=lambda i: repr(nets[i[0]]),
    )


@LEDGER.claim(
    "corollary-3.1.1",
    statement="With sigma_w2 = 1 / E phi'(sqrt(q*) Z)^2 both V(q*) = q* and chi_1 = 1.",
    source="Corollary 3.1.1, eq. (19)",
    page=PAGE,
    mutants={
        "sigma_w2 = 1 / E phi' in place of 1 / E phi'^2": {"power": 1},
        "q* one per cent too large": {"factor": 1.01},
    },
)
def critical_point(activations: Sequence[Activation] = FAMILY_MEMBERS, power: int = 2, factor: float = 1.0) -> Evidence:
    nets = critical(activations)
    found = []
    for net in nets:
        q, phi = factor * net.q, net.phi
        square, slope2 = _second_moments(phi, q)
        sigma_w2 = 1 / phi.mean(_power(phi, power), q)
        found.append(((sigma_w2 * square + net.sigma_b2) / q, sigma_w2 * slope2))
    return equal(
        found,
        1.0,
        1e-12,
        domain=f"{describe(activations)}; V(q*) / q* and chi_1",
        oracle="quadrature of phi^2 and of phi'^2",
        at=lambda i: f"{('V(q*) / q*', 'chi_1')[i[1]]} of {nets[i[0]]!r}",
    )


@LEDGER.claim(
    "eq-28",
    statement="E phi^2 <= a^2 k^2, E phi'^2 >= k^2 erf(a/sqrt(2q)), and so W(q) <= a^2 / erf(a/sqrt(2q)) + sigma_b2.",
    source="proof of Lemma 3.1, eqs. (26) to (28)",
    page=PAGE,
    mutants={
        "|phi| exceeds a k (Ssine, a = 0.3)": {"activations": [act.ssine(0.3)]},
        "erf(a / sqrt(q)) in place of erf(a / sqrt(2 q))": {"inside": 1.0},
    },
)
def bound_of_critical_map(activations: Sequence[Activation] = FAMILY_MEMBERS, inside: float = 2.0) -> Evidence:
    q = np.geomspace(1e-4, 1e6, 61)
    ratios = []
    for phi in activations:
        square, slope2 = _second_moments(phi, q)
        a, k, share = phi.linear_radius, phi.slope, special.erf(phi.linear_radius / np.sqrt(inside * q))
        ratios.append([square / (a * k) ** 2, k**2 * share / slope2, (square / slope2) / (a**2 / share)])
    # Shtanh attains (27), and with it the ratio 1, so rounding needs room.
    return at_most(
        ratios,
        1 + 1e-13,
        domain=f"{_names(activations)}; 61 variances q in [1e-4, 1e6]; each side of (26), (27), (28) over the other",
        at=lambda i: f"eq. ({26 + i[1]}), q = {q[i[2]]:.3g}, {activations[i[0]].name}",
    )


@LEDGER.claim(
    "section-3.1.relu",
    statement="For ReLU, leaky ReLU and the modulus W(q) = q + sigma_b2: no fixed point unless sigma_b2 = 0.",
    source="Section 3.1, below Corollary 3.1.1",
    page=PAGE,
    mutants={"phi = elu": {"activations": [act.elu()]}, "sigma_b2 = 0": {"sigma_b2": 0.0}},
)
def relu_has_no_fixed_point(
    activations: Sequence[Activation] = (act.relu(), act.leaky_relu(0.2), act.abs_()), sigma_b2: float = 0.1
) -> Evidence:
    for phi in activations:
        try:
            net = mf.edge_of_chaos(phi, sigma_b2=sigma_b2)
        except NoFixedPointError:
            continue
        raise ClaimRefuted(f"a critical network exists: {net!r}")
    q = np.geomspace(1e-3, 1e3, 13)
    moments = [_second_moments(phi, q) for phi in activations]
    return equal(
        [square / slope2 / q for square, slope2 in moments],
        1.0,
        1e-12,
        domain=f"{describe(activations, (sigma_b2,))}; 13 variances q in [1e-3, 1e3], W(q) - sigma_b2 over q",
        oracle="quadrature of phi^2 and of phi'^2",
        at=lambda i: f"q = {q[i[1]]:g}, {activations[i[0]].name}",
    )


# --- What the paper leaves open: uniqueness and conditioning ---


@LEDGER.claim(
    "section-3.1.unique",
    statement="For odd, continuous, non-linear phi, q - E phi^2 / E phi'^2 increases strictly: one q* per sigma_b2.",
    source=OURS,
    page=PAGE,
    status="holds, and sharpened",
    mutants={
        "phi with a jump": {"activations": [JUMP]},
        "phi not odd (ReLU)": {"activations": [act.relu()]},
    },
)
def fixed_point_is_unique(activations: Sequence[Activation] | None = None) -> Evidence:
    searched = wild_odd_activations() if activations is None else activations
    fall = []
    for phi in searched:
        q = _scan(phi)
        fall.append(-np.diff(_excess(phi, q)) / q[1:])
    who = f"{len(searched)} random odd piecewise-linear phi" if activations is None else _names(activations)
    return at_most(
        fall,
        0.0,
        strict=True,
        domain=f"{who}; 200 variances q from far below the first kink to far above the last",
        at=lambda i: f"q = {_scan(searched[i[0]])[i[1]]:.4g}, {searched[i[0]].name}",
    )


@LEDGER.claim(
    "section-3.1.condition-number",
    statement="For odd, continuous, non-linear phi, q* is well conditioned: dq*/dsigma_b2 <= 2 q*/sigma_b2.",
    source=OURS,
    page=PAGE,
    status="holds, and sharpened",
    mutants={"1.5 in place of 2": {"bound": 1.5}},
)
def fixed_point_is_well_conditioned(bound: float = 2.0) -> Evidence:
    searched = wild_odd_activations()
    # sigma_b2 = r(q*), so the elasticity of q* is one over that of r.
    elasticity = [np.diff(np.log(q)) / np.diff(np.log(_excess(phi, q))) for phi, q in ((p, _scan(p)) for p in searched)]
    return at_most(
        elasticity,
        bound,
        domain=f"{len(searched)} random odd piecewise-linear phi; 200 variances q each",
        at=lambda i: f"q = {_scan(searched[i[0]])[i[1]]:.4g}, kinks and slopes {searched[i[0]].params[1:]}",
    )


def _scan(phi: Activation) -> np.ndarray:
    return np.geomspace((min(np.abs(phi.kinks)) / 5) ** 2 or 1e-4, (20 * max(np.abs(phi.kinks))) ** 2 or 1e4, 200)


def _names(activations: Sequence[Activation]) -> str:
    return describe(activations, ()).split(";")[0]

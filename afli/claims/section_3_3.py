"""Section 3.3: the gap between the correlation map and the identity is largest at zero."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from afli import activations as act
from afli.activations import Activation, elu
from afli.claims.domain import FAMILY_MEMBERS, describe, networks
from afli.claims.ledger import LEDGER, Evidence, at_most, equal

_RHO = np.linspace(0, 1, 201)


@LEDGER.claim(
    "lemma-3.3",
    statement="On the edge of chaos |R(rho) - rho| on [0, 1] is largest at rho = 0 only, where it is sigma_b2 / q*.",
    source="Lemma 3.3, eq. (22)",
    page="3_3_uniform_gap",
    mutants={
        "phi not odd (elu)": {"activations": [elu()]},
        "sigma_b2 / (2 q*) in place of sigma_b2 / q*": {"factor": 0.5},
    },
)
def uniform_gap(activations: Sequence[Activation] = FAMILY_MEMBERS, factor: float = 1.0) -> Evidence:
    nets = networks(activations)
    gap = np.array([np.abs(net.correlation_gap(_RHO)) for net in nets])
    predicted = factor * np.array([net.sigma_b2 / net.q for net in nets])
    domain = f"{describe(activations)}; rho on a grid of {len(_RHO)} points of [0, 1]"
    off = equal(gap.max(axis=1), predicted, 1e-13, domain=domain, at=lambda i: repr(nets[i[0]])).measured
    # Strictly smaller away from zero: the maximum is attained there only.
    return at_most(
        gap[:, 1:] / predicted[:, None],
        1.0,
        strict=True,
        domain=domain,
        at=lambda i: f"rho = {_RHO[i[1] + 1]:g}, {nets[i[0]]!r}",
        values={
            "off": off,
            "smallest": float(predicted.min()),
            "largest": float(predicted.max()),
            "pairs": float(len(nets) // len(act.SCALED_BOUNDED_FAMILIES)),
        },
    )


@LEDGER.claim(
    "section-3.3.negative-correlations",
    statement="For odd phi on the edge of chaos R(rho) - rho falls strictly on [-1, 1], from 2 sigma_b2 / q* to 0.",
    source="this companion (Section 3.3 leaves rho < 0 open)",
    page="3_3_uniform_gap",
    status="holds, and sharpened",
    mutants={"phi not odd (elu)": {"activations": [elu()]}, "1.9 in place of 2": {"factor": 1.9}},
)
def gap_at_negative_correlations(activations: Sequence[Activation] = FAMILY_MEMBERS, factor: float = 2.0) -> Evidence:
    rho = np.linspace(-1, 1, 401)
    nets = networks(activations)
    gap = np.array([net.correlation_gap(rho) for net in nets])
    domain = f"{describe(activations)}; rho on a grid of {len(rho)} points of [-1, 1]"
    at_most(np.diff(gap, axis=1), 0.0, strict=True, domain=domain, at=lambda i: f"rho = {rho[i[1]]:g}, {nets[i[0]]!r}")
    expected = factor * np.array([net.sigma_b2 / net.q for net in nets])
    return equal(gap[:, 0], expected, 1e-12, domain=domain, at=lambda i: repr(nets[i[0]]))

"""Section 2.2, continued: which activations can be isometric, and the whole spectrum for Shtanh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from afli import activations as act
from afli import isometry, sampling, spectrum
from afli import meanfield as mf
from afli.activations import Activation
from afli.claims.comparisons import Evidence, at_most, below, equal, rising, within_errors
from afli.claims.section_2_2 import SPECTRA, TESTED, claim, sampled_moments
from afli.claims.vocabulary import names, network, point

_RELU, _MODULUS = act.relu(), act.abs_()


@claim(
    "section-2.2.moment-ratio-falls",
    r"For erf and tanh along the edge of chaos, a smaller $\sigma_b^2$ means a smaller $q^*$, a smaller "
    r"$q^*$ a smaller $\mu_2/\mu_1^2$, and the ratio tends to 1.",
    found=(
        r"The order holds at {compared} values of $\sigma_b^2$, and erf's ratio agrees with its closed form to "
        "{measured}."
    ),
    at="Figure 2(d)",
    mutants={
        "ReLU in place of tanh": {"activations": (act.relu(),)},
        "the ratio tends to 1.1": {"limit": 1.1},
        "q* falls as sigma_b2 rises": {"rises": False},
        "erf's closed form with 2q in place of 4q": {"erf_factor": 2.0},
    },
)
def moment_ratio_falls(
    activations: Sequence[Activation] = (act.erf(), act.tanh()),
    limit: float = 1.0,
    erf_factor: float = 4.0,
    rises: bool = True,
) -> Evidence:
    sigma_b2 = np.logspace(-6, 0, 61) ** (1.0 if rises else -1.0)
    domain = f"{names(activations)}; sigma_b2 at 61 points from 1e-6 to 1"
    q = np.array([_variances(phi, sigma_b2) for phi in activations])
    ratio = np.array([isometry.moment_ratio(phi, row) for phi, row in zip(activations, q, strict=True)])
    rising(q, domain=domain, at=lambda i: f"rise of q*, {activations[i[0]].name}")
    rising(ratio, domain=domain, at=lambda i: f"rise of the ratio, {activations[i[0]].name}")
    at_most(np.abs(ratio[:, 0] - limit), 0.02, domain=domain, at=lambda i: f"ratio at 1e-6, {activations[i[0]].name}")
    known = [i for i, phi in enumerate(activations) if phi == act.erf()]
    closed = (1 + erf_factor * q[known]) / np.sqrt(1 + 2 * erf_factor * q[known])
    domain = domain + "; both strictly increasing; within 0.02 of 1 at the end; erf's ratio equal to its closed form"
    return equal(ratio[known] / closed, 1.0, 1e-12, domain=domain, oracle="(1 + 4q)/sqrt(1 + 8q) for erf")


def _variances(phi: Activation, sigma_b2: Any) -> list[float]:
    if phi.is_homogeneous:  # every q is a fixed point, at sigma_b2 = 0 only
        return list(np.asarray(sigma_b2) * 10)
    return [mf.edge_of_chaos(phi, sigma_b2=float(b)).q for b in sigma_b2]


@claim(
    "section-2.2.relu-constant",
    r"ReLU's $\mu_2/\mu_1^2$ is 2 at every $q$, so its spectrum has variance $L$ even with orthogonal "
    "weights.",
    mutants={
        "tanh in place of ReLU": {"phi": act.tanh()},
        "leaky ReLU of slope 1/2": {"phi": act.leaky_relu(0.5)},
        "1 in place of 2": {"ratio": 1.0},
        "a variance of 1.3 L": {"per_layer": 1.3},
    },
)
def relu_is_constant(phi: Activation = _RELU, ratio: float = 2.0, per_layer: float = 1.0) -> Evidence:
    q = np.logspace(-6, 6, 49)
    domain = f"{phi.name}; mu_2/mu_1^2 at 49 q from 1e-6 to 1e6, to 1e-13; then L = 2, 4, 8 with orthogonal weights"
    equal(isometry.moment_ratio(phi, q), ratio, 1e-13, domain=domain, at=point(q=q))
    depths = (2, 4, 8)
    sampled = [sampled_moments(network(phi), depth, "orthogonal")[1] for depth in depths]
    return within_errors(
        [abs(v - per_layer * depth * (ratio - 1)) / error for depth, (v, error) in zip(depths, sampled, strict=True)],
        domain=domain,
        at=point(L=depths),
        oracle=SPECTRA,
    )


@claim(
    "section-2.2.modulus",
    "With orthogonal weights every singular value of a modulus network is 1; yet it takes correlation "
    "0.2 to 0.9 in fewer layers than ReLU, tanh or Shtanh.",
    found="It takes {measured} layers; the fastest of the others takes {bound}.",
    at="Section 2.3, first paragraphs",
    mutants={
        "Gaussian weights": {"weights": "gaussian"},
        "ReLU in place of the modulus": {"phi": act.relu()},
        "in a third of the layers": {"share": 1 / 3},
    },
)
def modulus(phi: Activation = _MODULUS, weights: str = "orthogonal", share: float = 1.0) -> Evidence:
    others = [network(other) for other in (_RELU, *TESTED)]
    net, rng = network(phi), np.random.default_rng(22)
    domain = (
        f"{phi.name}, {weights} weights, width 200, L = 50: singular values equal 1 to 1e-12; layers counted exactly"
    )
    values = sampling.singular_values(net, width=200, depth=50, weights=weights, rng=rng)
    equal(values, 1.0, 1e-12, domain=domain, at=lambda i: f"singular value {i[0] + 1}")
    return below(
        net.layers_until(0.9),
        share * min(other.layers_until(0.9) for other in others),
        domain=domain,
        at=lambda i: "layers from 0.2 to 0.9",
        oracle="the fastest of relu, " + names(TESTED),
    )


@claim(
    "section-2.2.shtanh-spectrum",
    "For Shtanh on the edge of chaos the spectrum is known whole: an atom at zero and a density, and "
    "with orthogonal weights up to a certain depth one more atom.",
    found=("Sampled and predicted shares of singular values differ by {measured:.3f} at most; {bound} is allowed."),
    at="Section 2.2 leaves it out; Pennington et al. (2017) have it for hard tanh with orthogonal weights",
    mutants={
        "one layer too many": {"extra": 1},
        "Gaussian weights, the law of orthogonal ones": {"taken_for": {"gaussian": "orthogonal"}},
        "orthogonal weights, the law of Gaussian ones": {"taken_for": {"orthogonal": "gaussian"}},
        "a 20 per cent too large": {"stretch": 1.2},
    },
)
def shtanh_spectrum(extra: int = 0, taken_for: dict[str, str] | None = None, stretch: float = 1.0) -> Evidence:
    cases = [(a, depth, weights) for weights in sampling.WEIGHTS for a, depth in ((1.0, 6), (3.0, 12), (5.0, 12))]
    count, width, distances = 32, 150, []
    for a, depth, weights in cases:
        net, theory = network(act.shtanh(a=a)), network(act.shtanh(a=stretch * a))
        rng = np.random.default_rng([45, depth, int(a)])
        draws = (
            sampling.singular_values(net, width=width, depth=depth, weights=weights, rng=rng) for _ in range(count)
        )
        squares = np.concatenate(list(draws)) ** 2
        law = (taken_for or {}).get(weights, weights)
        at = spectrum.edge(theory, depth + extra, weights=law) * np.linspace(0.02, 1, 50)
        shares = np.array([np.mean(squares <= one) for one in at])
        distances.append(np.abs(shares - _distribution(theory, depth + extra, law, at)).max())
    return at_most(
        distances,
        0.02,
        domain="(a, L) = (1, 6), (3, 12), (5, 12), both kinds of weights; sigma_b2 = 0.1; largest distance between "
        "sampled and predicted share of squared singular values below a point, at 50 points; 0.02 allowed",
        at=lambda i: f"(a, L) = {cases[i[0]][:2]}, {cases[i[0]][2]} weights",
        oracle=f"{count} sampled networks of width {width}",
    )


def _distribution(net: mf.MeanField, depth: int, weights: str, at: Any) -> Any:
    """Mass of the spectrum at or below each point of the continuous part, by the trapezoidal rule in ln x."""
    u = np.log(at[-1]) - 20 * depth * np.linspace(1, 0, 801) ** 3
    mass = spectrum.density(net, depth, np.exp(u), weights=weights) * np.exp(u)
    below = np.concatenate([[0.0], np.cumsum(0.5 * (mass[1:] + mass[:-1]) * np.diff(u))])
    return spectrum.atoms(net, depth, weights=weights)[0] + np.interp(np.log(at), u, below)

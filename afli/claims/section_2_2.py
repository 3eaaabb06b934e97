"""Section 2.2: backpropagated errors and the spectrum of the Jacobian, against differences and sampled networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from afli import activations as act
from afli import isometry, sampling, spectrum
from afli import meanfield as mf
from afli.activations import Activation
from afli.claims.ledger import LEDGER, Evidence, at_most, equal

PAGE = "2_2_dynamical_isometry"
_BIAS = 0.1
_TESTED = (act.tanh(), act.shtanh(a=1.0), act.shtanh(a=3.0))
_RELU, _MODULUS = act.relu(), act.abs_()
_IN_ERRORS = "distance of the sampled mean from the theory, in standard errors; 4 allowed"


@lru_cache(maxsize=64)
def _network(phi: Activation, factor: float = 1.0) -> mf.MeanField:
    """The critical network of phi, or one with `factor` times the critical weight variance."""
    edge = mf.edge_of_chaos(phi, sigma_b2=0.0 if phi.is_homogeneous else _BIAS)
    return edge if factor == 1.0 else mf.MeanField(phi, sigma_w2=factor * edge.sigma_w2, sigma_b2=_BIAS)


def _names(activations: Sequence[Activation]) -> str:
    return ", ".join(phi.name for phi in activations)


def _multiples(factors: Sequence[float]) -> str:
    return f"sigma_b2 = {_BIAS:g}; sigma_w2 at {', '.join(f'{f:g}' for f in factors)} times its critical value"


# --- Errors on their way back ---


@LEDGER.claim(
    "eq-8",
    statement="delta^(L) = D^(L) grad_z L and delta^(l) = D^(l) W^(l+1)^T delta^(l+1) give the gradients: delta^(l) "
    "for the bias, delta^(l) z^(l-1)^T for the weights of layer l.",
    source="Section 2.2, eq. (8)",
    page=PAGE,
    mutants={
        "W in place of its transpose": {"backward": lambda w: w.T},
        "phi' left out of D": {"slope": np.ones_like},
    },
)
def backpropagation(
    activations: Sequence[Activation] = _TESTED,
    backward: Callable[[Any], Any] = lambda w: w,
    slope: Callable[[Any], Any] | None = None,
) -> Evidence:
    width, depth, step, rng = 9, 4, 1e-5, np.random.default_rng(8)
    measured, expected = [], []
    for phi in activations:
        net = _network(phi)
        layers = list(sampling.standard_layers([width] * (depth + 1), rng=rng))
        x, target = sampling.on_sphere(net, rng.standard_normal((1, width))), rng.standard_normal(width)
        h = list(sampling.preactivations(net, x, layers))
        given = replace(phi, gradient=slope) if slope else phi
        last = given.gradient(h[-1]) * (phi(h[-1]) - target)
        for_errors = _with_phi(net, given)
        errors = sampling.errors_backward(for_errors, h, [(backward(w), b) for w, b in layers], last)
        z = [x, *(phi(one) for one in h)]
        for level, (w, b) in enumerate(layers):
            # Standardised draws are what moves here, so the chain rule adds sqrt(sigma_b2) and sqrt(sigma_w2).
            to_b, to_w = np.sqrt(net.sigma_b2), np.sqrt(net.sigma_w2)
            i, j = rng.integers(width, size=2)
            measured += [to_b * errors[level][0, i], to_w * errors[level][0, i] * z[level][0, j]]
            expected += [_slope_of_loss(net, x, target, layers, v, at, step) for v, at in ((b, i), (w, (i, j)))]
    return equal(
        measured,
        expected,
        1e-8,
        domain=f"{_names(activations)}; squared loss; {depth} layers of width {width}; one bias and one weight a layer",
        oracle="a central difference of the loss, step 1e-5",
    )


def _with_phi(net: mf.MeanField, phi: Activation) -> mf.MeanField:
    """The same network with other derivatives: only the mutants need it."""
    if phi.gradient is net.phi.gradient:
        return net
    changed = object.__new__(mf.MeanField)
    changed.__dict__.update(net.__dict__, phi=phi)
    return changed


def _slope_of_loss(net: mf.MeanField, x: Any, target: Any, layers: Any, entries: Any, at: Any, step: float) -> float:
    """d loss / d entries[at], with the entry moved in place and put back."""
    start, losses = entries[at], []
    for shift in (step, -step):
        entries[at] = start + shift
        *_, last = sampling.preactivations(net, x, layers)
        losses.append(0.5 * np.sum((net.phi(last) - target) ** 2))
    entries[at] = start
    return float(losses[0] - losses[1]) / (2 * step)


@LEDGER.claim(
    "eq-9",
    statement="The variance of the backpropagated error is multiplied by chi_1 at every layer.",
    source="Section 2.2, eq. (9)",
    page=PAGE,
    mutants={"chi_1 squared": {"power": 2.0}, "V'(q*) in place of chi_1": {"rate": "variance_slope"}},
)
def error_variance(activations: Sequence[Activation] = _TESTED[:2], power: float = 1.0, rate: str = "chi1") -> Evidence:
    width, depth, count, factors = 200, 12, 24, (0.8, 1.0, 1.4)
    rng = np.random.default_rng(9)
    nets = [_network(phi, factor) for phi in activations for factor in factors]
    distances = []
    for net in nets:
        sampled = []
        for _ in range(count):
            layers = list(sampling.standard_layers([width] * (depth + 1), rng=rng))
            h = list(sampling.preactivations(net, sampling.on_sphere(net, rng.standard_normal((1, width))), layers))
            # The loss is random and independent of the network, as the mean-field argument takes it to be.
            delta = rng.standard_normal((50, width))
            variance = [np.mean(e**2) for e in sampling.errors_backward(net, h, layers, delta)]
            sampled.append(np.array(variance[:-1]) / variance[-1])
        theory = getattr(net, rate) ** (power * np.arange(depth - 1, 0, -1))
        error = np.std(sampled, axis=0, ddof=1) / np.sqrt(count)
        distances.append(np.abs(np.mean(sampled, axis=0) - theory) / error)
    return at_most(
        distances,
        4.0,
        domain=f"{_names(activations)}; {_multiples(factors)}; {_IN_ERRORS}",
        at=lambda i: f"layer {i[1] + 1}, {nets[i[0]]!r}",
        oracle=f"{count} sampled networks of width {width} and {depth} layers",
    )


# --- The spectrum of the Jacobian ---


_SAMPLES = {80: 64, 160: 32}  # width: number of networks
_SPECTRA = "Jacobians sampled at width 80 (64 of them) and 160 (32), extrapolated to infinite width"


@lru_cache(maxsize=64)
def sampled_moments(net: mf.MeanField, depth: int, weights: str) -> tuple[Any, Any]:
    """m_1 and m_2 / m_1^2 - 1 of sampled Jacobians: for each the estimate at infinite width and its standard error.

    A bias of order 1/width is removed by combining two widths. m_2 alone is useless: m_1 fluctuates, and it with m_1^2.
    """
    values = []
    for width, count in _SAMPLES.items():
        rng, moments = np.random.default_rng([depth, width]), []
        for _ in range(count):
            x = sampling.on_sphere(net, rng.standard_normal((1, width)))[0]
            j = sampling.jacobian(net, x, sampling.standard_layers([width] * (depth + 1), weights=weights, rng=rng))
            m1, m2 = np.sum(j * j) / width, np.sum((j @ j.T) ** 2) / width
            moments.append((m1, m2 / m1**2 - 1))
        values.append((np.mean(moments, axis=0), np.std(moments, axis=0, ddof=1) / np.sqrt(count)))
    (coarse, coarse_error), (fine, fine_error) = values
    limit, error = 2 * fine - coarse, np.sqrt(4 * fine_error**2 + coarse_error**2)
    return (limit[0], error[0]), (limit[1], error[1])


@LEDGER.claim(
    "eq-12",
    statement="m_1 = (sigma_w2 mu_1)^L and m_2 = m_1^2 L (mu_2/mu_1^2 + 1/L - 1 - s_1), s_1 = -1 for Gaussian, "
    "0 for orthogonal weights.",
    source="Section 2.2, eq. (12)",
    page=PAGE,
    mutants={
        "Gaussian weights with s_1 = 0": {"taken_for": {"gaussian": "orthogonal", "orthogonal": "orthogonal"}},
        "orthogonal weights with s_1 = -1": {"taken_for": {"gaussian": "gaussian", "orthogonal": "gaussian"}},
        "one layer too many": {"extra": 1},
    },
)
def jacobian_moments(
    activations: Sequence[Activation] = (_TESTED[0], _TESTED[2]),
    taken_for: dict[str, str] | None = None,
    extra: int = 0,
) -> Evidence:
    factors = (0.85, 1.0, 1.3)
    cases = [(phi, f, weights) for phi in activations for f in factors for weights in sampling.WEIGHTS]
    depth, distances = 4, []
    for phi, factor, weights in cases:
        net = _network(phi, factor)
        m1, m2 = isometry.jacobian_moments(net, depth + extra, weights=(taken_for or {}).get(weights, weights))
        theory = m1, m2 / m1**2 - 1
        sampled = sampled_moments(net, depth, weights)
        distances.append([abs(value - t) / error for (value, error), t in zip(sampled, theory, strict=True)])
    return at_most(
        distances,
        4.0,
        domain=f"{_names(activations)}; {_multiples(factors)}; both kinds of weights; L = {depth}; m_1, "
        f"m_2/m_1^2 - 1; {_IN_ERRORS}",
        at=lambda i: f"{'m_2/m_1^2 - 1' if i[1] else 'm_1'}, {cases[i[0]][0].name}, {cases[i[0]][2]} weights",
        oracle=_SPECTRA,
    )


@LEDGER.claim(
    "eq-13",
    statement="On the edge of chaos the variance of the spectrum of J J^T is L (mu_2/mu_1^2 - 1 - s_1): it grows "
    "linearly with depth, and for Gaussian weights at least by 1 a layer.",
    source="Section 2.2, eq. (13)",
    page=PAGE,
    mutants={
        "Gaussian weights with s_1 = 0": {"taken_for": "orthogonal"},
        "growth with L^2": {"power": 2},
        "mu_2/mu_1 in place of mu_2/mu_1^2": {"divisor": 1},
    },
)
def jacobian_variance(
    activations: Sequence[Activation] = (_TESTED[0], _TESTED[2]), taken_for: str = "", power: int = 1, divisor: int = 2
) -> Evidence:
    s_1 = {"gaussian": -1.0, "orthogonal": 0.0}
    cases = [(phi, weights, depth) for phi in activations for weights in sampling.WEIGHTS for depth in (2, 4, 8)]
    distances = []
    for phi, weights, depth in cases:
        net = _network(phi)
        mu1, mu2 = (isometry.derivative_moment(phi, net.q, k) for k in (1, 2))
        theory = depth**power * (mu2 / mu1**divisor - 1 - s_1[taken_for or weights])
        _, (value, error) = sampled_moments(net, depth, weights)
        distances.append(abs(value - theory) / error)
    return at_most(
        distances,
        4.0,
        domain=f"{_names(activations)} on the edge of chaos, sigma_b2 = {_BIAS:g}; L = 2, 4, 8; both kinds of weights"
        f"; {_IN_ERRORS}",
        at=lambda i: f"{cases[i[0]][0].name}, {cases[i[0]][1]} weights, L = {cases[i[0]][2]}",
        oracle=_SPECTRA,
    )


# --- Which activations can be isometric ---


@LEDGER.claim(
    "section-2.2.moment-ratio-falls",
    statement="For erf and tanh along the edge of chaos, a smaller sigma_b2 means a smaller q*, a smaller q* a smaller "
    "mu_2/mu_1^2, and the ratio tends to 1.",
    source="Section 2.2, Figure 2(d)",
    page=PAGE,
    mutants={
        "ReLU in place of tanh": {"activations": (act.relu(),)},
        "the ratio tends to 1.1": {"limit": 1.1},
        "erf's closed form with 2q in place of 4q": {"erf_factor": 2.0},
    },
)
def moment_ratio_falls(
    activations: Sequence[Activation] = (act.erf(), act.tanh()), limit: float = 1.0, erf_factor: float = 4.0
) -> Evidence:
    sigma_b2 = np.logspace(-6, 0, 61)
    domain = f"{_names(activations)}; sigma_b2 at 61 points from 1e-6 to 1"
    q = np.array([_variances(phi, sigma_b2) for phi in activations])
    ratio = np.array([isometry.moment_ratio(phi, row) for phi, row in zip(activations, q, strict=True)])
    at_most(
        -np.diff(ratio, axis=1),
        0.0,
        strict=True,
        domain=domain,
        at=lambda i: f"rise of the ratio, {activations[i[0]].name}",
    )
    at_most(-np.diff(q, axis=1), 0.0, strict=True, domain=domain, at=lambda i: f"rise of q*, {activations[i[0]].name}")
    at_most(np.abs(ratio[:, 0] - limit), 0.02, domain=domain, at=lambda i: f"ratio at 1e-6, {activations[i[0]].name}")
    known = [i for i, phi in enumerate(activations) if phi == act.erf()]
    closed = (1 + erf_factor * q[known]) / np.sqrt(1 + 2 * erf_factor * q[known])
    return equal(
        ratio[known] / closed,
        1.0,
        1e-12,
        domain=domain + "; both strictly increasing; within 0.02 of 1 at the end; erf's ratio equal to its closed form",
        oracle="(1 + 4q)/sqrt(1 + 8q) for erf",
    )


def _variances(phi: Activation, sigma_b2: Any) -> list[float]:
    if phi.is_homogeneous:  # every q is a fixed point, at sigma_b2 = 0 only
        return list(np.asarray(sigma_b2) * 10)
    return [mf.edge_of_chaos(phi, sigma_b2=float(b)).q for b in sigma_b2]


@LEDGER.claim(
    "section-2.2.relu-constant",
    statement="ReLU's mu_2/mu_1^2 is 2 at every q, so its spectrum has variance L even with orthogonal weights.",
    source="Section 2.2",
    page=PAGE,
    mutants={
        "tanh in place of ReLU": {"phi": act.tanh()},
        "leaky ReLU of slope 1/2": {"phi": act.leaky_relu(0.5)},
        "1 in place of 2": {"ratio": 1.0},
    },
)
def relu_is_constant(phi: Activation = _RELU, ratio: float = 2.0) -> Evidence:
    q = np.logspace(-6, 6, 49)
    domain = (
        f"{phi.name}; mu_2/mu_1^2 at 49 q from 1e-6 to 1e6, to 1e-13; then L = 2, 4, 8 with orthogonal weights; "
        f"{_IN_ERRORS}"
    )
    equal(isometry.moment_ratio(phi, q), ratio, 1e-13, domain=domain, at=lambda i: f"q = {q[i[0]]:g}")
    depths = (2, 4, 8)
    sampled = [sampled_moments(_network(phi), depth, "orthogonal")[1] for depth in depths]
    return at_most(
        [abs(value - depth * (ratio - 1)) / error for depth, (value, error) in zip(depths, sampled, strict=True)],
        4.0,
        domain=domain,
        at=lambda i: f"L = {depths[i[0]]}",
        oracle=_SPECTRA,
    )


@LEDGER.claim(
    "section-2.2.modulus",
    statement="With orthogonal weights every singular value of a modulus network is 1; yet it takes correlation 0.2 to "
    "0.9 in fewer layers than ReLU, tanh or Shtanh.",
    source="Section 2.3, first paragraphs",
    page=PAGE,
    mutants={"Gaussian weights": {"weights": "gaussian"}, "ReLU in place of the modulus": {"phi": act.relu()}},
)
def modulus(phi: Activation = _MODULUS, weights: str = "orthogonal") -> Evidence:
    others = [_network(other) for other in (_RELU, *_TESTED)]
    net, rng = _network(phi), np.random.default_rng(22)
    domain = (
        f"{phi.name}, {weights} weights, width 200, L = 50: singular values equal 1 to 1e-12; layers counted exactly"
    )
    values = sampling.singular_values(net, width=200, depth=50, weights=weights, rng=rng)
    equal(values, 1.0, 1e-12, domain=domain, at=lambda i: f"singular value {i[0] + 1}")
    return at_most(
        net.layers_until(0.9),
        min(other.layers_until(0.9) for other in others),
        strict=True,
        domain=domain,
        at=lambda i: "layers from 0.2 to 0.9",
        oracle="the fastest of relu, " + _names(_TESTED),
    )


@LEDGER.claim(
    "section-2.2.shtanh-spectrum",
    statement="For Shtanh with orthogonal weights on the edge of chaos, the spectrum is two atoms and a known density.",
    source="Section 2.2 leaves it out; Pennington et al. (2017) have it for hard tanh",
    page=PAGE,
    mutants={
        "one layer too many": {"extra": 1},
        "Gaussian weights": {"weights": "gaussian"},
        "a 20 per cent too large": {"stretch": 1.2},
    },
)
def shtanh_spectrum(extra: int = 0, weights: str = "orthogonal", stretch: float = 1.0) -> Evidence:
    cases, count, width = ((1.0, 6), (3.0, 12), (5.0, 12)), 32, 150
    rng, distances = np.random.default_rng(45), []
    for a, depth in cases:
        net, theory = _network(act.shtanh(a=a)), _network(act.shtanh(a=stretch * a))
        squares = np.concatenate(
            [
                sampling.singular_values(net, width=width, depth=depth, weights=weights, rng=rng) ** 2
                for _ in range(count)
            ]
        )
        end = spectrum.edge(theory, depth + extra)
        at = end * np.linspace(0.02, 1, 50)
        shares = np.array([np.mean(squares <= one) for one in at])
        distances.append(np.abs(shares - _distribution(theory, depth + extra, at)).max())
    return at_most(
        distances,
        0.02,
        domain="(a, L) = (1, 6), (3, 12), (5, 12); sigma_b2 = 0.1; largest distance between sampled and predicted "
        "share of squared singular values below a point, at 50 points; 0.02 allowed",
        at=lambda i: f"(a, L) = {cases[i[0]]}",
        oracle=f"{count} sampled networks of width {width}",
    )


def _distribution(net: mf.MeanField, depth: int, at: Any) -> Any:
    """Mass of the spectrum at or below each point of the continuous part, by the trapezoidal rule in ln x."""
    u = np.log(at[-1]) - 20 * depth * np.linspace(1, 0, 801) ** 3
    mass = spectrum.density(net, depth, np.exp(u)) * np.exp(u)
    below = np.concatenate([[0.0], np.cumsum(0.5 * (mass[1:] + mass[:-1]) * np.diff(u))])
    return spectrum.atoms(net, depth)[0] + np.interp(np.log(at), u, below)

"""Section 2.2: backpropagated errors and the moments of the Jacobian, against differences and sampled networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from afli import activations as act
from afli import isometry, sampling
from afli import meanfield as mf
from afli.activations import Activation
from afli.claims.comparisons import Evidence, agree, equal, within_errors
from afli.claims.ledger import on
from afli.claims.vocabulary import BIAS, multiples, names, network, place

claim = on("2_2_dynamical_isometry", "Section 2.2")

TESTED = (act.tanh(), act.shtanh(a=1.0), act.shtanh(a=3.0))


# --- Errors on their way back ---


@claim(
    "eq-8",
    r"$\delta^{(L)} = D^{(L)} \nabla_z \mathcal{L}$ and $\delta^{(l)} = D^{(l)} (W^{(l+1)})^T "
    r"\delta^{(l+1)}$ give the gradients: $\delta^{(l)}$ for the bias, $\delta^{(l)} (z^{(l-1)})^T$ for "
    "the weights of layer $l$.",
    found="They agree with difference quotients of the loss to {measured}.",
    at="eq. (8)",
    mutants={
        "W in place of its transpose": {"backward": lambda w: w.T},
        "phi' left out of D": {"slope": np.ones_like},
    },
)
def backpropagation(
    activations: Sequence[Activation] = TESTED,
    backward: Callable[[Any], Any] = lambda w: w,
    slope: Callable[[Any], Any] | None = None,
) -> Evidence:
    width, depth, step, rng = 9, 4, 1e-5, np.random.default_rng(8)
    measured, expected = [], []
    for phi in activations:
        net = network(phi)
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
    domain = f"{names(activations)}; squared loss; {depth} layers of width {width}; one bias and one weight a layer"
    return equal(measured, expected, 1e-8, domain=domain, oracle="a central difference of the loss, step 1e-5")


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


@claim(
    "eq-9",
    r"The variance of the backpropagated error is multiplied by $\chi_1$ at every layer.",
    at="eq. (9)",
    mutants={"chi_1 to the 1.2": {"power": 1.2}, "V'(q*) in place of chi_1": {"rate": "variance_slope"}},
)
def error_variance(activations: Sequence[Activation] = TESTED[:2], power: float = 1.0, rate: str = "chi1") -> Evidence:
    width, depth, count, factors = 100, 12, 120, (0.8, 1.0, 1.4)
    rng = np.random.default_rng(9)
    nets = [network(phi, factor) for phi in activations for factor in factors]
    shares = []
    for net in nets:
        sampled = []
        for _ in range(count):
            layers = list(sampling.standard_layers([width] * (depth + 1), rng=rng))
            h = list(sampling.preactivations(net, sampling.on_sphere(net, rng.standard_normal((1, width))), layers))
            # Fifty losses, random and independent of the network, as the mean-field argument takes them to be.
            delta, same = rng.standard_normal((50, width)), [np.repeat(one, 50, axis=0) for one in h]
            variance = [np.mean(e**2) for e in sampling.errors_backward(net, same, layers, delta)]
            sampled.append(np.array(variance[:-1]) / variance[-1])
        theory = getattr(net, rate) ** (power * np.arange(depth - 1, 0, -1))
        shares.append(np.array(sampled) / theory)
    return agree(
        np.stack(shares, axis=1),
        np.ones((len(nets), depth - 1)),
        domain=f"{names(activations)}; {multiples(factors)}; variance over its prediction",
        at=lambda i: f"layer {i[1] + 1}, {place(nets[i[0]])}",
        oracle=f"{count} sampled networks of width {width} and {depth} layers",
    )


# --- The first two moments of the spectrum ---


_SAMPLES = {80: 64, 160: 32}  # width: number of networks
SPECTRA = "Jacobians sampled at width 80 (64 of them) and 160 (32), extrapolated to infinite width"


@lru_cache(maxsize=64)
def sampled_moments(net: mf.MeanField, depth: int, weights: str) -> tuple[tuple[float, float], tuple[float, float]]:
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


@claim(
    "eq-12",
    r"$m_1 = (\sigma_w^2 \mu_1)^L$ and $m_2 = m_1^2 L (\mu_2/\mu_1^2 + 1/L - 1 - s_1)$, with $s_1 = -1$ "
    "for Gaussian and 0 for orthogonal weights.",
    at="eq. (12)",
    mutants={
        "Gaussian weights with s_1 = 0": {"taken_for": {"gaussian": "orthogonal", "orthogonal": "orthogonal"}},
        "orthogonal weights with s_1 = -1": {"taken_for": {"gaussian": "gaussian", "orthogonal": "gaussian"}},
        "one layer too many": {"extra": 1},
    },
)
def jacobian_moments(
    activations: Sequence[Activation] = (TESTED[0], TESTED[2]),
    taken_for: dict[str, str] | None = None,
    extra: int = 0,
) -> Evidence:
    factors = (0.85, 1.0, 1.3)
    cases = [(phi, f, weights) for phi in activations for f in factors for weights in sampling.WEIGHTS]
    depth, distances = 4, []
    for phi, factor, weights in cases:
        net = network(phi, factor)
        m1, m2 = isometry.jacobian_moments(net, depth + extra, weights=(taken_for or {}).get(weights, weights))
        theory = m1, m2 / m1**2 - 1
        sampled = sampled_moments(net, depth, weights)
        distances.append([abs(value - t) / error for (value, error), t in zip(sampled, theory, strict=True)])
    return within_errors(
        distances,
        domain=f"{names(activations)}; {multiples(factors)}; both kinds of weights; L = {depth}; m_1, m_2/m_1^2 - 1",
        at=lambda i: f"{'m_2/m_1^2 - 1' if i[1] else 'm_1'}, {cases[i[0]][0].name}, {cases[i[0]][2]} weights",
        oracle=SPECTRA,
    )


@claim(
    "eq-13",
    r"On the edge of chaos the variance of the spectrum of $J J^T$ is $L (\mu_2/\mu_1^2 - 1 - s_1)$: it "
    "grows linearly with depth, and for Gaussian weights at least by 1 a layer.",
    at="eq. (13)",
    mutants={
        "Gaussian weights with s_1 = 0": {"taken_for": "orthogonal"},
        "growth with L^2": {"power": 2},
        "mu_2/mu_1 in place of mu_2/mu_1^2": {"divisor": 1},
    },
)
def jacobian_variance(
    activations: Sequence[Activation] = (TESTED[0], TESTED[2]), taken_for: str = "", power: int = 1, divisor: int = 2
) -> Evidence:
    s_1 = {"gaussian": -1.0, "orthogonal": 0.0}
    cases = [(phi, weights, depth) for phi in activations for weights in sampling.WEIGHTS for depth in (2, 4, 8)]
    distances = []
    for phi, weights, depth in cases:
        net = network(phi)
        mu1, mu2 = (isometry.derivative_moment(phi, net.q, k) for k in (1, 2))
        theory = depth**power * (mu2 / mu1**divisor - 1 - s_1[taken_for or weights])
        _, (value, error) = sampled_moments(net, depth, weights)
        distances.append(abs(value - theory) / error)
    return within_errors(
        distances,
        domain=f"{names(activations)} on the edge of chaos, sigma_b2 = {BIAS:g}; L = 2, 4, 8; both kinds of weights",
        at=lambda i: f"{cases[i[0]][0].name}, {cases[i[0]][1]} weights, L = {cases[i[0]][2]}",
        oracle=SPECTRA,
    )

"""Section 2.1: variance and correlation from layer to layer, against sampled networks, closed forms and differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from afli import activations as act
from afli import meanfield as mf
from afli import sampling
from afli.activations import Activation
from afli.claims.comparisons import Evidence, agree, equal
from afli.claims.ledger import on
from afli.claims.vocabulary import BIAS, critical, multiples, names, off_the_edge, place, point

claim = on("2_1_correlation_dynamics", "Section 2.1")

TESTED = (act.tanh(), act.shtanh(a=1.0), act.shtanh(a=3.0), act.elu())
_WIDTH, _NETWORKS, _LAYERS = 150, 640, 6


# --- The recurrences, against networks of finite width ---


@lru_cache(maxsize=32)
def _sampled_kernels(phi: Activation) -> tuple[mf.MeanField, Any]:
    """Kernels (networks, layers, 2, 2) of two inputs, of variances q and q / 2 in layer 1 and correlated."""
    net, rng = critical(phi), np.random.default_rng(21)
    x = sampling.on_sphere(net, rng.standard_normal((2, _WIDTH)) + 0.7 * rng.standard_normal((1, _WIDTH)))
    x[1] *= np.sqrt((0.5 * net.q - net.sigma_b2) / (net.q - net.sigma_b2))
    given, kernels = net.sigma_w2 * (x @ x.T) / _WIDTH + net.sigma_b2, []
    for _ in range(_NETWORKS):
        layers = sampling.standard_layers([_WIDTH] * (_LAYERS + 1), rng=rng)
        kernels.append([given, *(h @ h.T / _WIDTH for h in sampling.preactivations(net, x, layers))])
    return net, np.array(kernels)


@claim(
    "eq-2",
    r"One layer up the covariance of two preactivations is $\sigma_w^2\, \E[\phi(u) \phi(v)] + \sigma_b^2$; so a "
    r"variance moves by $q \to \sigma_w^2\, \E[\phi(\sqrt{q} Z)^2] + \sigma_b^2$.",
    at="eqs. (2) and (3)",
    formerly=("eq-3",),
    mutants={"bias variance left out": {"bias": 0.0}, "1.05 sigma_w2 in place of sigma_w2": {"weight": 1.05}},
)
def kernel_recursion(activations: Sequence[Activation] = TESTED, weight: float = 1.0, bias: float = 1.0) -> Evidence:
    samples, theory = [], []
    for phi in activations:
        net, kernels = _sampled_kernels(phi)
        path = [kernels[0, 0]]
        while len(path) < _LAYERS:
            path.append(_next_kernel(net, path[-1], weight, bias))
        samples.append(kernels[:, 1:, 1])  # of the input that starts at q / 2: its covariance and its variance
        theory.append(np.array(path)[:, 1])
    return agree(
        np.stack(samples, axis=1),
        theory,
        domain=f"{names(activations)} on the edge of chaos, sigma_b2 = {BIAS:g}",
        at=lambda i: f"{('covariance', 'variance')[i[2]]}, {activations[i[0]].name}, layer {i[1] + 1}",
        oracle=f"{_NETWORKS} sampled networks of width {_WIDTH} and {_LAYERS} layers",
    )


def _next_kernel(net: mf.MeanField, kernel: Any, weight: float, bias: float) -> Any:
    """One step of (2) for two inputs."""
    sigma_w2, sigma_b2 = weight * net.sigma_w2, bias * net.sigma_b2
    (q1, c), (_, q2) = kernel
    own = mf.variance_map(net.phi, np.array([q1, q2]), sigma_w2=sigma_w2, sigma_b2=sigma_b2)
    rho = c / np.sqrt(q1 * q2)
    shared = mf.covariance_map(net.phi, rho, q1=q1, q2=q2, sigma_w2=sigma_w2, sigma_b2=sigma_b2)
    return np.array([[own[0], shared], [shared, own[1]]])


@claim(
    "eq-4",
    r"Inputs of variances $q_1, q_2$ and correlation $\rho$ get the covariance $\sigma_w^2\, \E[\phi(U_1) "
    r"\phi(U_2)] + \sigma_b^2$, where $U_1 = \sqrt{q_1} Z_1$ and $U_2 = \sqrt{q_2} (\rho Z_1 + \sqrt{1 - "
    r"\rho^2} Z_2)$.",
    found="Quadrature agrees with the closed forms to {measured}.",
    at="eq. (4)",
    mutants={
        "rho^2 under U2 in place of rho": {"mixing": lambda rho: rho**2},
        "U2 with variance q1": {"same_variance": True},
    },
)
def covariance_of_unequal_inputs(
    mixing: Callable[[Any], Any] = lambda rho: rho, same_variance: bool = False
) -> Evidence:
    rho = np.linspace(-0.95, 0.95, 9)
    pairs = [(q1, q2) for q1 in (0.2, 1.0, 3.0) for q2 in (0.5, 2.0)]
    measured, expected = [], []
    for q1, q2 in pairs:
        root = np.sqrt(q1 * q2)
        arcsine = 2 / np.pi * np.arcsin(2 * rho * root / np.sqrt((1 + 2 * q1) * (1 + 2 * q2)))
        arccosine = root / (2 * np.pi) * (np.sqrt(1 - rho**2) + rho * (np.pi - np.arccos(rho)))
        for phi, closed in ((act.erf(), arcsine), (act.relu(), arccosine)):
            second = q1 if same_variance else q2
            step = mf.covariance_map(phi, mixing(rho), q1=q1, q2=second, sigma_w2=1.3, sigma_b2=0.2)
            measured.append(step)
            expected.append(1.3 * closed + 0.2)
    return equal(
        measured,
        expected,
        1e-12,
        domain="erf and relu; q1 in 0.2, 1, 3; q2 in 0.5, 2; nine correlations in [-0.95, 0.95]",
        at=lambda i: f"{'relu' if i[0] % 2 else 'erf'}, (q1, q2) = {pairs[i[0] // 2]}, rho = {rho[i[1]]:g}",
        oracle="closed forms: arcsine (erf), arc-cosine (relu)",
    )


@lru_cache(maxsize=16)
def _sampled_correlations(net: mf.MeanField, weights: str, depth: int, count: int) -> tuple[Any, Any]:
    """Correlations of two inputs at q*, (networks, depth), and the first of each, which the weights of layer 1 give."""
    rng, given, paths = np.random.default_rng(50), [], []
    for _ in range(count):
        x = sampling.on_sphere(net, rng.standard_normal((2, _WIDTH)))
        layers = sampling.standard_layers([_WIDTH] * (depth + 1), weights=weights, rng=rng)
        given.append((net.sigma_w2 * x[0] @ x[1] / _WIDTH + net.sigma_b2) / net.q)
        paths.append([sampling.correlations(h)[0] for h in sampling.preactivations(net, x, layers)])
    return np.array(paths), np.array(given)


def correlations_agree(nets: Sequence[mf.MeanField], weights: str, depth: int, count: int, gap: float) -> Evidence:
    """Evidence that sampled correlations follow R from layer to layer; R - rho is taken `gap` times as large."""
    samples, theory = [], []
    for net in nets:
        paths, rho = _sampled_correlations(net, weights, depth, count)
        expected = [rho]
        for _ in range(depth - 1):
            expected.append(expected[-1] + gap * net.correlation_gap(expected[-1]))
        # The inputs differ from network to network, and the theory with them.
        mean = np.mean(expected, axis=1)
        samples.append(paths - np.transpose(expected) + mean)
        theory.append(mean)
    return agree(
        np.stack(samples, axis=1),
        theory,
        domain=f"correlations of pairs; {names([net.phi for net in nets])} on the edge of chaos, sigma_b2 = {BIAS:g}",
        at=lambda i: f"{place(nets[i[0]])}, layer {i[1] + 1}",
        oracle=f"{count} sampled networks of width {_WIDTH} and {depth} layers, {weights} weights",
    )


@claim(
    "eq-5",
    r"With all inputs at the fixed point $q^*$, correlations move by $R(\rho) = (\sigma_w^2\, "
    r"\E[\phi(U_1) \phi(U_2)] + \sigma_b^2)/q^*$, and $R(1) = 1$.",
    at="eq. (5)",
    mutants={
        "q off its fixed point (q*/2)": {"variance": 0.5},
        "sigma_b2 left out": {"bias": 0.0},
        "R - rho six per cent larger": {"gap": 1.06},
    },
)
def correlation_recursion(
    activations: Sequence[Activation] = TESTED, variance: float = 1.0, bias: float = 1.0, gap: float = 1.0
) -> Evidence:
    nets = [critical(phi) for phi in activations]
    at_one = [
        mf.variance_map(net.phi, variance * net.q, sigma_w2=net.sigma_w2, sigma_b2=bias * net.sigma_b2)
        / (variance * net.q)
        for net in nets
    ]
    equal(at_one, 1.0, 1e-12, domain="R(1)", at=lambda i: f"R(1), {place(nets[i[0]])}")
    return correlations_agree(nets, "gaussian", 12, _NETWORKS, gap)


# --- The slope at 1, against differences (elsewhere: Lemma 3.2) ---


@claim(
    "eq-7",
    r"The slope of the correlation map at $\rho = 1$ is $\chi_1 = \sigma_w^2\, \E[\phi'(\sqrt{q^*} Z)^2]$.",
    found="Difference quotients at 1 agree to {measured}.",
    at="eq. (7)",
    mutants={"E[phi']^2 in place of E[phi'^2]": {"inner": 1, "outer": 2}},
)
def slope_at_one(activations: Sequence[Activation] = TESTED, inner: int = 2, outer: int = 1) -> Evidence:
    h = 1e-5
    nets = off_the_edge(activations, (0.7, 1.3, 1.8))
    measured, expected = [], []
    for net in nets:
        coarse, fine = (1 - net.correlation_gap(1 - s) / s for s in (4 * h, h))
        # A kink adds a term in sqrt(h), which this combination removes; without kinks it costs an O(h).
        measured.append(2 * fine - coarse)
        slope = net.phi.gradient
        mean = net.phi.mean(lambda u, f=slope: f(u) ** inner, net.q)  # type: ignore[misc]
        expected.append(net.sigma_w2 * mean**outer)
    return equal(
        measured,
        expected,
        1e-4,
        domain=f"{names(activations)}; {multiples((0.7, 1.3, 1.8))}",
        at=point(nets),
        oracle="a difference quotient of R at 1, steps 1e-5 and 4e-5",
    )

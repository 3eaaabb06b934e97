"""Section 2.1: variance and correlation from layer to layer, against sampled networks, closed forms and differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from afli import activations as act
from afli import gaussian, sampling
from afli import meanfield as mf
from afli.activations import Activation
from afli.claims.vocabulary import BIAS, Evidence, agree, critical, equal, multiples, names, off_the_edge, on, place
from afli.differences import derivative

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


def _against_sampling(
    activations: Sequence[Activation], predict: Callable[[mf.MeanField, Any], Any], entry: tuple[int, int]
) -> Evidence:
    """One entry of the sampled kernel, layer by layer, beside the iterated prediction from the same inputs."""
    samples, theory = [], []
    for phi in activations:
        net, kernels = _sampled_kernels(phi)
        kernel, path = kernels[0, 0], []
        for _ in range(_LAYERS):
            path.append(kernel[entry])
            kernel = predict(net, kernel)
        samples.append(kernels[:, 1:, *entry])
        theory.append(path)
    return agree(
        np.stack(samples, axis=1),
        theory,
        domain=f"{names(activations)} on the edge of chaos, sigma_b2 = {BIAS:g}",
        at=lambda i: f"{activations[i[0]].name}, layer {i[1] + 1}",
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
    "eq-2",
    r"The covariance of two preactivations, one layer up, is $\sigma_w^2\, \E[\phi(u) \phi(v)] + "
    r"\sigma_b^2$.",
    found=(
        "Sampled networks agree: the largest of 18 distances is {measured:.1f} standard errors; chance "
        "allows {bound:.1f}."
    ),
    at="eq. (2)",
    mutants={"bias variance left out": {"bias": 0.0}, "1.05 sigma_w2 in place of sigma_w2": {"weight": 1.05}},
)
def kernel_recursion(
    activations: Sequence[Activation] = TESTED[:3], weight: float = 1.0, bias: float = 1.0
) -> Evidence:
    return _against_sampling(activations, lambda net, kernel: _next_kernel(net, kernel, weight, bias), (0, 1))


@claim(
    "eq-3",
    r"The variance of a preactivation moves up a layer by $q \to \sigma_w^2\, \E[\phi(\sqrt{q} Z)^2] + "
    r"\sigma_b^2$.",
    found=(
        "Sampled networks agree: the largest of 24 distances is {measured:.1f} standard errors; chance "
        "allows {bound:.1f}."
    ),
    at="eq. (3)",
    mutants={"bias variance left out": {"bias": 0.0}, "1.05 sigma_w2 in place of sigma_w2": {"weight": 1.05}},
)
def variance_recursion(activations: Sequence[Activation] = TESTED, weight: float = 1.0, bias: float = 1.0) -> Evidence:
    def predict(net: mf.MeanField, kernel: Any) -> Any:
        step = mf.variance_map(net.phi, np.diag(kernel), sigma_w2=weight * net.sigma_w2, sigma_b2=bias * net.sigma_b2)
        return np.diag(step)

    return _against_sampling(activations, predict, (1, 1))  # the input that starts at q / 2, off the fixed point


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
def sampled_correlations(
    net: mf.MeanField, weights: str, depth: int = 12, networks: int = _NETWORKS
) -> tuple[Any, Any]:
    """Correlations of two inputs at q*, (networks, depth), and the first of each, which the weights of layer 1 give."""
    rng, given, paths = np.random.default_rng(50), [], []
    for _ in range(networks):
        x = sampling.on_sphere(net, rng.standard_normal((2, _WIDTH)))
        layers = sampling.standard_layers([_WIDTH] * (depth + 1), weights=weights, rng=rng)
        given.append((net.sigma_w2 * x[0] @ x[1] / _WIDTH + net.sigma_b2) / net.q)
        paths.append([sampling.correlations(h)[0] for h in sampling.preactivations(net, x, layers)])
    return np.array(paths), np.array(given)


@claim(
    "eq-5",
    r"With all inputs at the fixed point $q^*$, correlations move by $R(\rho) = (\sigma_w^2\, "
    r"\E[\phi(U_1) \phi(U_2)] + \sigma_b^2)/q^*$, and $R(1) = 1$.",
    found=(
        "Sampled networks agree: the largest of 48 distances is {measured:.1f} standard errors; chance "
        "allows {bound:.1f}."
    ),
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
    domain = f"{names(activations)} on the edge of chaos, sigma_b2 = {BIAS:g}; R(1) = 1 to 1e-12"
    equal(at_one, 1.0, 1e-12, domain=domain, at=lambda i: f"R(1), {place(nets[i[0]])}")
    samples, theory = [], []
    for net in nets:
        paths, rho = sampled_correlations(net, "gaussian")
        expected = [rho]
        for _ in range(paths.shape[1] - 1):
            expected.append(expected[-1] + gap * net.correlation_gap(expected[-1]))
        # The inputs differ from network to network, and the theory with them.
        mean = np.mean(expected, axis=1)
        samples.append(paths - np.transpose(expected) + mean)
        theory.append(mean)
    return agree(
        np.stack(samples, axis=1),
        theory,
        domain=f"{domain}; then correlations of pairs",
        at=lambda i: f"{place(nets[i[0]])}, layer {i[1] + 1}",
        oracle=f"{_NETWORKS} sampled networks of width {_WIDTH} and 12 layers",
    )


# --- Slopes, against differences ---


@claim(
    "eq-6",
    r"The slope of the correlation map is $R'(\rho) = \sigma_w^2\, \E[\phi'(U_1) \phi'(U_2)]$.",
    found="Differences of $R$ agree to {measured}.",
    at="eq. (6)",
    mutants={
        "a factor q* too many": {"power": 1.0},
        "E[phi'] squared in place of E[phi'(U1) phi'(U2)]": {"mixing": 0.0},
    },
)
def slope_of_the_map(activations: Sequence[Activation] = TESTED, power: float = 0.0, mixing: float = 1.0) -> Evidence:
    rho = np.array([-0.6, -0.2, 0.3, 0.7])
    nets = off_the_edge(activations, (0.7, 1.0, 1.8))
    measured, expected = [], []
    for net in nets:
        measured.append(derivative(net.correlation_map, rho, 2e-3))
        slope, kinks = net.phi.gradient, net.phi.kinks
        mean = gaussian.expectation2(slope, slope, mixing * rho, q1=net.q, q2=net.q, kinks_f=kinks, kinks_g=kinks)
        expected.append(net.sigma_w2 * mean * net.q**power)
    return equal(
        measured,
        expected,
        1e-9,
        domain=f"{names(activations)}; {multiples((0.7, 1.0, 1.8))}; rho = {', '.join(f'{r:g}' for r in rho)}",
        at=lambda i: f"rho = {rho[i[1]]:g}, {place(nets[i[0]])}",
        oracle="a six-point difference of R, step 2e-3",
    )


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
        at=lambda i: place(nets[i[0]]),
        oracle="a difference quotient of R at 1, steps 1e-5 and 4e-5",
    )

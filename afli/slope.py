"""The slope of the correlation map without phi' (Lemma 3.2), and the sums over the kinks in its proof."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from afli import gaussian
from afli import meanfield as mf
from afli.activations import Activation
from afli.differences import derivative

__all__ = ["jump_sum", "jump_terms", "numerical_slope", "sampled_slope"]


def numerical_slope(net: mf.MeanField, rho: ArrayLike) -> NDArray[np.float64]:
    """R'(rho) by central differences of the two-dimensional integral (5), for rho in (-1, 1); phi' is not used."""

    def covariance(r: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(
            mf.covariance_map(net.phi, r, q1=net.q, q2=net.q, sigma_w2=net.sigma_w2, sigma_b2=net.sigma_b2)
        )

    return np.asarray(derivative(covariance, rho, 0.03 * (1 - np.abs(rho))) / net.q)


def sampled_slope(net: mf.MeanField, rho: float, z: np.ndarray) -> tuple[float, float]:
    """R'(rho) by sampling, and its standard error.

    The derivative falls on the Gaussian density, not on phi: the mean of phi(U1) phi(U2) d/drho log density.

    Here rho is in (-1, 1), and z are independent standard normal pairs, shape (2, n).
    """
    s2 = 1 - rho**2
    v = np.array([z[0], rho * z[0] + np.sqrt(s2) * z[1]])
    score = (rho * s2 + (1 + rho**2) * v[0] * v[1] - rho * (v[0] ** 2 + v[1] ** 2)) / s2**2
    f = net.phi.function
    terms = net.sigma_w2 / net.q * f(np.sqrt(net.q) * v[0]) * f(np.sqrt(net.q) * v[1]) * score
    return float(terms.mean()), float(terms.std() / np.sqrt(len(terms)))


# --- The step of the printed proof ---


def jump_terms(phi: Activation, q: float, rho: float) -> tuple[float, float]:
    """What remains of the two integrals of (30) when sqrt(q) E[phi'(U1) phi'(U2)] is accounted for.

    Here q > 0 and rho is in (-1, 1).

    Returns
    -------
    first, second
        E[Z1 phi(U1) phi'(U2)] - sqrt(q) E[phi'(U1) phi'(U2)], the sum in (33), and
        rho / sqrt(1 - rho^2) E[Z2 phi(U1) phi'(U2)], the sum in (32); both by two-dimensional quadrature.
    """
    root, f, df = float(np.sqrt(q)), phi.function, phi.gradient

    def mean(left: Callable, right: Callable) -> float:
        value = gaussian.expectation2(
            left, right, rho, q1=q, q2=q, kinks_f=phi.kinks, kinks_g=phi.kinks, scale=phi.scale
        )
        return float(value)

    with_z1 = mean(lambda u: u / root * f(u), df)
    with_u2 = mean(f, lambda u: u / root * df(u))
    # U2 / sqrt(q) = rho Z1 + sqrt(1 - rho^2) Z2
    return with_z1 - root * mean(df, df), rho / (1 - rho**2) * (with_u2 - rho * with_z1)


def jump_sum(phi: Activation, q: float, rho: float) -> float:
    """rho sqrt(q) sum_i J_i p_q(d_i) E[phi(U1) | U2 = d_i] for piecewise-linear phi: J_i the jumps of phi' at d_i."""
    kinks, jumps = np.array(phi.kinks), np.diff(np.array(phi.piece_slopes))

    def mean_given(d: float) -> float:
        return float(
            gaussian.expectation(lambda u: phi.function(rho * d + u), q * (1 - rho**2), kinks=list(kinks - rho * d))
        )

    means = np.array([mean_given(float(d)) for d in kinks])
    density = gaussian.normal_density(kinks / np.sqrt(q)) / np.sqrt(q)
    return float(rho * np.sqrt(q) * np.sum(jumps * density * means))

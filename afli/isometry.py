"""Dynamical isometry (Section 2.2): how the spectrum of the input-output Jacobian follows from the moments of phi'^2.

mu_k = E[phi'(sqrt(q) Z)^(2k)]. The formulas assume that the factors of the Jacobian are asymptotically free, which is
proved for Gaussian weights and standard for Haar-orthogonal ones; the book compares them with sampled networks.
"""

from __future__ import annotations

from typing import Any, overload

import numpy as np

from afli import moments
from afli._activation import Activation, require
from afli._inputs import WEIGHTS, Array, Many, integer, like, quiet_underflow, real, word
from afli.errors import ConvergenceError
from afli.meanfield import MeanField, require_network

__all__ = ["backward_variance", "derivative_moment", "jacobian_moments", "jacobian_variance", "moment_ratio"]

_S1 = dict(zip(WEIGHTS, (-1.0, 0.0), strict=True))  # second coefficient of the S-transform of W W^T, eq. (12)


@overload
def derivative_moment(phi: Activation, q: float, k: int) -> float: ...
@overload
def derivative_moment(phi: Activation, q: Many, k: int) -> Array: ...
@quiet_underflow
def derivative_moment(phi: Activation, q: float | Many, k: int) -> Any:
    """mu_k = E[phi'(sqrt(q) Z)^(2k)], below eq. (12).

    Parameters
    ----------
    q
        Variances > 0, any shape; that of the result.
    k
        From 1 to 10^6. Unless phi' is piecewise constant its powers lose k units of rounding, so that from some
        thousands on the integral may not settle.

    Raises
    ------
    ConvergenceError
        If the integral does not settle, or mu_k leaves the range of a float.
    """
    require(phi)
    q, k = real("q", q, low=0.0, open_low=True), integer("k", k, low=1, high=10**6)
    mu = np.asarray(moments.slope_power(phi, q, 2 * k))
    if not np.isfinite(mu).all():
        raise ConvergenceError(f"mu_k of {phi.name} leaves the range of a float at k={k}")
    return like(mu)


@overload
def moment_ratio(phi: Activation, q: float) -> float: ...
@overload
def moment_ratio(phi: Activation, q: Many) -> Array: ...
def moment_ratio(phi: Activation, q: float | Many) -> Any:
    """mu_2 / mu_1^2 >= 1, with equality only if |phi'| is constant. q and result as for `derivative_moment`.

    Raises
    ------
    ValueError
        Where mu_1 is 0, as for a constant phi, or a power of it leaves the range of a float.
    """
    mu1, mu2 = (np.asarray(derivative_moment(phi, q, k)) for k in (1, 2))
    good = (mu1**2 > 0) & np.isfinite(mu2)
    if not good.all():
        raise ValueError(
            "mu_1^2 and mu_2 must be > 0 and finite, "
            f"got mu_1={float(mu1[~good][0]):g} and mu_2={float(mu2[~good][0]):g} for {phi.name}"
        )
    return like(mu2 / mu1**2)


def jacobian_moments(net: MeanField, depth: int, *, weights: str) -> tuple[float, float]:
    """m_1 and m_2, the first two moments of the squared singular values of a Jacobian, eq. (12).

    Parameters
    ----------
    depth
        Its layers, at least 1.
    weights
        "orthogonal" (Haar) or "gaussian".

    Raises
    ------
    ValueError
        If the moments leave the range of a float.
    """
    m1 = _gain(net, depth)
    return m1, m1**2 * (1 + _spread(net, depth, weights))


def jacobian_variance(net: MeanField, depth: int, *, weights: str) -> float:
    """sigma^2_JJT = m_2 - m_1^2, eq. (13): on the edge of chaos depth (mu_2 / mu_1^2 - 1 - s_1). Arguments as above.

    Examples
    --------
    >>> from afli import activations as act, meanfield as mf
    >>> net = mf.edge_of_chaos(act.shtanh(5.0), sigma_b2=0.1)
    >>> round(jacobian_variance(net, 30, weights="orthogonal"), 3)
    0.773
    """
    return _gain(net, depth) ** 2 * _spread(net, depth, weights)


@quiet_underflow
def backward_variance(net: MeanField, depth: int) -> Array:
    """Variance of the error backpropagated through l layers of equal width, relative to the last layer, eq. (9).

    It is chi_1^l for l = 0, ..., depth; depth from 0 to 10^7. Raises ValueError if it leaves the range of a float.
    """
    _gain(net, max(1, integer("depth", depth, low=0, high=10**7)))
    return np.asarray(net.chi1 ** np.arange(depth + 1))


@quiet_underflow
def _gain(net: MeanField, depth: int) -> float:
    """m_1 = chi_1^depth."""
    depth, chi1 = integer("depth", depth, low=1), require_network(net).chi1
    if depth * np.log(max(chi1, 1.0)) > 300:  # m_1^2 must fit into a float, whose largest is exp(709)
        raise ValueError(f"depth={depth} is too deep for chi_1={chi1:.6g}: chi_1^depth leaves the range of a float")
    return float(chi1**depth)


def _spread(net: MeanField, depth: int, weights: str) -> float:
    return depth * (moment_ratio(net.phi, net.q) - 1 - _S1[word("weights", weights, WEIGHTS)])

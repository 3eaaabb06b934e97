"""Mean field theory of a wide random network (Section 2.1): variance map, correlation map, edge of chaos, phases.

In the wide limit a network is described by two numbers per pair of inputs: the variance q of a preactivation and the
correlation rho of two of them. A `MeanField` is such a network at a fixed point of its variance map.
"""

from __future__ import annotations

import reprlib
import sys
import warnings
from functools import cached_property
from typing import Any, overload

import numpy as np

from afli import correlation, gaussian, moments
from afli._activation import Activation, require
from afli._inputs import Array, Many, integer, like, quiet, quiet_underflow, real, scalar, together
from afli.errors import ConvergenceError, NoFixedPointError, RepellingPointWarning
from afli.fixed_points import ROUNDING, bias_variance_at, critical_variance, fixed_variance, newton_from_the_left
from afli.iteration import steps_until
from afli.phase_diagram import PhaseDiagram, phase_diagram

__all__ = [
    "MeanField",
    "PhaseDiagram",
    "chi1",
    "covariance_map",
    "critical_at",
    "critical_map",
    "edge_of_chaos",
    "phase_diagram",
    "variance_map",
]


# --- Maps ---


@overload
def variance_map(phi: Activation, q: float, *, sigma_w2: float, sigma_b2: float) -> float: ...
@overload
def variance_map(phi: Activation, q: float | Many, *, sigma_w2: float | Many, sigma_b2: float | Many) -> Any: ...
@quiet
def variance_map(phi: Activation, q: float | Many, *, sigma_w2: float | Many, sigma_b2: float | Many) -> Any:
    """V(q) = sigma_w2 E[phi(sqrt(q) Z)^2] + sigma_b2, eq. (3).

    Parameters
    ----------
    q, sigma_w2, sigma_b2
        Variances >= 0, broadcast together.

    Raises
    ------
    ConvergenceError
        If the integral does not settle, or V(q) leaves the range of a float.
    """
    require(phi)
    q, sigma_w2, sigma_b2 = _variances(q=q, sigma_w2=sigma_w2, sigma_b2=sigma_b2)
    square = np.where(q > 0, moments.square(phi, _positive(q)), _at_zero(phi.function))
    return like(_in_range("V(q)", phi, q, sigma_w2 * square + sigma_b2))


@overload
def chi1(phi: Activation, q: float, *, sigma_w2: float) -> float: ...
@overload
def chi1(phi: Activation, q: float | Many, *, sigma_w2: float | Many) -> Any: ...
@quiet
def chi1(phi: Activation, q: float | Many, *, sigma_w2: float | Many) -> Any:
    """chi_1 = sigma_w2 E[phi'(sqrt(q) Z)^2], eq. (7): the slope of the correlation map at rho = 1.

    The variances are >= 0, broadcast together. Errors as for `variance_map`.
    """
    require(phi)
    q, sigma_w2 = _variances(q=q, sigma_w2=sigma_w2)
    square = np.where(q > 0, moments.slope_power(phi, _positive(q), 2), _at_zero(phi.derivative))
    return like(_in_range("chi_1", phi, q, sigma_w2 * square))


@overload
def critical_map(phi: Activation, q: float, *, sigma_b2: float) -> float: ...
@overload
def critical_map(phi: Activation, q: float | Many, *, sigma_b2: float | Many) -> Any: ...
@quiet
def critical_map(phi: Activation, q: float | Many, *, sigma_b2: float | Many) -> Any:
    """W(q) = E[phi(sqrt(q) Z)^2] / E[phi'(sqrt(q) Z)^2] + sigma_b2, eq. (18).

    Its fixed points are the variances of the networks on the edge of chaos with that bias variance (Corollary 3.1.1).

    The variances are > 0 and >= 0, broadcast together.

    Raises
    ------
    ValueError
        Where E phi'^2 is 0, as for a constant phi.
    ConvergenceError
        As for `variance_map`.
    """
    require(phi)
    q = real("q", q, low=0.0, open_low=True)
    q, sigma_b2 = together(q=q, sigma_b2=real("sigma_b2", sigma_b2, low=0.0))
    # Below the diagonal by little, the difference from it is exact; by much, the quotient is, and the other cancels.
    below = np.asarray(bias_variance_at(phi, q))
    quotient = moments.square(phi, q) / moments.slope2_divisor(phi, q)
    return like(_in_range("W(q)", phi, q, np.where(below < 0.5 * q, q - below, quotient) + sigma_b2))


@overload
def covariance_map(phi: Activation, rho: float, *, q1: float, q2: float, sigma_w2: float, sigma_b2: float) -> float: ...
@overload
def covariance_map(phi: Activation, rho: Many, *, q1: float, q2: float, sigma_w2: float, sigma_b2: float) -> Array: ...
@quiet
def covariance_map(
    phi: Activation, rho: float | Many, *, q1: float, q2: float, sigma_w2: float, sigma_b2: float
) -> Any:
    """sigma_w2 E[phi(U1) phi(U2)] + sigma_b2, eqs. (2) and (4): the covariance of two preactivations one layer up.

    Parameters
    ----------
    rho
        Correlations in [-1, 1], any shape; that of the result, which is accurate to 1e-12.
    q1, q2
        The two variances, > 0.
    sigma_w2, sigma_b2
        Variances of weights and biases, >= 0.

    Raises
    ------
    ConvergenceError
        For a variance out of reach of the quadrature, or if the covariance leaves the range of a float.
    """
    require(phi)
    sigma_w2, sigma_b2 = scalar("sigma_w2", sigma_w2, low=0.0), scalar("sigma_b2", sigma_b2, low=0.0)
    f = phi.function
    inner = gaussian.expectation2(
        f, f, rho, q1=q1, q2=q2, kinks_f=phi.kinks, kinks_g=phi.kinks, scale=phi.scale, straight=phi.straight
    )
    covariance = sigma_w2 * np.asarray(inner) + sigma_b2
    return like(_in_range("the covariance", phi, np.broadcast_to(q1, covariance.shape), covariance))


def _in_range(name: str, phi: Activation, q: Array, values: Array) -> Array:
    """The values; ConvergenceError if one of them is not a finite float."""
    if not np.isfinite(values).all():
        index = tuple(np.argwhere(~np.isfinite(values))[0])
        raise ConvergenceError(f"{name} of {phi.name} leaves the range of a float at q = {float(q[index]):g}")
    return values


def _positive(q: Array) -> Array:
    return np.where(q > 0, q, 1.0)


def _at_zero(f: Any) -> float:
    """f(0)^2, the value of E f(sqrt(q) Z)^2 at q = 0."""
    return float(np.asarray(f(np.zeros(1)))[0]) ** 2


def _variances(**values: Any) -> list[Array]:
    return together(**{name: real(name, value, low=0.0) for name, value in values.items()})


# --- A network at its fixed point ---


class MeanField:
    """A wide random network at the fixed point of its variance map, V(q) = q. It does not change once it is made.

    Build critical networks with `edge_of_chaos`.

    Parameters
    ----------
    phi, sigma_w2, sigma_b2
        The activation, and the variances of weights and biases, > 0 and >= 0; attributes, too.
    start
        Of several attracting fixed points the smallest is taken; with `start`, > 0, the one that the variance reaches
        from there (V taken as increasing). A homogeneous phi (ReLU) with every q fixed gets q = 1 by convention, or
        q = start.

    Attributes
    ----------
    q : float
        The fixed point.

    Raises
    ------
    NoFixedPointError
        If the variance vanishes or grows without bound.
    ConvergenceError
        If a fixed point is out of reach of the quadrature, or of a float.

    Examples
    --------
    >>> from afli import activations as act
    >>> net = MeanField(act.relu(), sigma_w2=1.5, sigma_b2=0.3)
    >>> round(net.q, 6), round(net.chi1, 6), round(net.correlation_map(0.0), 6)
    (1.2, 0.75, 0.488732)
    """

    phi: Activation
    sigma_w2: float
    sigma_b2: float
    q: float
    _critical: bool

    @quiet_underflow
    def __init__(self, phi: Activation, *, sigma_w2: float, sigma_b2: float, start: float | None = None) -> None:
        require(phi)
        sigma_w2, sigma_b2 = scalar("sigma_w2", sigma_w2, low=0.0, open_low=True), scalar("sigma_b2", sigma_b2, low=0.0)
        if start is not None:
            start = scalar("start", start, low=0.0, open_low=True)
        self._set(phi, sigma_w2, sigma_b2, fixed_variance(phi, sigma_w2, sigma_b2, start), critical=False)

    def _set(self, phi: Activation, sigma_w2: float, sigma_b2: float, q: float, critical: bool) -> None:
        self.__dict__.update(phi=phi, sigma_w2=sigma_w2, sigma_b2=sigma_b2, q=q, _critical=critical)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a MeanField does not change, since q follows from the rest: make another to set {name}")

    @classmethod
    @quiet_underflow
    def _critical_at(cls, phi: Activation, q: float, sigma_b2: float) -> MeanField:
        net = cls.__new__(cls)
        net._set(phi, 1 / float(moments.slope2_divisor(phi, np.asarray(q))), sigma_b2, q, critical=True)
        return net

    def __repr__(self) -> str:
        numbers = {name: getattr(self, name) for name in ("sigma_w2", "sigma_b2", "q", "chi1")}
        return f"MeanField({self.phi.name}, {', '.join(f'{name}={value:.6g}' for name, value in numbers.items())})"

    @cached_property
    @quiet_underflow
    def chi1(self) -> float:
        """chi_1, eq. (7); exactly 1 on the edge of chaos."""
        if self._critical:
            return 1.0
        return self.sigma_w2 * float(moments.slope_power(self.phi, np.asarray(self.q), 2))

    @cached_property
    @quiet_underflow
    def variance_slope(self) -> float:
        """V'(q): the variance returns to q after a small push if |V'(q)| < 1, and leaves it above 1 (gelu, silu)."""
        return self.sigma_w2 * float(moments.radial(self.phi, np.asarray(self.q))) / self.q

    @cached_property
    @quiet_underflow
    def input_mean_square(self) -> float:
        """The ||x||^2 / n that gives layer 1 the variance q, by eq. (1): (q - sigma_b2) / sigma_w2 = E phi(U)^2."""
        return float(moments.square(self.phi, np.asarray(self.q)))  # the difference of the variances may be rounding

    @property
    def attracts(self) -> bool:
        """Whether the variance does not leave q: V'(q) <= 1, up to rounding. It is 1 for ReLU, which keeps any q."""
        return self.variance_slope <= 1 + 1e-9  # ten thousand times the error of V'(q), which is 1e-13

    @cached_property
    def _curve(self) -> Any:
        curve, at = correlation.curve(self.phi, self.q), np.asarray(self.q)
        known, tabulated = float(moments.square(self.phi, at)) / self.q, float(curve.value(np.ones(())))
        # A hundred times what tables and integrals may differ by; a phi that has changed differs by far more.
        if abs(tabulated - known) > (1e-10 + 100 * self.phi.rounding) * known:
            raise ConvergenceError(f"E phi^2 of {self.phi.name} has changed since its tables were made: make it anew")
        return curve

    @overload
    def correlation_map(self, rho: float) -> float: ...
    @overload
    def correlation_map(self, rho: Many) -> Array: ...
    @quiet_underflow
    def correlation_map(self, rho: float | Many) -> Any:
        """R(rho), eq. (5): the correlation one layer up. rho in [-1, 1], any shape. Absolute accuracy 1e-12."""
        rho = real("rho", rho, low=-1.0, high=1.0)
        return like(np.clip(self._map(rho), -1.0, 1.0))

    @overload
    def correlation_slope(self, rho: float) -> float: ...
    @overload
    def correlation_slope(self, rho: Many) -> Array: ...
    @quiet_underflow
    def correlation_slope(self, rho: float | Many) -> Any:
        """R'(rho) = sigma_w2 E[phi'(U1) phi'(U2)], eqs. (6), (21). rho in [-1, 1], any shape; the limit at the ends."""
        rho = real("rho", rho, low=-1.0, high=1.0)
        return like(self.sigma_w2 * self._curve.slope(rho))

    @overload
    def correlation_gap(self, rho: float) -> float: ...
    @overload
    def correlation_gap(self, rho: Many) -> Array: ...
    @quiet_underflow
    def correlation_gap(self, rho: float | Many) -> Any:
        """R(rho) - rho, for rho in [-1, 1], any shape.

        Of piecewise-linear phi with relative accuracy 1e-11, however close rho is to 1 (in chaos: of the larger of the
        gap and its two parts, that of the bias and that of chi_1 - 1); of others with 1e-13 absolute, and better by
        the factor 1 - rho near 1.
        """
        return like(self._gap(real("rho", rho, low=-1.0, high=1.0)))

    def _map(self, rho: Array) -> Array:
        return np.asarray(self.sigma_w2 * self._curve.value(rho) + self.sigma_b2 / self.q)

    def _gap(self, rho: Array) -> Array:
        """R(rho) - rho; measured from the end rho = 1 wherever that keeps its relative accuracy.

        In chaos, 1 - chi_1 < 0, it does not near 0, where R(0) is known: there the difference is taken.
        """
        near_one = correlation.NEAR_ONE if self.phi.piece_slopes is None else 0.5 if self.chi1 > 1 else 0.0
        subtracted = np.abs(rho) < near_one
        if not self.phi.is_odd:
            subtracted |= rho < 0
        gap = np.empty(rho.shape)
        gap[subtracted] = self._map(rho[subtracted]) - rho[subtracted]
        rest = rho[~subtracted]
        above, _ = self._curve.above_tangent(np.arccos(np.abs(rest)))
        right = (1 - np.abs(rest)) * (1 - self.chi1) + self.sigma_w2 * above
        # For odd phi, R - sigma_b2/q is odd, so the gap at -rho follows from the gap at rho.
        gap[~subtracted] = np.where(rest >= 0, right, 2 * self.sigma_b2 / self.q - right)
        return gap

    def _slope_minus_one(self, rho: Array) -> Array:
        if rho.min() < correlation.NEAR_ONE:
            return self.sigma_w2 * self._curve.slope(rho) - 1
        return self.chi1 - 1 - self.sigma_w2 * self._curve.above_tangent(np.arccos(rho))[1]

    @quiet_underflow
    def correlation_fixed_point(self) -> float:
        """rho*: the attracting fixed point of R in [0, 1]. It is 1 in the ordered phase and on the edge, less in chaos.

        R is convex on [0, 1], so in chaos Newton's iteration climbs to rho* without overshooting. Accuracy
        1e-10; where R is nearly the identity, with h = 1 - R'(rho*), it is 1e-14 (1 - rho*) / h if that is more.

        Raises
        ------
        ConvergenceError
            If so little is left of h that six digits of rho* cannot be had (sin at sigma_w2 = 1 + 1e-6, say).
        """
        if self.chi1 <= 1.0 + ROUNDING:
            return 1.0
        start = np.array([self.sigma_b2 / self.q])
        rho = newton_from_the_left(lambda r, _: (self._gap(r), self._slope_minus_one(r)), start)
        left = -float(self._slope_minus_one(rho)[0])
        if self.phi.piece_slopes is None and 1e-14 * (1 - rho[0]) > 1e-6 * left:  # rounding of R over its slope
            raise ConvergenceError(
                f"rho* of {self} is near {rho[0]:.3g}, but not known to six digits: R is the identity there to "
                f"{left:.1g}"
            )
        return float(rho[0])

    @quiet_underflow
    def correlation_trajectory(self, rho0: float | Many, depth: int) -> Array:
        """Correlations layer by layer: rho0 and its images, shape (depth + 1,) + shape of rho0.

        Parameters
        ----------
        rho0
            The first correlations, in [-1, 1], any shape.
        depth
            Number of layers, from 0 to 100, or to 2 * 10^6 over 20 plus the number of correlations, which takes about
            ten seconds. `layers_until` goes further.
        """
        rho = real("rho0", rho0, low=-1.0, high=1.0)
        path = [rho]
        for _ in range(integer("depth", depth, low=0, high=max(100, 2 * 10**6 // (20 + rho.size)))):
            rho = np.clip(self._map(rho), -1.0, 1.0)
            path.append(rho)
        return np.array(path)

    @quiet_underflow
    def layers_until(self, target: float, rho0: float = 0.2) -> int:
        """The first number of layers after which a pair of inputs has got from correlation rho0 to the target.

        Both in [-1, 1]; 0 if it is reached already. The distance 1 - rho is iterated, not rho, which rounds.

        Raises
        ------
        NoFixedPointError
            If correlations settle below the target (chaos).
        ConvergenceError
            If they stop rising by more than rounding, or 10^6 layers are not enough.

        Examples
        --------
        >>> from afli import activations as act
        >>> edge_of_chaos(act.relu(), sigma_b2=0.0).layers_until(1 - 1e-10)
        666408
        """
        target, start = scalar("target", target, low=-1.0, high=1.0), scalar("rho0", rho0, low=-1.0, high=1.0)
        if start >= target:
            return 0
        rest = self.correlation_fixed_point()
        if rest < target:
            raise NoFixedPointError(f"correlations of {self!r} settle at {rest:.6g} and never reach target={target:g}")
        goal, distance = 1 - target, 1 - start  # the gap is relatively accurate in 1 - rho
        if goal == 0 or self._least_layers(goal, min(1.0, distance)) > _MOST_LAYERS:
            raise ConvergenceError(
                f"{self!r} needs more than {_MOST_LAYERS} layers from {start:g} to target={target!r}"
            )
        for layer in range(1, _MOST_LAYERS + 1):
            if layer == _BY_HAND:  # it goes on slowly: powers of the map
                rest_of_them = steps_until(lambda x: -np.log1p(-self._gap_at(np.exp(x)) / np.exp(x)), distance, goal)
                if rest_of_them is not None and layer - 1 + rest_of_them <= _MOST_LAYERS:
                    return layer - 1 + rest_of_them
            before, distance = distance, distance - float(self._gap_at(np.asarray(distance)))
            if distance <= goal:
                return layer
            if distance >= before:
                break
        raise ConvergenceError(
            f"the correlation is {1 - distance:.9g} after {layer} layers of {self!r}, still below target={target:g}"
        )

    def _gap_at(self, distance: Array) -> Array:
        """R(rho) - rho at rho = 1 - distance, relatively accurate in a small distance."""
        far = distance > 1.0
        above, _ = self._curve.above_tangent(2 * np.arcsin(np.sqrt(0.5 * np.minimum(distance, 1.0))))
        gap = np.asarray(distance * (1 - self.chi1) + self.sigma_w2 * above)
        return np.where(far, self._gap(1 - np.where(far, distance, 1.0)), gap) if np.any(far) else gap

    def _least_layers(self, goal: float, distance: float) -> float:
        """Fewer than the layers from a distance <= 1 to goal: the gap falls on the way, so it is largest first."""
        halvings = distance / goal * 0.5 ** np.arange(1, 1 + max(0, int(np.log2(distance / goal))))
        if not len(halvings):
            return 0.0
        at = goal * halvings
        gap = self._gap_at(np.asarray(2 * at, dtype=np.float64))
        return float(np.sum(at / np.maximum(gap, 1e-300)) - len(at))  # a gap of 0 takes for ever


def require_network(net: Any) -> MeanField:
    """net itself if it is a MeanField; TypeError otherwise."""
    if not isinstance(net, MeanField):
        raise TypeError(f"net must be a MeanField, got {reprlib.repr(net)} of type {type(net).__name__}")
    return net


_MOST_LAYERS = 10**6
_BY_HAND = 100  # layers that are gone through one by one


# --- The edge of chaos ---


def edge_of_chaos(phi: Activation, *, sigma_b2: float) -> MeanField:
    """The network with chi_1 = 1 and this bias variance: q solves W(q) = q, sigma_w2 = 1 / E phi'^2 (Corollary 3.1.1).

    Odd activations have exactly one such network if sigma_b2 > 0. Those with phi(0) = 0 have none if it is 0, except
    homogeneous ones (ReLU), which need 0 and get q = 1. Of several points the smallest is taken, found on a scan of the
    variances. The point may repel: then `RepellingPointWarning` is given, see `MeanField.attracts`.

    Parameters
    ----------
    sigma_b2
        Bias variance, 0 or at least 1e-290 times the square of the longest length of phi.

    Returns
    -------
    MeanField
        q and sigma_w2 are accurate to 1e-12, absolute below 1 and relative above.

    Raises
    ------
    NoFixedPointError
        If there is none; it says why.
    ConvergenceError
        If the integrals do not settle where it may be.
    ValueError
        For a constant phi.

    Examples
    --------
    >>> from afli import activations as act
    >>> net = edge_of_chaos(act.tanh(), sigma_b2=0.1)
    >>> round(net.q, 6), round(net.sigma_w2, 6), net.chi1
    (0.805799, 1.986073, 1.0)
    """
    require(phi)
    sigma_b2 = scalar("sigma_b2", sigma_b2, low=0.0)
    if phi.is_homogeneous:
        net = MeanField._critical_at(phi, 1.0, 0.0)
        if sigma_b2 > 0:
            raise NoFixedPointError(
                f"{phi.name} has no critical point at sigma_b2={sigma_b2:g}: W(q) = q + sigma_b2 for every q"
            )
        return net
    if sigma_b2 == 0 and float(phi.function(np.zeros(1))[0]) == 0.0:
        raise NoFixedPointError(
            f"{phi.name} has no critical point at sigma_b2=0: phi(0) = 0, so W(q) = q only at q = 0; "
            "with few biases choose a small q (critical_at)"
        )
    net = MeanField._critical_at(phi, critical_variance(phi, sigma_b2), sigma_b2)
    if not net.attracts and not _called_from_here():
        warnings.warn(
            f"q* = {net.q:.4g} of {phi.name} at sigma_b2 = {sigma_b2:g} repels (V'(q*) = {net.variance_slope:.4g} > 1):"
            " a deep network drifts away from it; afli.gain.attracting_bias_variance says where it attracts",
            RepellingPointWarning,
            stacklevel=2,
        )
    return net


def _called_from_here() -> bool:
    """Whether the caller of the caller is a module of this library, which knows what it asks for."""
    return str(sys._getframe(2).f_globals.get("__name__", "")).startswith("afli.")


@quiet_underflow
def critical_at(phi: Activation, *, q: float) -> MeanField:
    """The critical network whose fixed point is q: the edge of chaos as a curve with parameter q (Figure 2(c)).

    Raises
    ------
    NoFixedPointError
        Where that would need a negative bias variance.
    ValueError
        Where E phi'^2 is 0.
    """
    require(phi)
    q = scalar("q", q, low=0.0, open_low=True)
    sigma_b2 = float(bias_variance_at(phi, np.asarray(q)))
    if sigma_b2 < -1e-13 * q:  # the accuracy of the integrals
        raise NoFixedPointError(f"{phi.name} is critical at q={q:g} only for the negative bias variance {sigma_b2:.6g}")
    return MeanField._critical_at(phi, q, max(sigma_b2, 0.0))  # for a homogeneous phi it is 0, up to rounding

"""The one room for `Activation`: what an activation is to the theory, its means, and the tests of phi on a grid."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from afli import gaussian
from afli._inputs import Array, Function, Many, function, like, quiet, real


@dataclass(frozen=True)
class Activation:
    """An activation function phi with its derivative and its structure; call it to evaluate it.

    Two activations are equal if family, parameters and structure are, and the values of phi and phi' on a grid.

    Parameters
    ----------
    family, params
        What it is, e.g. "shtanh" and (("a", 2.0), ("k", 1.0)).
    function, gradient
        phi and phi' on float64 arrays, unchecked; at a kink either one-sided slope may come back.
    kinks
        The points of D (Definition 2.1), increasing, where phi is not twice differentiable.
    is_odd
        phi(-z) = -phi(z).
    slope
        phi'(0), the k of Definition 2.1.
    linear_radius
        The largest a with phi(z) = k z on [-a, a]; 0 if there is none, inf for a linear function.
    bound
        An upper bound of |phi|; inf if unbounded.
    scale
        A length over which phi is smooth between its kinks; it sets the width of the integration panels.
    piece_slopes
        For a piecewise-linear phi, its slope left of, between and right of its kinks; None otherwise.
    base
        The activation that `scaled` and `symmetrised` wrap.
    rounding
        Relative error of `gradient`: 1e-15, more for a derivative found by differences.
    """

    family: str
    params: tuple[tuple[str, Any], ...]
    function: Function = field(compare=False, repr=False)
    gradient: Function = field(compare=False, repr=False)
    _: KW_ONLY
    kinks: tuple[float, ...] = ()
    is_odd: bool = False
    slope: float = 1.0
    linear_radius: float = 0.0
    bound: float = np.inf
    scale: float = 1.0
    piece_slopes: tuple[float, ...] | None = None
    base: Activation | None = None
    rounding: float = 1e-15
    _values: bytes = field(init=False, repr=False)  # of phi and phi' on a grid: caches must tell two closures apart

    def __post_init__(self) -> None:
        z = grid(self.scale)
        digest = blake2b(digest_size=16)
        with np.errstate(all="ignore"):  # phi may overflow far out
            for f in (self.function, self.gradient):
                digest.update(np.asarray(f(z), dtype=float).tobytes())
        object.__setattr__(self, "_values", digest.digest())

    @property
    def name(self) -> str:
        """A readable name, e.g. "shtanh(a=2)"."""
        if self.base is not None:
            inner = ", ".join([self.base.name, *(f"{key}={value:g}" for key, value in self.params)])
            return f"{self.family}({inner})"
        if self.family == "custom":
            return str(dict(self.params)["name"])
        shown = [
            f"{key}={value:g}" for key, value in self.params if isinstance(value, float) and (key, value) != ("k", 1.0)
        ]
        label = self.family.rstrip("_")
        return f"{label}({', '.join(shown)})" if shown else label

    @cached_property
    def is_homogeneous(self) -> bool:
        """phi(c z) = c phi(z) for c > 0: ReLU, leaky ReLU, the modulus, a linear function; tested on a grid."""
        return looks_homogeneous(self.function, self.kinks, self.scale)

    @cached_property
    def steepest(self) -> float:
        """The largest |phi'| on a grid, as far as it is finite."""
        with np.errstate(all="ignore"):  # phi' may overflow far out
            slopes = np.abs(self.gradient(grid(self.scale)))
        return float(slopes[np.isfinite(slopes)].max())

    @cached_property
    def straight(self) -> tuple[float, float]:
        """Left of the first number, and right of the second, phi is linear to rounding; infinite where it never is."""
        return -self._straight_from(-1.0), self._straight_from(1.0)

    def _straight_from(self, side: float) -> float:
        start = max([0.0, *(side * d for d in self.kinks)])
        rounding = 1e-16 if self.rounding <= 1e-15 else self.rounding  # half a unit in the last place
        with np.errstate(all="ignore"):  # phi may overflow far out
            for lengths in (4, 12, 20, 28, 36, 44, 60, 100):
                near = start + lengths * self.scale
                u = np.concatenate([near + self.scale * np.linspace(0, 30, 301), near * np.geomspace(1, 1e4, 201)])
                value, slope = self.function(side * u), side * self.gradient(side * u)
                # Two units in the last place of either value, and what is nothing beside a scale at full slope.
                bend = np.abs(value - value[0] - slope[-1] * (u - near))
                if np.all(np.abs(slope - slope[-1]) <= rounding * self.steepest) and np.all(
                    bend <= 4e-16 * (np.abs(value) + np.abs(value[0])) + 1e-17 * self.steepest * self.scale
                ):
                    return float(near)
        return np.inf

    @overload
    def __call__(self, z: float) -> float: ...
    @overload
    def __call__(self, z: ArrayLike) -> Any: ...
    @quiet
    def __call__(self, z: ArrayLike) -> Any:
        """phi(z), for a number or an array of any shape.

        Raises TypeError or ValueError if z is not real and finite, or so large that the formula has no value there.
        """
        z = real("z", z)
        return like(self._defined(z, self.function(z)))

    @overload
    def derivative(self, z: float) -> float: ...
    @overload
    def derivative(self, z: ArrayLike) -> Any: ...
    @quiet
    def derivative(self, z: ArrayLike) -> Any:
        """phi'(z); at a kink the mean of the two one-sided slopes, eq. (17). Input as for a call."""
        z = real("z", z)
        slope = np.array(self.gradient(z), dtype=np.float64)
        for kink in self.kinks:
            at_kink = z == kink
            if np.any(at_kink):
                # Several units in the last place, because `scaled` rounds z / a; at 0, not so few that it underflows.
                step = max(8 * float(np.spacing(abs(kink))), 1e-150)
                slope = np.where(at_kink, np.mean(self.gradient(np.array([kink - step, kink + step]))), slope)
        return like(self._defined(z, slope))

    def _defined(self, z: Array, values: Array) -> Array:
        if np.isnan(values).any():
            at = float(np.ravel(z)[np.isnan(values).ravel().argmax()])
            raise ValueError(f"z must be in the range of the formula of {self.name}, got {at:g}")
        return values

    @overload
    def mean(self, f: Function, q: float) -> float: ...
    @overload
    def mean(self, f: Function, q: Many) -> Array: ...
    def mean(self, f: Function, q: float | Many) -> Any:
        """E f(sqrt(q) Z) for an f that is made of phi: cut at its kinks, on panels of its scale.

        Parameters
        ----------
        f
            Vectorised function of a float64 array, e.g. `lambda u: phi(u) ** 2`.
        q
            Variances >= 0, any shape; the result has that shape.

        Raises
        ------
        ConvergenceError, ValueError, TypeError
            As `afli.gaussian.expectation`.
        """
        return gaussian.expectation(function("f", f), q, kinks=self.kinks, scale=self.scale)


def require(phi: Any) -> Activation:
    """phi itself if it is an Activation; TypeError otherwise, naming the way to make one."""
    if not isinstance(phi, Activation):
        raise TypeError(
            f"phi must be an Activation (your own: activations.from_callable), got {phi!r} of type {type(phi).__name__}"
        )
    phi.function(np.zeros(1))  # a function of the caller's that has changed since says so
    return phi


# --- What can be read off the values of phi: a grid refutes, it does not prove ---


def grid(scale: float) -> Array:
    """Points on both sides of 0: evenly to 10, and six decades around the scale."""
    side = np.concatenate([np.linspace(0.0, 10.0, 1001), scale * np.geomspace(1e-3, 1e3, 301)])
    return np.concatenate([side, -side])


def looks_odd(f: Function, kinks: tuple[float, ...], scale: float) -> bool:
    """f(-z) = -f(z) on the grid, and kinks to match."""
    right, left = _halves(f, scale)  # equal to some hundred units in the last place, which a formula may lose
    return bool(np.allclose(left, -right, rtol=1e-13, atol=1e-13 * scale)) and set(kinks) == {-d for d in kinks}


def looks_even(f: Function, scale: float) -> bool:
    """f(-z) = f(z) on the grid."""
    right, left = _halves(f, scale)  # to the same accuracy
    return bool(np.allclose(right, left, rtol=1e-13, atol=0.0))


def looks_homogeneous(f: Function, kinks: tuple[float, ...], scale: float) -> bool:
    """f(c z) = c f(z) for c from 1e-3 to 1e3 and z = +-scale."""
    if not set(kinks) <= {0.0}:
        return False
    sign, size = np.repeat([-1.0, 1.0], 25), np.tile(np.geomspace(1e-3, 1e3, 25), 2)
    with np.errstate(all="ignore"):  # f may overflow far out; scaling by c rounds on both sides
        stretched, unit = f(scale * sign * size), f(scale * sign)
    return bool(np.allclose(stretched, size * unit, rtol=1e-12, atol=0.0))


def _halves(f: Function, scale: float) -> tuple[Array, Array]:
    with np.errstate(all="ignore"):  # f may overflow far out
        right, left = np.split(np.asarray(f(grid(scale)), dtype=float), 2)
    return right, left

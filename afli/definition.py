"""What an activation is to the theory, and what Definition 2.1 (Section 2.3) asks of a scaled-bounded one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from afli._inputs import Array, like, real

Function = Callable[[Array], Array]


@dataclass(frozen=True)
class Activation:
    """An activation function phi with its derivative and its structure; call it to evaluate it.

    family, params: what it is, e.g. "shtanh" and (("a", 2.0), ("k", 1.0)); two activations are equal if these are.
    kinks: the points of D, increasing, where phi is not twice differentiable.
    is_odd: phi(-z) = -phi(z).
    slope: phi'(0), the k of Definition 2.1.
    linear_radius: the largest a with phi(z) = k z on [-a, a]; 0 if there is none, inf for a linear function.
    bound: the supremum of |phi|; inf if unbounded.
    scale: a length over which phi is smooth between its kinks; sets the width of the integration panels.
    piece_slopes: for a piecewise-linear phi, its slope left of, between and right of its kinks; None otherwise.
    base: the activation that `scaled` and `symmetrised` wrap.
    function, gradient: phi and phi' on float64 arrays, unchecked; off the kinks they are exact.
    """

    family: str
    params: tuple[tuple[str, Any], ...]
    function: Function = field(compare=False, repr=False)
    gradient: Function = field(compare=False, repr=False)
    kinks: tuple[float, ...] = ()
    is_odd: bool = False
    slope: float = 1.0
    linear_radius: float = 0.0
    bound: float = np.inf
    scale: float = 1.0
    piece_slopes: tuple[float, ...] | None = None
    base: Activation | None = None

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

    @property
    def is_homogeneous(self) -> bool:
        """phi(c z) = c phi(z) for c > 0: ReLU, leaky ReLU, the modulus, a linear function."""
        return (
            self.piece_slopes is not None and set(self.kinks) <= {0.0} and float(self.function(np.zeros(1))[0]) == 0.0
        )

    def __call__(self, z: Any) -> Any:
        """phi(z), for a number or an array of any shape. Raises TypeError or ValueError if z is not real and finite."""
        return like(self.function(real("z", z)))

    def derivative(self, z: Any) -> Any:
        """phi'(z); at a kink the mean of the two one-sided slopes, eq. (17). Input as for a call."""
        z = real("z", z)
        slope = np.array(self.gradient(z), dtype=np.float64)
        for kink in self.kinks:
            at_kink = z == kink
            if np.any(at_kink):
                left, right = (
                    self.gradient(np.array([x]))[0] for x in (np.nextafter(kink, -np.inf), np.nextafter(kink, np.inf))
                )
                slope = np.where(at_kink, 0.5 * (left + right), slope)
        return like(slope)


def require(phi: Any) -> Activation:
    """phi itself if it is an Activation; TypeError otherwise, naming the way to make one."""
    if not isinstance(phi, Activation):
        raise TypeError(
            f"phi must be an Activation (see activations.from_callable for your own), got {phi!r} of type {type(phi).__name__}"
        )
    return phi


# --- Definition 2.1, property by property ---

SCALED_BOUNDED_FAMILIES = ("shtanh", "ssine", "sexp", "ssaw")


@dataclass(frozen=True)
class PropertyCheck:
    """One property of Definition 2.1: its verdict, and the point that refutes it, if one does."""

    requirement: str
    verdict: str
    refuted_at: float | None = None

    @property
    def holds(self) -> bool:
        """Not refuted."""
        return self.refuted_at is None


def check_scaled_bounded(phi: Activation) -> list[PropertyCheck]:
    """Definition 2.1 for phi, one row per property: "holds by construction", "not refuted on a grid" or "refuted".

    The grid covers [-20, 20] times max(1, linear radius) in 80,001 points and the neighbourhood of the kinks. A grid can
    refute a property but not prove it; for the four families inside their parameter range the construction proves it.
    """
    require(phi)
    radius = phi.linear_radius if np.isfinite(phi.linear_radius) else 1.0
    grid = np.linspace(-20, 20, 80001) * max(1.0, radius)
    near = np.array([d + s for d in phi.kinks for s in (-1e-9, 1e-9)])
    z = np.sort(np.concatenate([grid, near]))
    z = z[~np.isin(z, phi.kinks)]
    value, slope, k = phi.function(z), phi.gradient(z), phi.slope
    a = radius if radius > 0 else 0.5
    inner = np.linspace(-a, a, 2001)
    jumps = np.array([abs(float(np.diff(phi.function(np.array([d - 1e-9, d + 1e-9])))[0])) for d in phi.kinks])
    slack = 1e-12 * max(1.0, a * abs(k))
    failures = {
        "continuous": np.array(phi.kinks)[jumps > 1e-7 * max(1.0, abs(k))] if len(phi.kinks) else np.empty(0),
        "odd": z[np.abs(value + phi.function(-z)) > slack],
        "linear near zero: phi(z) = k z on [-a, a], k > 0": inner[
            (np.abs(phi.function(inner) - k * inner) > slack) | (k <= 0)
        ],
        "bounded: |phi| <= a k": z[np.abs(value) > a * abs(k) + slack] if phi.linear_radius < np.inf else z[-1:],
        "twice differentiable off a finite set": np.empty(0),
        "slope at most k: |phi'| <= k off that set": z[np.abs(slope) > abs(k) * (1 + 1e-12)],
    }
    proved = phi.family in SCALED_BOUNDED_FAMILIES or phi.piece_slopes is not None

    def row(name: str, points: Array) -> PropertyCheck:
        if len(points):
            return PropertyCheck(name, "refuted", float(points[np.argmin(np.abs(points))]))
        return PropertyCheck(name, "holds by construction" if proved else "not refuted on a grid")

    return [row(name, points) for name, points in failures.items()]

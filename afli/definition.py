"""What an activation is to the theory, and what Definition 2.1 (Section 2.3) asks of a scaled-bounded one."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from afli._inputs import Array, Function, like, real


@dataclass(frozen=True)
class Activation:
    """An activation function phi with its derivative and its structure; call it to evaluate it.

    family, params: what it is, e.g. "shtanh" and (("a", 2.0), ("k", 1.0)); two activations are equal if these are.
    kinks: the points of D, increasing, where phi is not twice differentiable.
    is_odd: phi(-z) = -phi(z).
    slope: phi'(0), the k of Definition 2.1.
    linear_radius: the largest a with phi(z) = k z on [-a, a]; 0 if there is none, inf for a linear function.
    bound: an upper bound of |phi|; inf if unbounded.
    scale: a length over which phi is smooth between its kinks; sets the width of the integration panels.
    piece_slopes: for a piecewise-linear phi, its slope left of, between and right of its kinks; None otherwise.
    base: the activation that `scaled` and `symmetrised` wrap.
    rounding: relative error of `gradient`: 1e-15, more for a derivative found by differences.
    function, gradient: phi and phi' on float64 arrays, unchecked; at a kink either one-sided slope may come back.
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
    rounding: float = 1e-15

    def __reduce__(self) -> tuple[Any, ...]:
        """How to pickle it: by family and parameters, since the formulas are closures; from a callable, as it is."""
        from afli.activations import FAMILIES

        if self.base is None and self.family not in FAMILIES:
            return Activation, tuple(getattr(self, each.name) for each in fields(self))
        return _again, (self.family, self.base, dict(self.params))

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
        """phi(c z) = c phi(z) for c > 0: ReLU, leaky ReLU, the modulus, a linear function; tested on a grid."""
        if not set(self.kinks) <= {0.0}:
            return False
        sign, size = np.repeat([-1.0, 1.0], 25), np.tile(np.geomspace(1e-3, 1e3, 25), 2)
        with np.errstate(all="ignore"):  # phi may overflow far out
            stretched, unit = self.function(self.scale * sign * size), self.function(self.scale * sign)
        return bool(np.allclose(stretched, size * unit, rtol=1e-12, atol=0.0))

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
                # Several units in the last place, because `scaled` rounds z / a; at 0, not so few that it underflows.
                step = max(8 * float(np.spacing(abs(kink))), 1e-150)
                slope = np.where(at_kink, np.mean(self.gradient(np.array([kink - step, kink + step]))), slope)
        return like(slope)


def _again(family: str, base: Activation | None, params: dict[str, float]) -> Activation:
    from afli import activations

    if base is None:
        return activations.get(family, **params)
    return activations.scaled(base, **params) if family == "scaled" else activations.symmetrised(base)


def require(phi: Any) -> Activation:
    """phi itself if it is an Activation; TypeError otherwise, naming the way to make one."""
    if not isinstance(phi, Activation):
        raise TypeError(
            f"phi must be an Activation (your own: activations.from_callable), got {phi!r} of type {type(phi).__name__}"
        )
    return phi


# --- Definition 2.1, property by property ---

# Family by family, the least linear radius for which |phi| <= a k.
SCALED_BOUNDED_FAMILIES = {"shtanh": 0.0, "ssine": 1.0, "sexp": 0.5, "ssaw": 0.0}


@dataclass(frozen=True)
class PropertyCheck:
    """One property of Definition 2.1: its verdict, and the point that refutes it, if one does.

    requirement: the property in words. verdict: "holds by construction", "not refuted on a grid" or "refuted".
    refuted_at: the point nearest to 0 where it fails; None if it was not refuted.
    """

    requirement: str
    verdict: str
    refuted_at: float | None = None

    @property
    def holds(self) -> bool:
        """Not refuted."""
        return self.refuted_at is None


def check_scaled_bounded(phi: Activation) -> list[PropertyCheck]:
    """Definition 2.1 for phi, one row per property: "holds by construction", "not refuted on a grid" or "refuted".

    A grid can refute a property but not prove it; for the four families inside their parameter range, and for
    piecewise-linear functions, the construction proves it. Without a linear region a = scale / 2 is tried for the
    linear piece, and any bound will do.
    Raises TypeError if phi is not an Activation.
    """
    require(phi)
    with np.errstate(all="ignore"):  # a function that overflows far out is refuted, not warned about
        failures = _failures(phi, _grid(phi))
    proved = phi.piece_slopes is not None or (
        phi.family in SCALED_BOUNDED_FAMILIES and phi.linear_radius >= SCALED_BOUNDED_FAMILIES[phi.family]
    )

    def row(name: str, at: Array) -> PropertyCheck:
        if len(at):
            return PropertyCheck(name, "refuted", float(at[np.argmin(np.abs(at))]))
        return PropertyCheck(name, "holds by construction" if proved else "not refuted on a grid")

    return [row(name, at) for name, at in failures.items()]


def _failures(phi: Activation, z: Array) -> dict[str, Array]:
    """Each property of Definition 2.1 with the points of the grid where it fails."""
    value, slope, k = phi.function(z), np.abs(phi.gradient(z)), phi.slope
    a = min(phi.linear_radius, np.abs(z).max()) or 0.5 * phi.scale
    slack = 1e-12 * a * max(abs(k), 1e-300)
    not_odd = np.abs(value + phi.function(-z)) > slack + 1e-14 * np.abs(value)
    not_linear = (np.abs(z) <= a) & ((np.abs(value - k * z) > slack) | (k <= 0))
    # Unbounded: more than the bound; or, where no radius sets one, far out ten times more than anywhere near.
    limit = a * k + slack if phi.linear_radius > 0 else 10 * np.abs(value[1:-1]).max()
    return {
        "continuous": _jumps(phi.function, z, a * abs(k)),
        "odd": z[not_odd],
        "linear near zero: phi(z) = k z on [-a, a], k > 0": z[not_linear],
        "bounded: |phi| <= a k": z[np.abs(value) > limit] if phi.linear_radius < np.inf else z[-1:],
        "twice differentiable off a finite set": np.empty(0),  # no grid can refute it: any finite set may be left out
        "slope at most k: |phi'| <= k off that set": z[slope > k * (1 + 1e-12 + phi.rounding)],
    }


def _grid(phi: Activation) -> Array:
    """Points on [-20, 20] in units of the linear radius and of the scale, both sides of the kinks, and one far out."""
    lengths = {phi.scale, *([phi.linear_radius] if 0 < phi.linear_radius < np.inf else [])}
    side = [length * np.linspace(0.0, 20.0, 40001) for length in lengths]
    side += [np.abs(phi.kinks) + s * min(lengths) for s in (-1e-9, 1e-9)]
    z = np.concatenate([*side, [1e9 * max(lengths)]])
    return np.setdiff1d(np.concatenate([z, -z]), phi.kinks)


def _jumps(f: Function, z: Array, size: float) -> Array:
    """Points between neighbours of the grid z across which f changes by 1e-6 of size + |f|, however close one looks."""
    left, right = z[:-1], z[1:]
    for _ in range(60):
        change = np.abs(f(right) - f(left))
        far = np.isfinite(change) & (change > 1e-6 * (size + np.abs(f(left))))
        left, right = left[far], right[far]
        middle = 0.5 * (left + right)
        first = np.abs(f(middle) - f(left)) >= np.abs(f(right) - f(middle))
        left, right = np.where(first, left, middle), np.where(first, middle, right)
    return right

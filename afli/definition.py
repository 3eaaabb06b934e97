"""Definition 2.1 (Section 2.3), property by property: what a scaled-bounded activation must be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from afli._activation import Activation, require
from afli._inputs import Array, Function

# Family by family, the least linear radius for which |phi| <= a k.
SCALED_BOUNDED_FAMILIES = {"shtanh": 0.0, "ssine": 1.0, "sexp": 0.5, "ssaw": 0.0}


@dataclass(frozen=True)
class PropertyCheck:
    """One property of Definition 2.1 in words, and its verdict.

    The verdict is "holds by construction", "not refuted on a grid", or "refuted", with the point nearest to 0 where.
    """

    requirement: str
    verdict: str
    refuted_at: float | None = None

    @property
    def holds(self) -> bool:
        """Not refuted."""
        return self.refuted_at is None


def check_scaled_bounded(phi: Activation) -> list[PropertyCheck]:
    """Definition 2.1 for phi, property by property.

    A grid can refute a property but not prove it; for the four families inside their parameter range, and for
    piecewise-linear functions, the construction proves it. Without a linear region a = scale / 2 is tried for the
    linear piece, and any bound will do.

    Examples
    --------
    >>> from afli import activations as act
    >>> [check.requirement for check in check_scaled_bounded(act.ssine(0.5)) if not check.holds]
    ['bounded: |phi| <= a k']
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
    slack = 1e-12 * a * max(abs(k), 1e-300)  # of the height a k: what rounding of a formula may leave, with a reserve
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
    side += [np.abs(phi.kinks) + s * min(lengths) for s in (-1e-9, 1e-9)]  # far closer than any neighbour
    z = np.concatenate([*side, [1e9 * max(lengths)]])
    return np.setdiff1d(np.concatenate([z, -z]), phi.kinks)


def _jumps(f: Function, z: Array, size: float) -> Array:
    """Points between neighbours of the grid z across which f changes by 1e-6 of size + |f|, however close one looks."""
    left, right = z[:-1], z[1:]
    for _ in range(60):
        change = np.abs(f(right) - f(left))
        # After 60 halvings neighbours are 1e-9 apart at most: a slope makes no difference of a millionth, a jump does.
        far = np.isfinite(change) & (change > 1e-6 * (size + np.abs(f(left))))
        left, right = left[far], right[far]
        middle = 0.5 * (left + right)
        first = np.abs(f(middle) - f(left)) >= np.abs(f(right) - f(middle))
        left, right = np.where(first, left, middle), np.where(first, middle, right)
    return right

"""The two ways in which a well-posed question of the theory can have no numerical answer, and one warning."""

from __future__ import annotations


class NoFixedPointError(ArithmeticError):
    """The variance map, or the critical map W, has no positive fixed point of the kind asked for.

    The message says why, and for arrays at which index.
    """


class ConvergenceError(ArithmeticError):
    """A numerical method did not reach its accuracy; no number is returned in its place."""


class RepellingPointWarning(UserWarning):
    """The variance of a deep network drifts away from the critical point that was asked for (gelu, silu)."""

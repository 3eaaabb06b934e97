"""Appendix A: continuity and differentiation under the integral (A.1, A.2), and Stein's identity with jumps (A.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from afli import activations as act
from afli import gaussian
from afli._inputs import Array
from afli.activations import Activation
from afli.claims.comparisons import Evidence, at_most, equal
from afli.claims.ledger import on
from afli.differences import derivative

claim = on("A_gaussian_calculus", "Appendix A")


@dataclass(frozen=True)
class Example:
    """A function f(t, z), studied at t = `at`, and F(t) = E f(t, Z).

    slope: its derivative in t, wherever that exists. kinks(t): the points z where f(t, .) or its slope is not smooth.
    """

    name: str
    at: float
    f: Callable[[float, Array], Array]
    slope: Callable[[float, Array], Array]
    kinks: Callable[[float], Sequence[float]]
    sharp: bool = False  # f bends on the length |t|, which the quadrature must resolve

    def mean(self, t: float) -> float:
        """F(t)."""
        return gaussian.expectation(
            lambda z: self.f(t, z), 1.0, kinks=self.kinks(t), scale=abs(t) if self.sharp else 1.0
        )

    def mean_slope(self) -> float:
        """The right-hand side of (24) at t = `at`."""
        t = self.at
        return float(gaussian.expectation(lambda z: self.slope(t, z), 1.0, kinks=self.kinks(t)))


def _scaled(phi: Activation, name: str, at: float) -> Example:
    """phi(sqrt(t) z)^2, whose mean is the numerator of W."""
    return Example(
        name,
        at,
        lambda t, z: phi.function(np.sqrt(t) * z) ** 2,
        lambda t, z: phi.function(np.sqrt(t) * z) * phi.gradient(np.sqrt(t) * z) * z / np.sqrt(t),
        lambda t: tuple(np.array(phi.kinks) / np.sqrt(t)),
    )


def _mixed(phi: Activation, name: str, at: float, u: float = 0.7) -> Example:
    """phi(t u + sqrt(1 - t^2) z): one factor of the correlation map, with t for rho and u for the first variable."""
    return Example(
        name,
        at,
        lambda t, z: phi.function(t * u + np.sqrt(1 - t**2) * z),
        lambda t, z: phi.gradient(t * u + np.sqrt(1 - t**2) * z) * (u - t * z / np.sqrt(1 - t**2)),
        lambda t: tuple((np.array(phi.kinks) - t * u) / np.sqrt(1 - t**2)),
    )


MOVING_KINK = Example("|t + z|", 0.5, lambda t, z: np.abs(t + z), lambda t, z: np.sign(t + z), lambda t: (-t,))
MOVING_JUMP = Example("sign(t + z)", 0.5, lambda t, z: np.sign(t + z), lambda t, z: np.zeros_like(z), lambda t: (-t,))
SPIKE = Example(
    "1 / t on (0, t)",
    0.0,
    lambda t, z: np.where((z > 0) & (z < t), 1 / t, 0.0) if t > 0 else np.zeros_like(z),
    lambda t, z: np.zeros_like(z),
    lambda t: (0.0, t),
)
NARROW = Example(
    "t |t| / (t^2 + z^2)",
    0.0,
    lambda t, z: t * abs(t) / (t**2 + z**2),
    lambda t, z: np.zeros_like(z),  # at t = 0, off z = 0
    lambda t: (0.0,),
    sharp=True,
)
DOMINATED = (
    _scaled(act.shtanh(1.0), "Shtanh(sqrt(t) z)^2", 0.5),
    _scaled(act.sexp(1.0), "Sexp(sqrt(t) z)^2", 2.0),
    _mixed(act.ssaw(1.0), "Ssaw(t u + sqrt(1 - t^2) z)", 0.5),
    MOVING_KINK,
)


def _names(examples: Sequence[Example]) -> str:
    return ", ".join(f"{example.name} at t = {example.at:g}" for example in examples)


@claim(
    "lemma-a.1",
    r"If $f(s, \cdot) \to f(t, \cdot)$ almost everywhere as $s \to t$, under one integrable bound, then "
    r"$\E f(t, Z)$ is continuous.",
    found="For {cases:count} functions and three steps $h$ the change is at most {measured}, of {bound} allowed.",
    at="Lemma A.1",
    mutants={"no integrable bound (1 / t on (0, t))": {"examples": (SPIKE,)}},
)
def continuity(examples: Sequence[Example] = (*DOMINATED, MOVING_JUMP)) -> Evidence:
    steps = np.array([1e-4, 1e-6, 1e-8])
    rise = [[abs(example.mean(example.at + h) - example.mean(example.at)) for h in steps] for example in examples]
    # Each F here is Lipschitz with a constant below 2 near its point; the quadrature adds 1e-13.
    return at_most(
        rise,
        2 * steps,
        domain=f"{_names(examples)}; |F(t + h) - F(t)| against 2 h for h = 1e-4, 1e-6, 1e-8",
        at=lambda i: f"{examples[i[0]].name}, t = {examples[i[0]].at:g}, h = {steps[i[1]]:g}",
    )


@claim(
    "lemma-a.2",
    r"If $\partial_t f(t, \cdot)$ exists almost everywhere and $f(\cdot, z)$ is Lipschitz near $t$ with "
    r"an integrable constant, then $d/dt\, \E f(t, Z) = \E\, \partial_t f(t, Z)$.",
    claimed=(
        "Derivative and expectation may be exchanged where the derivative exists almost everywhere and is bounded."
    ),
    found="Central differences agree to {measured}.",
    at="Lemma A.2, eq. (24)",
    status="holds under a condition",
    mutants={
        "bounded slope almost everywhere in place of Lipschitz (a jump that moves)": {"examples": (MOVING_JUMP,)},
        "no integrable constant": {"examples": (NARROW,)},
    },
)
def differentiation(examples: Sequence[Example] = DOMINATED) -> Evidence:
    quotients = [derivative(np.vectorize(example.mean), example.at, 1e-3) for example in examples]
    return equal(
        quotients,
        [example.mean_slope() for example in examples],
        1e-9,
        domain=_names(examples),
        oracle="central differences",
        at=lambda i: f"{examples[i[0]].name}, t = {examples[i[0]].at:g}",
    )


# --- Lemma A.3 ---


@dataclass(frozen=True)
class Pieces:
    """A bounded f with jumps: level_i + height_i sin(rate_i z) between the points of `cuts`."""

    cuts: Array
    level: Array
    height: Array
    rate: Array

    def __call__(self, z: Array) -> Array:
        i = np.searchsorted(self.cuts, z)
        return self.level[i] + self.height[i] * np.sin(self.rate[i] * z)

    def slope(self, z: Array) -> Array:
        """f' off the cuts."""
        i = np.searchsorted(self.cuts, z)
        return self.height[i] * self.rate[i] * np.cos(self.rate[i] * z)

    @property
    def jumps(self) -> Array:
        """f(d+) - f(d-) at each cut."""
        left, right = (
            self.level[s] + self.height[s] * np.sin(self.rate[s] * self.cuts) for s in (np.s_[:-1], np.s_[1:])
        )
        return np.asarray(right - left)


def random_pieces(rng: np.random.Generator) -> Pieces:
    """Up to five jumps at random places, levels and waves of size one between them."""
    n = int(rng.integers(1, 6))
    level, height = rng.normal(size=(2, n + 1))
    return Pieces(np.sort(rng.normal(size=n)), level, height, rng.uniform(0, 3, n + 1))


@claim(
    "lemma-a.3",
    r"$\E[Z f(Z)] = \E f'(Z) + \sum_i p(d_i) (f(d_i+) - f(d_i-))$ for bounded $f$, $f'$ and finitely many "
    "jumps $d_i$; $p$ is the standard normal density.",
    found="For {cases} random $f$ both sides agree to {measured}.",
    at="Lemma A.3, eq. (25)",
    mutants={"without the jumps": {"weight": 0.0}, "half of each jump": {"weight": 0.5}},
)
def stein_with_jumps(weight: float = 1.0, number: int = 200) -> Evidence:
    rng = np.random.default_rng(25)
    functions = [random_pieces(rng) for _ in range(number)]
    left = [gaussian.expectation(lambda z, f=f: z * f(z), 1.0, kinks=list(f.cuts)) for f in functions]  # type: ignore
    right = [
        gaussian.expectation(f.slope, 1.0, kinks=list(f.cuts)) + weight * gaussian.normal_density(f.cuts) @ f.jumps
        for f in functions
    ]
    return equal(
        left,
        right,
        1e-12,
        domain=f"{number} random f with 1 to 5 jumps and waves between them",
        oracle="quadrature of both sides",
        at=lambda i: f"jumps {np.round(functions[i[0]].jumps, 3)} at {np.round(functions[i[0]].cuts, 3)}",
    )

"""The activations that the tests range over, and random ones."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from afli import activations as act
from afli.activations import Activation
from afli.pieces import odd_piecewise_linear

FAMILIES = {"shtanh": 0.1, "ssine": 1.0, "sexp": 0.5, "ssaw": 0.1}  # and the least radius tried
SCALED_BOUNDED = [act.get(family, a=a) for family in FAMILIES for a in (1.0, 2.0, 5.0)]
SMOOTH = [act.tanh(), act.erf(), act.sin(), act.gelu(), act.silu(), act.softplus(), act.sigmoid()]
CURVED_AT_ZERO = [act.softsign(), act.elu(), act.elu(0.5), act.selu()]
HOMOGENEOUS = [act.relu(), act.leaky_relu(), act.leaky_relu(0.3), act.abs_(), act.linear()]
WRAPPED = [
    act.scaled(act.tanh(), 3.0),
    act.scaled(act.relu(), 100.0),
    act.scaled(act.ssine(1.5), 0.7),
    act.symmetrised(act.elu()),
    act.scaled(act.symmetrised(act.selu()), 2.0),
    act.symmetrised(act.gelu()),
    act.from_callable(np.arctan, lambda z: 1 / (1 + z * z), name="arctan"),
]
LIBRARIES = [
    *(act.get(f) for f in ("gelu_tanh", "mish", "hardswish", "relu6", "hardsigmoid", "logsigmoid", "snake")),
    act.hardtanh(-1.0, 2.0),
    act.softshrink(),
]
ZOO = LIBRARIES + SCALED_BOUNDED + SMOOTH + CURVED_AT_ZERO + HOMOGENEOUS + WRAPPED
# Those with a critical point at every bias variance > 0, as far as the tests go.
CRITICAL = [*SCALED_BOUNDED, act.tanh(), act.erf(), act.sin(), act.gelu(), act.silu(), *CURVED_AT_ZERO, *WRAPPED[:1]]
ODD = [phi for phi in CRITICAL if phi.is_odd]

radii = st.floats(1.0, 30.0)
bias_variances = st.floats(-5.0, 1.0).map(lambda t: float(10**t))
correlations = st.floats(-1.0, 1.0)


@st.composite
def family_members(draw: st.DrawFn, largest: float = 30.0) -> Activation:
    """One of the four families, of a radius from the least allowed to the largest."""
    family = draw(st.sampled_from(sorted(FAMILIES)))
    return act.get(family, a=draw(st.floats(FAMILIES[family], largest)))


@st.composite
def piecewise_scaled_bounded(draw: st.DrawFn) -> Activation:
    """A random member of Definition 2.1 with a = k = 1: up to five more pieces, |slope| <= 1, |phi| <= 1."""
    lengths = draw(st.lists(st.floats(0.05, 3.0), max_size=5))
    slopes, height = [1.0], 1.0
    for length in lengths:
        low, high = max(-1.0, (-1 - height) / length), min(1.0, (1 - height) / length)
        slopes.append(low + (high - low) * draw(st.floats(0.0, 1.0)))
        height += slopes[-1] * length
    return odd_piecewise_linear(np.cumsum([1.0, *lengths]), [*slopes, 0.0])


def label(phi: Activation) -> str:
    return phi.name

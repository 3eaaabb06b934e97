"""AFLI: activation functions with a linear region, and the mean field theory of deep random networks built from them.

Modules load when they are first used: `import afli; afli.meanfield.edge_of_chaos(...)`. Bad input raises ValueError or
TypeError with a message that names the argument; a function lists what else it raises. With numpy and scipy alone:

    activations, rectifiers, custom     phi: the paper's and the usual ones, those of deep-learning libraries, yours
    definition, kinks, pieces           Definition 2.1; where phi is not smooth; piecewise-linear phi
    gaussian, moments, correlation      E f(U), E f(U1, U2), and what phi has of them (Section 2)
    meanfield, fixed_points, rates      q*, the edge of chaos, the correlation map and its pace (Sections 2.1, 3.1, B.6)
    phase_diagram, gain                 order and chaos on a grid; the gain of a framework's initialiser
    isometry, spectrum                  moments and spectrum of the Jacobian (Section 2.2)
    bounds                              Lemma 3.4 and Theorem 2.1, as printed and sharp (Section 3)
    slope, differences, iteration       slopes without phi'; differences; how many layers until
    kernels, regression                 the infinitely wide network and its training
    sampling, toy                       finite networks in numpy; the blackboard experiments of Part I
    claims, departures, data, errors    the ledger; where paper and code differ; images; what is raised

With extras: networks (torch), experiments (torch, pandas), figures and live (matplotlib, ipython), tables (pandas),
cli (typer).
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = [
    "activations", "bounds", "claims", "correlation", "custom", "data", "definition", "departures", "differences",
    "errors", "fixed_points", "gain", "gaussian", "isometry", "iteration", "kernels", "kinks", "meanfield", "moments",
    "phase_diagram", "pieces", "rates", "rectifiers", "regression", "sampling", "slope", "spectrum", "toy",
]  # fmt: skip
# Not in __all__: `from afli import *` needs no extra.
_WITH_EXTRAS = ["cli", "experiments", "figures", "live", "networks", "tables"]


def __getattr__(name: str) -> Any:
    if name in __all__ or name in _WITH_EXTRAS:
        return import_module(f"afli.{name}")
    raise AttributeError(f"module 'afli' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *_WITH_EXTRAS, "__version__"]

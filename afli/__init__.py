"""AFLI: activation functions with a linear region, and the mean field theory of deep random networks built from them.

Reads like the paper: `activations` (Section 2.3), `gaussian` and `correlation` (the integrals), `meanfield`
(Section 2.1), `isometry` (Section 2.2), `bounds` (Section 3). `import afli` needs numpy and scipy only.
"""

from afli import activations, bounds, errors, gaussian, isometry, meanfield

__version__ = "0.1.0"
__all__ = ["activations", "bounds", "errors", "gaussian", "isometry", "meanfield"]

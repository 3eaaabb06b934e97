"""Is the signal of my network healthy? What is measured (`afli.networks.measure`), and the verdict on it."""

from afli.networks.measure import jacobian_singular_values, preactivations, signal_propagation
from afli.networks.verdict import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose", "jacobian_singular_values", "preactivations", "signal_propagation"]

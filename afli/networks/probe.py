"""Is the signal of my network healthy? What is measured (`afli.networks.measure`) and the verdict on it."""

from afli.networks.measure import jacobian_singular_values, plot, preactivations, signal_propagation

__all__ = ["jacobian_singular_values", "plot", "preactivations", "signal_propagation"]

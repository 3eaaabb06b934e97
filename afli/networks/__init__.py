"""Networks of finite width in PyTorch (Section 4): modules, initialisation, measurement, and training many at once.

The only folder that imports torch. `afli.networks.ensemble` is the training engine.
"""

from afli.networks import ensemble, init, modules, probe

__all__ = ["ensemble", "init", "modules", "probe"]

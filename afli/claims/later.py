"""What some checks need beyond numpy and scipy, loaded when a check first uses it.

The ledger can then be listed, and its theory checked, where there is no torch and no pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "analysis", "lessons", "nn", "open_questions", "pd", "probe", "recipe", "small_network", "statistics", "torch",
    "wide",
]  # fmt: skip


class _Later:
    """Stands for a module until something in it is asked for."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._module), name)


if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import nn

    from afli.experiments import analysis, open_questions, recipe, small_network, statistics
    from afli.experiments import infinite_width as wide
    from afli.networks import lessons, probe
else:
    pd, torch, nn = _Later("pandas"), _Later("torch"), _Later("torch.nn")
    lessons, probe = _Later("afli.networks.lessons"), _Later("afli.networks.probe")
    analysis, statistics = _Later("afli.experiments.analysis"), _Later("afli.experiments.statistics")
    open_questions, recipe = _Later("afli.experiments.open_questions"), _Later("afli.experiments.recipe")
    small_network, wide = _Later("afli.experiments.small_network"), _Later("afli.experiments.infinite_width")

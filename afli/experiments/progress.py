"""How far a chunk has come, and what training needs of the place where that is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["Checkpoints", "Progress"]


@dataclass
class Progress:
    """How far a chunk has come: `epoch` whole epochs and `step` steps of the next.

    seconds: training time so far. records: one per tested epoch, lists over the members. state: the ensemble's.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    records: list[dict[str, Any]] = field(default_factory=list)
    state: dict[str, Tensor] | None = None


class Checkpoints:
    """Keeps nothing: every chunk starts from the beginning."""

    def load(self) -> Progress | None:
        """The last saved progress, or None."""
        return None

    def save(self, progress: Progress) -> None:
        """Replace the saved progress."""

    def is_due(self) -> bool:
        """Whether it is time to save, work going on."""
        return False

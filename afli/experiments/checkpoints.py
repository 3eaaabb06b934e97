"""A chunk's progress on disk: replaced atomically, loaded without unpickling any code."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from afli.experiments.files import replace_file

__all__ = ["CheckpointFile", "Checkpoints", "Progress"]


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


class CheckpointFile(Checkpoints):
    """Keeps the progress of one chunk in one file.

    identity: plain values (whose progress: experiments, code, device); a file with another identity is not loaded.
    seconds: the time between saves while work goes on.
    """

    def __init__(self, path: Path, identity: dict[str, Any], seconds: float = 60.0) -> None:
        self.path, self.identity, self.seconds = path, identity, seconds
        self.saved_at = time.monotonic()

    def load(self) -> Progress | None:
        """See `Checkpoints`."""
        if not self.path.exists():
            return None
        saved = torch.load(self.path, map_location="cpu", weights_only=True)
        if saved.pop("identity") != self.identity:
            return None
        return Progress(**saved)

    def save(self, progress: Progress) -> None:
        """See `Checkpoints`."""
        replace_file(self.path, lambda stream: torch.save(vars(progress) | {"identity": self.identity}, stream))
        self.saved_at = time.monotonic()

    def is_due(self) -> bool:
        """See `Checkpoints`."""
        return time.monotonic() - self.saved_at >= self.seconds

    def delete(self) -> None:
        """Forget the progress: the chunk is finished."""
        self.path.unlink(missing_ok=True)

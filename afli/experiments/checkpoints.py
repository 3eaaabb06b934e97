"""A chunk's progress on disk: replaced atomically, checked by its checksum, loaded without unpickling any code.

A checkpoint saves time, never numbers: one that cannot be read, or whose content is not what was saved, is dropped with
a word, and its chunk starts from the beginning.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from afli.experiments.files import replace_file
from afli.experiments.progress import Checkpoints, Progress

__all__ = ["CheckpointFile"]


class CheckpointFile(Checkpoints):
    """Keeps the progress of one chunk in one file.

    Parameters
    ----------
    path
        The file.
    identity
        Plain values that say whose progress it is: experiments, code, device. A file of another identity is not loaded.
    seconds
        The time between saves while work goes on.
    echo
        Told, in words, when a damaged file is dropped.
    """

    def __init__(
        self, path: Path, identity: dict[str, Any], seconds: float = 60.0, echo: Callable[[str], None] = print
    ) -> None:
        self.path, self.identity, self.seconds, self.echo = path, identity, seconds, echo
        self.saved_at = time.monotonic()

    def load(self) -> Progress | None:
        """See `Checkpoints`."""
        saved = self._read(mmap=False)
        if saved is None or saved.pop("identity") != self.identity:
            return None
        checksum = saved.pop("checksum", None)  # absent from files that were written before there were checksums
        try:
            progress = Progress(**saved)
            if checksum not in (None, _checksum(progress)):
                raise ValueError("its content is not what was saved")
        except Exception as error:  # anything may stand in a file that is damaged
            self._drop(error)
            return None
        return progress

    def whose(self) -> dict[str, Any] | None:
        """The identity that the file was saved with; None if there is no file, or it was dropped as unreadable."""
        saved = self._read(mmap=True)
        return None if saved is None else saved["identity"]

    def _read(self, *, mmap: bool) -> dict[str, Any] | None:
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True, mmap=mmap)
            if not isinstance(saved["identity"]["experiments"], list):
                raise ValueError("it does not say whose progress it is")
        except FileNotFoundError:
            return None
        except Exception as error:  # what is raised depends on where the damage is: RuntimeError, UnpicklingError...
            self._drop(error)
            return None
        return saved

    def _drop(self, error: Exception) -> None:
        reason = str(error).partition("\n")[0][:80] or type(error).__name__
        self.echo(f"{self.path} is damaged ({reason}): dropped, its networks are trained from the beginning")
        self.delete()

    def save(self, progress: Progress) -> None:
        """See `Checkpoints`."""
        saved = vars(progress) | {"identity": self.identity, "checksum": _checksum(progress)}
        replace_file(self.path, lambda stream: torch.save(saved, stream))
        self.saved_at = time.monotonic()

    def is_due(self) -> bool:
        """See `Checkpoints`."""
        return time.monotonic() - self.saved_at >= self.seconds

    def delete(self) -> None:
        """Forget the progress: the chunk is finished."""
        self.path.unlink(missing_ok=True)


def _checksum(progress: Progress) -> str:
    """Of everything in it: the weights bit by bit, the rest as Python writes it."""
    plain = [progress.epoch, progress.step, progress.seconds, progress.records]
    digest = hashlib.sha256(repr(plain).encode())
    for name, tensor in sorted((progress.state or {}).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()

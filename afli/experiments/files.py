"""Files that are replaced whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

__all__ = ["replace_file"]


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that, whenever the process or the machine stops, either the old or the new content is there.

    Raises
    ------
    OSError
        If it cannot be written: the disk is full, the folder read-only. Nothing half written is left behind.
    """
    draft = path.with_name(path.name + ".draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, path)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        cause = error.__context__ if isinstance(error, RuntimeError) else error  # torch's writer hides the disk's error
        if isinstance(cause, OSError):
            raise OSError(f"{path} cannot be written: {cause.strerror or cause}") from error
        raise
    if os.name == "posix":  # the rename itself reaches the disk with the folder
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

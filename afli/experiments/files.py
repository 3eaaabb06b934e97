"""Files that are replaced whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

__all__ = ["replace_file"]

# What fsync, and opening a folder for it, say on mounts that have no such thing (network, FUSE, write-only folders).
NOT_THERE = {
    getattr(errno, name) for name in ("EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "ENOTTY", "EBADF", "EACCES", "EPERM")
}


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that, whenever the process or the machine stops, either the old or the new content is there.

    On a mount that cannot be asked to write through, this holds for the process only.

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
            _write_through(stream.fileno())
        os.replace(draft, path)
        if os.name == "posix":  # the rename itself reaches the disk with the folder
            _write_through_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):  # a folder that is gone
            draft.unlink()
        cause = error.__context__ if isinstance(error, RuntimeError) else error  # torch's writer hides the disk's error
        if isinstance(cause, OSError):
            raise OSError(f"{path} cannot be written: {cause.strerror or cause}") from error
        raise


def _write_through(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_THERE:
            raise


def _write_through_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in NOT_THERE:
            raise
        return
    try:
        _write_through(descriptor)
    finally:
        os.close(descriptor)

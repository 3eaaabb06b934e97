"""Run a command that sees nothing but what it needs: a namespace of its own for files, processes, users and network.

    python enclosure.py '{"root": EMPTY_FOLDER, "paths": [...], ...}' COMMAND...

Linux only, 5.12 or newer, with user namespaces allowed or as root. The command finds `paths` where they are, read-only,
and an empty /tmp; nothing else of the disk. It is process 1 of its namespace, so that no other process there can end
it, and all of them end with it. It has no network and no capabilities, and as root it becomes the user `nobody`.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

NOBODY = 65534
DEVICES = ("null", "zero", "full", "random", "urandom")

# <linux/sched.h>, <linux/mount.h>, <linux/prctl.h>
NEW_FILES, NEW_NAMES, NEW_MEMORY, NEW_USER, NEW_PROCESSES, NEW_NETWORK = (
    0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
BIND, RECURSIVE, PRIVATE, NO_SETUID, NO_DEVICES, NO_EXEC = 0x1000, 0x4000, 0x40000, 2, 4, 8
ATTRIBUTE_READ_ONLY, ATTRIBUTE_NO_SETUID, AT_RECURSIVE, AT_HERE = 1, 2, 0x8000, -100
MOUNT_SETATTR, PIVOT_ROOT = 442, {"x86_64": 155, "aarch64": 41}
DETACH, DIE_WITH_PARENT, DROP_CAPABILITY, NO_NEW_PRIVILEGES = 2, 1, 24, 38

libc = ctypes.CDLL(None, use_errno=True)


def _call(function: Any, *arguments: Any) -> None:
    """A function of libc. Raises OSError where it fails."""
    if function(*(a.encode() if isinstance(a, str) else a for a in arguments)) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)} ({getattr(function, '__name__', 'libc')}{arguments[:3]})")


def _new_namespaces() -> bool:
    """Enter new namespaces with the next child; returns whether that needed a user namespace."""
    kinds = NEW_FILES | NEW_NAMES | NEW_MEMORY | NEW_PROCESSES | NEW_NETWORK
    user, group = os.getuid(), os.getgid()
    if user == 0:
        try:
            _call(libc.unshare, kinds)
            return False
        except OSError:  # root in a container without CAP_SYS_ADMIN
            pass
    _call(libc.unshare, kinds | NEW_USER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    return True


def _read_only(path: str, *, recursive: bool) -> None:
    class Attributes(ctypes.Structure):
        _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "namespace")]

    wanted = Attributes(ATTRIBUTE_READ_ONLY | ATTRIBUTE_NO_SETUID, 0, 0, 0)
    flags = AT_RECURSIVE if recursive else 0
    _call(libc.syscall, MOUNT_SETATTR, AT_HERE, path, flags, ctypes.byref(wanted), ctypes.c_size_t(32))


def _bind(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "w").close()
    _call(libc.mount, source, target, None, BIND | RECURSIVE, None)


def _new_root(root: str, paths: list[str], scratch: int) -> None:
    """Make `root` the root of the file system: `paths`, read-only; /proc; a few devices; an empty /tmp."""
    _call(libc.mount, None, "/", None, RECURSIVE | PRIVATE, None)
    _call(libc.mount, "tmpfs", root, "tmpfs", NO_SETUID | NO_DEVICES, "size=4m,mode=755")
    os.makedirs(f"{root}/tmp")
    small = f"size={scratch},nr_inodes=20000,mode=1777"
    _call(libc.mount, "tmpfs", f"{root}/tmp", "tmpfs", NO_SETUID | NO_DEVICES, small)
    for path in sorted(paths):
        if os.path.islink(path):  # /lib -> usr/lib
            os.symlink(os.readlink(path), root + path)
        elif os.path.exists(path) and not os.path.exists(root + path):
            _bind(path, root + path)
            _read_only(root + path, recursive=True)
    for name in DEVICES:
        _bind(f"/dev/{name}", f"{root}/dev/{name}")
    os.makedirs(f"{root}/dev/pts")
    _call(libc.mount, "devpts", f"{root}/dev/pts", "devpts", NO_SETUID | NO_EXEC, "newinstance,ptmxmode=0666,mode=620")
    for name, target in {"fd": "/proc/self/fd", "shm": "/tmp", "ptmx": "pts/ptmx"}.items():
        os.symlink(target, f"{root}/dev/{name}")
    os.makedirs(f"{root}/proc")
    _call(libc.mount, "proc", f"{root}/proc", "proc", NO_SETUID | NO_DEVICES | NO_EXEC, None)
    os.chdir(root)
    _call(libc.syscall, PIVOT_ROOT[os.uname().machine], ".", ".")
    _call(libc.umount2, ".", DETACH)  # the old root, which lies on top
    os.chdir("/tmp")
    _read_only("/", recursive=False)


def _give_up_rights(in_user_namespace: bool) -> None:
    if in_user_namespace:
        for capability in range(64):
            libc.prctl(DROP_CAPABILITY, capability, 0, 0, 0)  # an error is a number that no capability has
    else:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    _call(libc.prctl, NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _call(libc.prctl, DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)


def enclosed(spec: dict[str, Any], command: list[str]) -> int:
    """Run a command in an enclosure; returns its exit status.

    Parameters
    ----------
    spec
        root: an empty folder. paths: what the command may read. memory: bytes of one process. file: bytes of one file.
        processes: how many at a time. scratch: bytes of /tmp.
    command
        Program, by its absolute path, and arguments.

    Raises
    ------
    OSError
        If the system has no such namespaces, or does not let this user have them.
    """
    in_user_namespace = _new_namespaces()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        _new_root(spec["root"], spec["paths"], spec["scratch"])
        limits = {
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_DATA: spec["memory"],
            resource.RLIMIT_FSIZE: spec["file"],
            resource.RLIMIT_NPROC: spec["processes"],
        }
        for limit, value in limits.items():
            resource.setrlimit(limit, (value, value))
        _give_up_rights(in_user_namespace)
        os.execv(command[0], command)
    except OSError as error:
        print(f"enclosure: {error}", file=sys.stderr)
    os._exit(126)


if __name__ == "__main__":
    try:
        sys.exit(enclosed(json.loads(sys.argv[1]), sys.argv[2:]))
    except OSError as error:
        sys.exit(f"enclosure: {error}")

"""Locks of the operating system, on files: held by whoever has the file open, and given back however that one dies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


def open_private(path: Path, owner: int | None) -> int:
    """Open a file for its owner alone, never through a link: root may be at work in a directory of somebody else."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    if sys.platform != "win32" and owner is not None and os.geteuid() == 0 and os.fstat(descriptor).st_nlink == 1:
        os.fchown(descriptor, owner, -1)
    return descriptor


def try_lock(descriptor: int) -> bool:
    """Lock the file if nobody has. Held until unlocked, or until the last process that has it open ends."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, 4096, os.SEEK_SET)  # past the text: this lock also forbids reading
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def unlock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, 4096, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock of this file."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)

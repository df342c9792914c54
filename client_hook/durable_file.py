"""Files that are whole or not there: temporary file, fsync, rename, fsync of the folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

TEMPORARY_PREFIX = ".trainguard-"
TEMPORARY_SUFFIX = ".tmp"


def write_durably(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in the place of ``path`` at once.

    After a crash or a power cut at any moment, ``path`` holds the old bytes or the new ones, whole.

    Raises:
        OSError: the disk refused; the temporary file is gone and ``path`` is untouched.
    """
    temporary = temporary_name(path)
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def write_bytes_durably(path: Path, data: bytes) -> None:
    """The same for bytes that are at hand. Raises ``OSError`` where the disk refuses; ``path`` is then untouched."""

    def write(file: BinaryIO) -> None:
        file.write(data)

    write_durably(path, write)


def temporary_name(path: Path) -> Path:
    """The name a file has while it is being written: hidden, and recognised by `remove_leftovers`."""
    return path.with_name(f"{TEMPORARY_PREFIX}{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")


def fsync_folder(folder: Path) -> None:
    """Make a rename or removal last; file systems and platforms that cannot are passed over."""
    # Windows cannot open a folder, and some network file systems refuse to fsync one. The rename itself
    # has happened; only its survival of a power cut is as good as that file system makes it.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(folder: Path) -> int:
    """Remove temporary files of a process that died while writing; returns how many there were.

    Call it only while holding the folder's journal lock: a living writer's file would go as well.
    """
    removed = 0
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*{TEMPORARY_SUFFIX}"):
        with contextlib.suppress(OSError):
            leftover.unlink()
            removed += 1
    return removed

"""One trainer per folder: a lock that the kernel drops with its process, however that dies."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import weakref
from pathlib import Path

from client_hook.recovery.errors import JournalLocked

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_logger = logging.getLogger("trainguard")
_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


class FolderLock:
    """Holds ``path`` locked until `release`; the file itself stays, with the process id of its last holder.

    A file left by a dead process is no obstacle, because the lock is the kernel's and not the file. Where the
    system or the file system has no locks, a warning is logged and the folder is used unlocked.

    Raises:
        JournalLocked: another process, or another hook in this one, holds it.
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._acquire(path)
        except BaseException:
            self._close()
            raise
        # Read by a person, or by whoever is refused here; the lock does not depend on it.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        _held.add(self)

    def _acquire(self, path: Path) -> None:
        if fcntl is None or self._descriptor is None:
            _logger.warning("this system has no file locks: keep a second trainer out of '%s' yourself", path.parent)
            return
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise JournalLocked(
                    f"'{path.parent}' is in use by {self._holder()}; end that training, or give this one a folder "
                    "of its own"
                ) from None
            _logger.warning("'%s' cannot be locked (%s): keep a second trainer out yourself", path, error.strerror)

    def _holder(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            holder = int(os.pread(self._descriptor or 0, 32, 0))
            return "this very process" if holder == os.getpid() else f"process {holder}"
        return "another process"

    @property
    def is_held(self) -> bool:
        """Until it is released, and never in a forked child."""
        return self._descriptor is not None

    def release(self) -> None:
        """Let go; safe to call twice."""
        _held.discard(self)
        self._close()

    def after_fork_in_child(self) -> None:
        """A data-loader worker that outlives a killed trainer must not hold the folder for it."""
        # Closing one of two descriptors of the same lock does not drop it.
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _in_child() -> None:
    for lock in list(_held):
        lock.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

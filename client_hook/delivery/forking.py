"""What becomes of threads, sockets and locks when a process forks: a child inherits none of them."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class ForkAware(Protocol):
    """Something that must not go on working in a forked child."""

    def after_fork_in_child(self) -> None:
        """Become inert: take no lock that may be held for ever, start no thread, touch no socket."""
        ...


_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_is_registered = False


def make_inert_after_fork(thing: ForkAware) -> None:
    """Call ``thing.after_fork_in_child()`` in every child forked from now on (data-loader workers fork)."""
    global _is_registered
    _aware.add(thing)
    if not _is_registered and hasattr(os, "register_at_fork"):  # Windows has no fork
        os.register_at_fork(after_in_child=_in_child)
        _is_registered = True


def _in_child() -> None:
    for thing in list(_aware):
        thing.after_fork_in_child()

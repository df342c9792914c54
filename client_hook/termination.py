"""SIGTERM: what was measured is delivered or spooled first, and then the process dies of it as it would have anyway.

A job that is preempted or cancelled gets this signal, and Python dies of it on the spot: no ``finally``, no
``atexit``. The handler is ours only where nobody else has one, and is taken back with the last hook.
"""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Callable
from types import FrameType

from client_hook.delivery.forking import make_inert_after_fork

PATIENCE_SECONDS = 3.0
"""The most that dying is put off; schedulers send SIGKILL after 5 to 30 s."""


class LastWords:
    """Calls ``say`` when this process is told to end; once begun, until `end`."""

    def __init__(self, say: Callable[[], None]) -> None:
        self.say = say

    def begin(self) -> None:
        """Begin to listen, where that is possible: on the main thread, with nobody else's handler there."""
        if _handles_signals() and signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, _on_sigterm):
            signal.signal(signal.SIGTERM, _on_sigterm)
            _listening.add(self)
            make_inert_after_fork(self)

    def end(self) -> None:
        """Listen no longer."""
        _listening.discard(self)
        if not _listening and _handles_signals() and signal.getsignal(signal.SIGTERM) is _on_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def after_fork_in_child(self) -> None:
        """A data-loader worker has nothing to say, and is told to end by this very signal."""
        self.end()


_listening: weakref.WeakSet[LastWords] = weakref.WeakSet()


def _handles_signals() -> bool:
    return threading.current_thread() is threading.main_thread()


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    # On a thread of its own: the signal may have come while the main thread holds a lock that is needed for this.
    thread = threading.Thread(target=_say_everything, name="trainguard-last-words", daemon=True)
    try:
        thread.start()
        thread.join(PATIENCE_SECONDS)
    finally:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _say_everything() -> None:
    for listener in list(_listening):
        listener.say()

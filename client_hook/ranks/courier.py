"""The one thread of a rank that talks to the store, so that no network ever holds the training up for ever."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from client_hook.guard import Complaints
from client_hook.ranks.board import Board, BoardUnreachable

_logger = logging.getLogger("trainguard")
T = TypeVar("T")


class _Errand:
    """One question to the store, and its answer."""

    def __init__(self, ask: Callable[[Board], Any]) -> None:
        self.ask = ask
        self.answer: Any = None
        self.fault: Exception | None = None
        self.is_done = threading.Event()


class Courier:
    """Runs errands in order, and its chores every ``every_seconds``.

    Any thread may give an errand; who waits for its answer waits with a deadline. A store that is out of reach is
    complained about once a minute, and asked again a second later.
    """

    ERRANDS_KEPT = 1_000

    def __init__(self, board: Board, *, every_seconds: float = 0.05) -> None:
        self._board = board
        self._every_seconds = every_seconds
        self._errands: deque[_Errand] = deque(maxlen=self.ERRANDS_KEPT)
        self._chores: list[Callable[[Board], None]] = []
        self._woken = threading.Event()
        self._is_closing = False
        self._complaints = Complaints(_logger)
        self._thread: threading.Thread | None = None
        self.unreachable = ""
        """Why the store could not be reached the last time; empty while it answers."""

    def each_round(self, chore: Callable[[Board], None]) -> None:
        """Do ``chore`` in every round from now on, also on the way of an errand. It must not wait for anything."""
        self._chores.append(chore)

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="trainguard-ranks", daemon=True)
        self._thread.start()

    def send(self, ask: Callable[[Board], Any]) -> None:
        """Do it soon; nobody waits for it. Where a thousand wait already the oldest is dropped."""
        self._errands.append(_Errand(ask))
        self._woken.set()

    def ask(self, ask: Callable[[Board], T], *, timeout_seconds: float) -> T:
        """Do it and wait for the answer.

        Raises:
            BoardUnreachable: the store failed, or did not answer in time.
        """
        errand = _Errand(ask)
        self._errands.append(errand)
        self._woken.set()
        if not errand.is_done.wait(timeout_seconds):
            raise BoardUnreachable(f"the process group's store did not answer within {timeout_seconds:g} s")
        if errand.fault is not None:
            raise errand.fault
        answer: T = errand.answer
        return answer

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Run the errands that are left, and end; safe to call twice."""
        self._is_closing = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        due = 0.0
        while True:
            self._woken.wait(max(due - time.monotonic(), 0.0))
            self._woken.clear()
            is_last = self._is_closing
            while self._errands:
                self._do(self._errands.popleft())
            if is_last:
                return
            if time.monotonic() >= due:
                self._do_chores()
                due = time.monotonic() + (1.0 if self.unreachable else self._every_seconds)

    def _do(self, errand: _Errand) -> None:
        try:
            errand.answer = errand.ask(self._board)
        except Exception as fault:
            errand.fault = fault if isinstance(fault, BoardUnreachable) else BoardUnreachable(str(fault))
            self._note(fault)
        errand.is_done.set()

    def _do_chores(self) -> None:
        try:
            for chore in self._chores:
                chore(self._board)
        except Exception as fault:
            self._note(fault)
        else:
            self.unreachable = ""

    def _note(self, fault: Exception) -> None:
        self.unreachable = str(fault) or type(fault).__name__
        # A run that ends takes its store along, and ranks do not end at the same moment.
        level = logging.DEBUG if self._is_closing or isinstance(fault, BoardUnreachable) else logging.WARNING
        self._complaints.say(type(fault).__name__, "between the ranks: %s", fault, level=level)

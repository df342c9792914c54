"""The guest never breaks the furniture: our own bugs end here and never reach somebody's training loop."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_recorded: list[Exception] | None = None
"""Everything swallowed by any guard since `record_swallowed`, with tracebacks. ``None`` outside of tests: a
kept traceback keeps the frames alive, and with them somebody's gradients."""


class Complaints:
    """Says the same thing at most once in ``interval_seconds``, and then how often it was held back.

    >>> import logging
    >>> now = [0.0]
    >>> complaints = Complaints(logging.getLogger("nobody"), clock=lambda: now[0])
    >>> [complaints.say("down", "the service is down"), complaints.say("down", "the service is down")]
    [True, False]
    >>> now[0] = 61.0
    >>> complaints.say("down", "the service is down")
    True
    """

    KINDS_KEPT = 256

    def __init__(
        self,
        logger: logging.Logger,
        *,
        clock: Callable[[], float] = time.monotonic,
        interval_seconds: float = 60.0,
    ) -> None:
        self._logger = logger
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._said: dict[str, tuple[float, int]] = {}

    def say(
        self, kind: str, message: str, *arguments: object, level: int = logging.WARNING, fault: Exception | None = None
    ) -> bool:
        """Log ``message % arguments`` unless ``kind`` was logged within the interval; whether it was logged."""
        now = self._clock()
        said_at, held_back = self._said.get(kind, (None, 0))
        if said_at is not None and now - said_at < self._interval_seconds:
            self._said[kind] = (said_at, held_back + 1)
            return False
        if len(self._said) >= self.KINDS_KEPT:
            self._said.clear()
        self._said[kind] = (now, 0)
        if held_back:
            message, arguments = message + " (and %d times since it was last said)", (*arguments, held_back)
        self._logger.log(level, message, *arguments, exc_info=fault)
        return True


class Guard:
    """Swallows our exceptions, counts them, and after ``limit`` of them has tripped.

    Never swallowed are exceptions that are not an ``Exception`` (``KeyboardInterrupt``, ``SystemExit``), those
    of the types in ``passes`` (``TrainingHalted``), and those that come out of a user's own function, which has
    to be called inside `users_code`.

    As a context manager it covers a stretch; as a decorator a function, which then gives ``None`` on a fault
    and is no longer called at all once the guard has tripped. Who uses the context manager looks at `tripped`
    itself, because not everything may stop: the rate multiplier stays on, dropping it would undo the cure.

    >>> import logging
    >>> guard = Guard(limit=2, logger=logging.getLogger("nobody"))
    >>> @guard
    ... def measure(value):
    ...     return 1 / value
    >>> measure(2), measure(0), measure(0), guard.faults, guard.tripped, measure(2)
    (0.5, None, None, 2, True, None)
    """

    def __init__(
        self,
        limit: int = 20,
        *,
        logger: logging.Logger | None = None,
        clock: Callable[[], float] = time.monotonic,
        passes: tuple[type[BaseException], ...] = (),
    ) -> None:
        if limit < 1:
            raise ValueError(f"limit is {limit}; it must be at least 1")
        self.limit = limit
        self.faults = 0
        self.tripped = False
        """Whether there were so many faults that watching is switched off."""
        self.swallowed: list[Exception] = []
        """The first ``limit`` faults; without their tracebacks, unless a test is recording."""
        self._logger = logger if logger is not None else logging.getLogger("trainguard")
        self._complaints = Complaints(self._logger, clock=clock)
        self._passes = passes
        self._users: BaseException | None = None

    def __enter__(self) -> Guard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if fault is None:
            self._users = None  # caught on its way here; a kept exception would keep its frames
            return False
        if fault is self._users:
            self._users = None
            return False
        if not isinstance(fault, Exception) or isinstance(fault, self._passes):
            return False
        self._swallow(fault)
        return True

    def caught(self, fault: Exception) -> None:
        """The same in an ``except``, for who passes here on every step: entering and leaving cost 0.1 µs each time.

        Raises:
            Exception: ``fault``, where it is not for us to swallow.
        """
        if not self.__exit__(type(fault), fault, fault.__traceback__):
            raise fault

    def __call__(self, function: Callable[P, R]) -> Callable[P, R | None]:
        """``function`` under this guard; ``None`` where it failed or the guard has tripped."""

        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R | None:
            if self.tripped:
                return None
            with self:
                return function(*args, **kwargs)
            return None

        return guarded

    def complain(self, kind: str, message: str, *arguments: object) -> None:
        """Warn of something that is no fault of ours; the same ``kind`` at most once a minute."""
        self._complaints.say(kind, message, *arguments)

    @contextmanager
    def users_code(self) -> Generator[None, None, None]:
        """Around a call of a user's own function: what it raises is theirs and passes through this guard."""
        try:
            yield
        except BaseException as theirs:
            self._users = theirs
            raise

    def _swallow(self, fault: Exception) -> None:
        self.faults += 1
        self.tripped = self.faults >= self.limit
        self._complaints.say(
            f"{type(fault).__name__}: {fault}"[:200],
            "trainguard failed inside, the training goes on (fault %d of %d): %s: %s",
            self.faults,
            self.limit,
            type(fault).__name__,
            fault,
            fault=fault,
        )
        if self.faults == self.limit:
            self._logger.error(
                "trainguard has failed %d times and switches its watching off for the rest of this run; "
                "the training goes on, a learning-rate multiplier in force stays on",
                self.limit,
            )
        if _recorded is not None:
            _recorded.append(fault)
        else:
            _drop_frames(fault)
        if len(self.swallowed) < self.limit:
            self.swallowed.append(fault)


def _drop_frames(fault: BaseException) -> None:
    """Let go of the frames that an exception and what led to it keep alive."""
    chain: list[Any] = [fault]
    while chain:
        link = chain.pop()
        if isinstance(link, BaseException) and link.__traceback__ is not None:
            link.__traceback__ = None
            chain += [link.__cause__, link.__context__]


def record_swallowed() -> None:
    """For tests: keep from now on what any guard swallows, so that `raise_swallowed` can raise it."""
    global _recorded
    _recorded = []


def take_swallowed() -> list[Exception]:
    """For a test that means to cause faults: those recorded so far, which are then forgotten."""
    taken = list(_recorded or ())
    if _recorded is not None:
        _recorded.clear()
    return taken


def raise_swallowed() -> None:
    """For a test's teardown: end recording and raise the first recorded fault, with its traceback."""
    global _recorded
    taken, _recorded = _recorded or [], None
    if taken:
        raise taken[0]

"""Where the training thread puts what is to be said, in constant time and within a bound."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Union

from client_hook.delivery.forking import make_inert_after_fork
from trainguard.wire import (
    Acknowledgement,
    AttemptReport,
    CheckpointReport,
    DecisionReport,
    Evaluation,
    Finding,
    IncidentReport,
    Observation,
)

Item = Union[
    Observation,
    AttemptReport,
    CheckpointReport,
    Acknowledgement,
    Finding,
    IncidentReport,
    DecisionReport,
    Evaluation,
    Any,
]
"""What an outbox holds: messages of the wire, and opaque marks that stay in the process."""


class Outbox:
    """An ordered, bounded queue between two threads.

    When more than ``max_observations`` observations wait, the *oldest observations* are dropped and counted.
    Everything else (acknowledgements, findings, checkpoints, attempts…) has its own, generous bound, so no
    flood of observations can push it out; at that bound the oldest evaluation or other report goes, counted
    too. The default of 4,000 observations is about 5 MiB.

    >>> outbox = Outbox(max_observations=2)
    >>> for step in range(3):
    ...     outbox.put(Observation(0, step, 0.0, {"loss": 1.0}))
    ...     outbox.put(f"mark {step}")
    >>> [item if isinstance(item, str) else item.step for item in outbox.take()], outbox.observations_lost
    (['mark 0', 1, 'mark 1', 2, 'mark 2'], 1)
    """

    def __init__(self, max_observations: int = 4_000, max_reports: int = 10_000) -> None:
        for name, bound in (("max_observations", max_observations), ("max_reports", max_reports)):
            if bound < 1:
                raise ValueError(f"{name} is {bound}; it must be at least 1")
        self.max_observations = max_observations
        self.max_reports = max_reports
        self.observations_lost = 0
        """Observations dropped so far, in all."""
        self.reports_lost = 0
        """Other messages dropped so far, in all; 0 unless the bound of reports was reached."""
        self._observations: deque[tuple[int, Item]] = deque()
        self._reports: deque[tuple[int, Item]] = deque()
        self._next = 0
        self._lock = threading.Lock()
        self._is_inert = False
        self._wake: tuple[int, Callable[[], None]] | None = None
        make_inert_after_fork(self)

    def put(self, item: Item) -> None:
        """Append: O(1), about a microsecond, never waits for more than the swap of two pointers."""
        if self._is_inert:
            return
        with self._lock:
            if type(item) is Observation:
                self._observations.append((self._next, item))
                if len(self._observations) > self.max_observations:
                    self._observations.popleft()
                    self.observations_lost += 1
            else:
                self._reports.append((self._next, item))
                if len(self._reports) > self.max_reports:
                    self._reports.popleft()
                    self.reports_lost += 1
            self._next += 1
        if self._wake is not None and len(self._observations) == self._wake[0]:
            self._wake[1]()

    def extend(self, items: Iterable[Item]) -> None:
        """`put` one after the other."""
        for item in items:
            self.put(item)

    def take(self, max_observations: int | None = None, max_reports: int | None = None) -> list[Item]:
        """Remove and return what is there, oldest first; at most so many observations and reports.

        The order is that of `put`: what stands after the last item taken stays, whatever its kind.
        """
        with self._lock:
            if max_observations is None and max_reports is None:
                observations, self._observations = self._observations, deque()
                reports, self._reports = self._reports, deque()
                limits = (len(observations), len(reports))
            else:
                observations, reports = self._observations, self._reports
                limits = (
                    len(observations) if max_observations is None else max_observations,
                    len(reports) if max_reports is None else max_reports,
                )
                return _merge(observations, reports, *limits)
        return _merge(observations, reports, *limits)

    def put_back(self, items: Sequence[Item]) -> None:
        """Put what was taken back before everything that waits; at the bound the oldest observations go, counted."""
        with self._lock:
            firsts = [queue[0][0] for queue in (self._observations, self._reports) if queue]
            number = min(firsts, default=self._next)
            for item in reversed(items):
                number -= 1
                (self._observations if type(item) is Observation else self._reports).appendleft((number, item))
            while len(self._observations) > self.max_observations:
                self._observations.popleft()
                self.observations_lost += 1

    def wake_at(self, observations: int, wake: Callable[[], None]) -> None:
        """Call ``wake`` (from the putting thread; it must be quick) when so many observations wait."""
        self._wake = (observations, wake)

    def close(self) -> None:
        """Nothing more will be put, and whatever waits is to be taken."""

    def __len__(self) -> int:
        return len(self._observations) + len(self._reports)

    def after_fork_in_child(self) -> None:
        """The parent's worker may hold the lock at the moment of the fork, and here nobody would release it."""
        self._is_inert = True
        self._lock = threading.Lock()
        self._observations, self._reports = deque(), deque()


def _merge(
    observations: deque[tuple[int, Item]], reports: deque[tuple[int, Item]], max_observations: int, max_reports: int
) -> list[Item]:
    items: list[Item] = []
    while observations or reports:
        if not reports or (observations and observations[0][0] < reports[0][0]):
            if max_observations == 0:
                break
            max_observations -= 1
            items.append(observations.popleft()[1])
        else:
            if max_reports == 0:
                break
            max_reports -= 1
            items.append(reports.popleft()[1])
    return items

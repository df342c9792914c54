"""Where the training thread puts what is to be said, in constant time and within a bound."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Union

from client_hook.delivery.folding import FoldedReport, folded, folded_report, numbers_in, size_of, unfolded
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


LOOSE_NUMBERS = 16_384
"""So many (in 1,000 observations of 16 signals) wait as they came; who puts further ones folds them, in 2 µs each."""

MOST_NUMBERS = 64_000
"""In the observations that wait: 4,000 with 16 signals each, or 320 with 200; 512 KiB of them."""

EXPENDABLE = (Evaluation, IncidentReport, DecisionReport)
"""Reports that go first where there is no room: what was found and what was applied is worth more than its story."""


class Outbox:
    """An ordered, bounded queue between two threads.

    When more than ``max_observations`` observations wait, or more than ``max_numbers`` signals in them, the *oldest
    observations* are dropped and counted. Everything else (acknowledgements, findings, checkpoints, attempts…) has
    its own, generous bound, so no flood of observations can push it out; at that bound the oldest evaluation or other
    report goes, counted too. What waits beyond ``loose_numbers`` is folded: 4,000 observations are 1.2 MiB. With
    ``max_report_bytes`` reports are folded as well, and when they take more, the oldest expendable one goes.

    >>> outbox = Outbox(max_observations=2)
    >>> for step in range(3):
    ...     outbox.put(Observation(0, step, 0.0, {"loss": 1.0}))
    ...     outbox.put(f"mark {step}")
    >>> [item if isinstance(item, str) else item.step for item in outbox.take()], outbox.observations_lost
    (['mark 0', 1, 'mark 1', 2, 'mark 2'], 1)
    """

    def __init__(
        self,
        max_observations: int = 4_000,
        max_reports: int = 10_000,
        *,
        max_numbers: int = MOST_NUMBERS,
        loose_numbers: int = LOOSE_NUMBERS,
        max_report_bytes: int | None = None,
    ) -> None:
        for name, bound in (
            ("max_observations", max_observations),
            ("max_reports", max_reports),
            ("max_numbers", max_numbers),
        ):
            if bound < 1:
                raise ValueError(f"{name} is {bound}; it must be at least 1")
        self.max_observations = max_observations
        self.max_reports = max_reports
        self.observations_lost = 0
        """Observations dropped so far, in all."""
        self.reports_lost = 0
        """Other messages dropped so far, in all; 0 unless the bound of reports was reached."""
        self._max_numbers = max_numbers
        self._loose_numbers = loose_numbers
        self._observations: deque[tuple[int, Item]] = deque()
        self._reports: deque[tuple[int, Item]] = deque()
        self._numbers = 0
        self._max_report_bytes = max_report_bytes
        self._report_bytes = 0
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
                numbers = self._numbers = self._numbers + len(item.signals)
                self._observations.append((self._next, item if numbers <= self._loose_numbers else folded(item)))
                if numbers > self._max_numbers or len(self._observations) > self.max_observations:
                    self._drop_oldest()
            else:
                if self._max_report_bytes is not None:
                    item = folded_report(item)
                    self._report_bytes += size_of(item)
                self._reports.append((self._next, item))
                if len(self._reports) > self.max_reports or self._report_bytes > (self._max_report_bytes or 0):
                    self._drop_reports()
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
        return [unfolded(item) for item in self.take_folded(max_observations, max_reports)]

    def take_folded(self, max_observations: int | None = None, max_reports: int | None = None) -> list[Item]:
        """The same as it is kept, for who keeps it on."""
        if max_observations is None and max_reports is None:
            # Merging is not to hold up who puts.
            with self._lock:
                observations, self._observations = self._observations, deque()
                reports, self._reports = self._reports, deque()
                self._numbers = self._report_bytes = 0
            return _merge(observations, reports, len(observations), len(reports))
        with self._lock:
            observations, reports = self._observations, self._reports
            items = _merge(
                observations,
                reports,
                len(observations) if max_observations is None else max_observations,
                len(reports) if max_reports is None else max_reports,
            )
            self._numbers -= sum(map(numbers_in, items))
            self._report_bytes -= sum(map(size_of, items))
        return items

    def portions(self, size: int) -> Iterator[list[Item]]:
        """`take` everything, but never more than ``size`` items of it unfolded at a time."""
        items = deque(self.take_folded())
        while items:
            yield [unfolded(items.popleft()) for _ in range(min(size, len(items)))]

    def put_back(self, items: Sequence[Item]) -> None:
        """Put what was taken back before everything that waits; at the bounds the oldest observations go, counted."""
        with self._lock:
            firsts = [queue[0][0] for queue in (self._observations, self._reports) if queue]
            number = min(firsts, default=self._next)
            for item in reversed(items):
                number -= 1
                if type(item) is Observation:
                    self._observations.appendleft((number, folded(item)))
                    self._numbers += len(item.signals)
                else:
                    kept = item if self._max_report_bytes is None else folded_report(item)
                    self._report_bytes += size_of(kept)
                    self._reports.appendleft((number, kept))
            self._drop_oldest()

    def wake_at(self, observations: int, wake: Callable[[], None]) -> None:
        """Call ``wake`` (from the putting thread; it must be quick) when so many observations wait."""
        self._wake = (observations, wake)

    def close(self) -> None:
        """Nothing more will be put, and whatever waits is to be taken."""

    @property
    def is_half_full(self) -> bool:
        """Whether half of any of its bounds is reached."""
        return (
            2 * len(self._observations) >= self.max_observations
            or 2 * self._numbers >= self._max_numbers
            or 2 * len(self._reports) >= self.max_reports
            or (self._max_report_bytes is not None and 2 * self._report_bytes >= self._max_report_bytes)
        )

    def __len__(self) -> int:
        return len(self._observations) + len(self._reports)

    def after_fork_in_child(self) -> None:
        """The parent's worker may hold the lock at the moment of the fork, and here nobody would release it."""
        self._is_inert = True
        self._lock = threading.Lock()
        self._observations, self._reports, self._numbers = deque(), deque(), 0

    def _drop_oldest(self) -> None:
        waiting = self._observations
        while len(waiting) > self.max_observations or (self._numbers > self._max_numbers and len(waiting) > 1):
            self._numbers -= numbers_in(waiting.popleft()[1])
            self.observations_lost += 1

    def _drop_reports(self) -> None:
        most = self._max_report_bytes
        while len(self._reports) > self.max_reports or (most is not None and self._report_bytes > most):
            place = self._least_needed()
            self._report_bytes -= size_of(self._reports[place][1])
            del self._reports[place]
            self.reports_lost += 1

    def _least_needed(self) -> int:
        """The oldest of what may go; an acknowledgement only where there is nothing else."""
        expendable = (place for place, (_, item) in enumerate(self._reports) if _kind_of(item) in EXPENDABLE)
        others = (place for place, (_, item) in enumerate(self._reports) if _kind_of(item) is not Acknowledgement)
        place = next(expendable, None)
        return next(others, 0) if place is None else place


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


def _kind_of(item: Item) -> type[object]:
    return item.kind if type(item) is FoldedReport else type(item)

"""The loop's data, when it comes through ``hook.batches``: able to pass over a window of batches.

Nothing is rewound here: after a rollback the data simply goes on, which is how the very batch that did it is
not met again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Batch = TypeVar("Batch")


class DataWindow:
    """Counts the batches that were served, and those that are to be passed over."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._to_skip = 0
        self.is_used = False
        """Whether the loop takes its data from here at all; otherwise nothing can be passed over."""
        self.served = 0
        self.skipped = 0
        self._waited_seconds = 0.0

    def skip(self, batches: int) -> None:
        """Pass over the next ``batches`` batches, in addition to any still to be passed over."""
        self._to_skip += batches

    def take_wait_seconds(self) -> float | None:
        """Seconds the loop has waited for data since the last call; ``None`` where data comes another way."""
        if not self.is_used:
            return None
        waited, self._waited_seconds = self._waited_seconds, 0.0
        return waited

    def batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """One pass over ``loader``."""
        self.is_used = True
        return self._serve(iter(loader))

    def _serve(self, source: Iterator[Batch]) -> Iterator[Batch]:
        while True:
            began = self._clock()
            try:
                batch = next(source)
                while self._to_skip > 0:
                    self._to_skip -= 1
                    self.skipped += 1
                    batch = next(source)
            except StopIteration:
                return
            self._waited_seconds += self._clock() - began
            self.served += 1
            yield batch

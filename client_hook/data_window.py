"""The loop's data, when it comes through ``hook.batches``: able to pass over a window of batches.

Nothing is rewound after a rollback: the data simply goes on, which is how the very batch that did it is not met
again. A restarted process begins its data anew; there what the checkpoint had already seen is passed over, or, with
a loader that keeps its own position (torchdata's StatefulDataLoader), taken up where it stood.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from client_hook.recovery.storable import find_unstorable

Batch = TypeVar("Batch")


class DataWindow:
    """Counts the batches that were taken, and those that are to be passed over."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._to_skip = 0
        self.is_used = False
        """Whether the loop takes its data from here at all; otherwise nothing can be passed over."""
        self.counts_steps: Callable[[], bool] = lambda: False
        """Whether the loop ends by its number of steps (``hook.steps``) and not by its number of passes."""
        self.skipped = 0
        self._waited_seconds = 0.0
        self._passes = 0
        self._taken = 0
        self._resume_passes = 0
        self._resume_taken = 0
        self._loader: Any = None
        """The one that is being passed over now."""
        self._resume_loader: Any = None

    def skip(self, batches: int) -> None:
        """Pass over the next ``batches`` batches, in addition to any still to be passed over."""
        self._to_skip += batches

    @property
    def to_skip(self) -> int:
        """Batches still to be passed over."""
        return self._to_skip

    def take_wait_seconds(self) -> float | None:
        """Seconds the loop has waited for data since the last call; ``None`` where data comes another way."""
        if not self.is_used:
            return None
        waited, self._waited_seconds = self._waited_seconds, 0.0
        return waited

    def position(self) -> dict[str, Any]:
        """Where the data stands, for a checkpoint: whole passes, and batches taken of the present one."""
        position: dict[str, Any] = {"passes": self._passes, "taken": self._taken}
        if self._loader is not None and _keeps_its_position(self._loader):
            state = self._loader.state_dict()
            if find_unstorable(state, "loader") is None:
                position["loader"] = state
        return position

    def resume(self, position: Mapping[str, Any]) -> None:
        """In a restarted process: the passes and batches of ``position`` have been seen already."""
        self._resume_passes = int(position.get("passes", 0))
        self._resume_taken = int(position.get("taken", 0))
        self._resume_loader = position.get("loader")

    def batches(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """One pass over ``loader``."""
        self.is_used = True
        return self._serve(loader)

    def _serve(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        if self._passes < self._resume_passes:
            if not self.counts_steps():
                # An epoch loop begins at epoch 0 again: the epochs that were made are passed over whole.
                self._passes += 1
                return
            self._passes = self._resume_passes
        self._taken = 0
        to_resume, self._resume_taken = self._resume_taken, 0
        state, self._resume_loader = self._resume_loader, None
        if state is not None and _keeps_its_position(loader):
            loader.load_state_dict(state)  # type: ignore[attr-defined]
            self._taken = to_resume
        source = iter(loader)
        self._loader = loader
        while True:
            began = self._clock()
            try:
                while self._taken < to_resume:
                    self._take(source)
                batch = self._take(source)
                while self._to_skip > 0:
                    self._to_skip -= 1
                    self.skipped += 1
                    batch = self._take(source)
            except StopIteration:
                self._passes += 1
                self._taken = 0
                self._loader = None
                return
            self._waited_seconds += self._clock() - began
            yield batch

    def _take(self, source: Iterator[Batch]) -> Batch:
        batch = next(source)
        self._taken += 1
        return batch


def _keeps_its_position(loader: object) -> bool:
    return hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")

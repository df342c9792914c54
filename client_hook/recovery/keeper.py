"""Takes checkpoints, judges them, and gives them back: the store and the ledger behind one door.

A checkpoint is checked finite before it is written, is a candidate until a quiet stretch has followed, and
only then confirmed good. The newest confirmed ones are never rotated away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

from client_hook.guard import Complaints
from client_hook.recovery.checkpoints import CheckpointLedger, CheckpointRecord, Checkpoints
from client_hook.recovery.errors import CheckpointInvalid
from client_hook.recovery.snapshot import Snapshot, TrainingState
from trainguard.wire import CheckpointReport

_logger = logging.getLogger("trainguard")


class CheckpointKeeper:
    """Used from the training thread only."""

    def __init__(
        self,
        *,
        state: TrainingState,
        store: Checkpoints,
        ledger: CheckpointLedger,
        every: int,
        clock: Callable[[], float],
        tell: Callable[[CheckpointReport], None],
        remember: Callable[[], None],
        memory: Callable[[], dict[str, Any]] = dict,
        identify: Callable[[int, int, int], UUID] = lambda attempt, step, ordinal: uuid4(),
    ) -> None:
        self._state = state
        self._store = store
        self.ledger = ledger
        self.every = every
        self._clock = clock
        self._tell = tell
        self._remember = remember
        self._memory = memory
        # Several ranks give one checkpoint one name without asking each other: by attempt, step and number.
        self._identify = identify
        self._saves = 0
        self.last_id: UUID | None = None
        self._owes_rotation = False
        self.why_not_saved = ""
        self._complaints = Complaints(_logger)

    def take_stock(self) -> None:
        """At a restart: bring the ledger, which the journal kept, and the store together.

        A process that was killed may have noted a checkpoint whose writing had only begun, and have written
        one that it did not come to note. The one is forgotten, the other removed: nobody knows its health.
        """
        lost: list[CheckpointReport] = []
        for report in self.ledger.reports():
            if not self._store.exists(report.checkpoint_id):
                lost += self.ledger.removed(report.checkpoint_id, "It was not there after a restart.")
        self._changed(lost)
        known = {report.checkpoint_id for report in self.ledger.reports()}
        for record in self._store.entries():
            if record.checkpoint_id not in known:
                self._store.remove(record.checkpoint_id)

    def is_due(self, next_step: int) -> bool:
        """Whether a checkpoint belongs at this boundary."""
        return next_step > 0 and next_step % self.every == 0

    def save(self, *, attempt: int, next_step: int, is_initial: bool = False) -> CheckpointReport | None:
        """Take a consistent copy now; it is written by the store (in the background, on disk).

        ``None`` where the state is not finite or the store refused it at once, with the reason in
        ``why_not_saved``. What fails in the background is told as removed, and logged, when it is known.
        """
        self.last_id = checkpoint_id = self._identify(attempt, next_step, self._saves)
        self._saves += 1
        snapshot = self._state.capture()
        snapshot.memory = self._memory()
        snapshot.is_initial = is_initial
        bad = snapshot.find_non_finite()
        if bad:
            self.why_not_saved = f"the state before step {next_step} is not finite: {', '.join(bad[:3])}"
            return None
        # Nothing came before the first state, so there is nothing it could have caught.
        return self._stored(snapshot, checkpoint_id, attempt, next_step, is_good=is_initial)

    def register(self, snapshot: Snapshot, *, attempt: int, step: int) -> CheckpointReport | None:
        """Keep what a person vouches for: confirmed from the beginning. ``None`` as for `save`."""
        checkpoint_id = self._identify(attempt, step, self._saves)
        self._saves += 1
        return self._stored(snapshot, checkpoint_id, attempt, step, is_good=True)

    def _stored(
        self, snapshot: Snapshot, checkpoint_id: UUID, attempt: int, next_step: int, *, is_good: bool
    ) -> CheckpointReport | None:
        size_bytes = self._store.save(snapshot, checkpoint_id=checkpoint_id, attempt=attempt, step=next_step)
        record = CheckpointRecord(
            checkpoint_id=checkpoint_id,
            attempt=attempt,
            step=next_step,
            state="confirmed" if is_good else "candidate",
            saved_at=self._clock(),
            size_bytes=size_bytes,
            place=self._store.place,
        )
        self._changed(self.ledger.added(record))
        self._hear(told_by_caller=checkpoint_id)
        self._rotate()
        return self.report(checkpoint_id)

    def confirm(self, seen_step: int) -> None:
        """The detectors have judged every step up to ``seen_step`` and nothing is the matter."""
        self._hear()
        changes = self.ledger.quiet(seen_step)
        self._changed(changes)
        if changes or self._owes_rotation:
            self._rotate()

    def hold(self, best_step: int) -> None:
        """The loss was at its best at ``best_step``; see `CheckpointLedger.hold`."""
        self.ledger.hold(best_step)

    def suspect(self, onset_step: int, reason: str) -> None:
        """An incident reaches back to ``onset_step``: what was saved since holds its updates."""
        self._changed(self.ledger.suspect_from(onset_step, reason))

    def distrust(self, checkpoint_id: UUID, reason: str) -> None:
        """One checkpoint turned out to be unusable."""
        self._changed(self.ledger.distrust(checkpoint_id, reason))

    def rolled_back(self, *, to_step: int, attempt: int) -> None:
        """What the abandoned branch saved is of no more use."""
        self._changed(self.ledger.rolled_back(to_step, attempt))
        self._rotate()

    def reports(self) -> list[CheckpointReport]:
        """The latest report of every checkpoint that is still there."""
        return self.ledger.reports()

    def report(self, checkpoint_id: UUID) -> CheckpointReport | None:
        """The latest report of one checkpoint."""
        return next((one for one in self.ledger.reports() if one.checkpoint_id == checkpoint_id), None)

    def has(self, checkpoint_id: UUID) -> bool:
        """Whether the store has it, whatever its health."""
        return self._store.exists(checkpoint_id)

    def load(self, checkpoint_id: UUID) -> Snapshot:
        """Read a checkpoint whole. Raises ``CheckpointInvalid`` where it is missing, torn or changed."""
        try:
            return self._store.load(checkpoint_id)
        except CheckpointInvalid:
            raise
        except Exception as error:
            # Somebody's own store may raise what it likes; for us it says the same.
            raise CheckpointInvalid(f"it could not be read ({type(error).__name__}: {error})") from error

    def close(self) -> None:
        """Wait for what is still being written."""
        self._store.close()

    def _hear(self, *, told_by_caller: UUID | None = None) -> None:
        """Take in what became of saves: one that failed is no checkpoint, and one that was evicted no longer."""
        for news in self._store.news():
            if news.kind == "saved":
                continue
            if news.kind == "failed":
                self.why_not_saved = news.reason
                if news.record.checkpoint_id != told_by_caller:
                    self._complaints.say("lost", "no checkpoint of step %d: %s", news.record.step, news.reason)
                    self._failed(news.record.checkpoint_id, news.reason)
            self._changed(self.ledger.removed(news.record.checkpoint_id, news.reason))

    def _failed(self, checkpoint_id: UUID, reason: str) -> None:
        """Writing it in the background came to nothing; more than the log need not know."""

    def _rotate(self) -> None:
        # A checkpoint on its way may still fail. Until that is known, what it would replace has to stay.
        self._owes_rotation = not self._store.wait(0)
        if self._owes_rotation:
            return
        self._hear()
        removed: list[CheckpointReport] = []
        for checkpoint_id in self.ledger.rotation():
            self._store.remove(checkpoint_id)
            removed += self.ledger.removed(checkpoint_id)
        self._changed(removed)

    def _changed(self, reports: Sequence[CheckpointReport]) -> None:
        for report in reports:
            self._tell(report)
        if reports:
            self._remember()  # once for all of them: the journal waits for the disk

"""The one place per step where the world may change.

A command passes the journal (was it handled before?), the fence (attempt, revision, expiry) and the check of
each of its actions before anything is touched; then it is written down, applied, and written down again. Never
twice. What cannot be completed ends in ``TrainingHalted``, never in a half-restored model that trains on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from pydantic import JsonValue

from client_hook.recovery.actions import ACTIONS, Applied
from client_hook.recovery.actions.base import Action
from client_hook.recovery.journal import JournalLike
from client_hook.recovery.training import Training
from trainguard.wire import (
    Acknowledgement,
    AcknowledgementStatus,
    AttemptReport,
    Command,
    UnknownOrder,
    WireModel,
)

_logger = logging.getLogger("trainguard")

ANSWERS_KEPT = 1_000
"""Commands whose answers this process remembers; the service repeats only those it has no answer to."""


@dataclass(frozen=True)
class Handled:
    """What became of a command."""

    command: Command
    acknowledgement: Acknowledgement
    is_repeated: bool = False
    """Handled before: acknowledged again, not applied again."""
    must_halt: bool = False
    attempt: AttemptReport | None = None
    """The attempt that began with it."""


@dataclass(frozen=True)
class Prepared:
    """A command that nothing speaks against: its actions, checked, with their orders."""

    command: Command
    actions: list[tuple[Action[WireModel], WireModel]]


class StepBoundary:
    """Applies commands, at most one per step, on the training thread."""

    def __init__(self, training: Training, journal: JournalLike, clock: Callable[[], float]) -> None:
        self._training = training
        self._journal = journal
        self._clock = clock
        self._answers: dict[UUID, Acknowledgement] = {}
        self.server_ahead_seconds = 0.0
        """How far the issuer's clock is ahead of ours; expiry is by the issuer's."""

    def handle(self, command: Command) -> Handled | None:
        """Apply ``command`` or refuse it with a sentence; ``None`` where other ranks have to be met first."""
        prepared = self._prepare(command)
        if isinstance(prepared, Handled):
            return prepared
        refused = self._begin(command)
        return refused if refused is not None else self._carry_out(prepared)

    def _prepare(self, command: Command) -> Prepared | Handled:
        known = self._answers.get(command.command_id) or self._journal.handled(command.command_id)
        if known is not None:
            return Handled(command, known, is_repeated=True)
        refusal = self._fence(command)
        return self._refused(command, refusal) if refusal else self._check(command)

    def _check(self, command: Command) -> Prepared | Handled:
        prepared: list[tuple[Action[WireModel], WireModel]] = []
        for order in command.orders:
            if isinstance(order, UnknownOrder):
                return self._refused(command, f"this trainer does not know the action {order.action!r}; update it")
            action = ACTIONS[order.action]()
            objection = action.check(order, self._training)
            if objection:
                return self._refused(command, f"{order.action}: {objection}")
            prepared.append((action, order))
        return Prepared(command, prepared)

    def _fence(self, command: Command) -> str:
        position = self._training.position
        if command.attempt != position.attempt:
            return f"it was decided for attempt {command.attempt}, and this is attempt {position.attempt}"
        if command.revision != position.revision:
            return (
                f"it was decided on revision {command.revision}, and this is revision {position.revision}: "
                "something else was applied in the meantime"
            )
        now = self._clock() + self.server_ahead_seconds
        if command.expires_at < now:
            return f"it expired {now - command.expires_at:.0f} s ago"
        return ""

    def refuse(self, command: Command, reason: str) -> Handled:
        """Answer that ``command`` is not applied, and why; the same command gets the same answer again."""
        known = self._answers.get(command.command_id) or self._journal.handled(command.command_id)
        if known is not None:
            return Handled(command, known, is_repeated=True)
        return self._refused(command, reason)

    def _refused(self, command: Command, reason: str) -> Handled:
        acknowledgement = self._acknowledge(command, "refused", f"Refused: {reason}.", self._training.position.step)
        self._write(acknowledgement, lambda: self._journal.remember_handled(acknowledgement))
        return Handled(command, acknowledgement)

    def _write(self, acknowledgement: Acknowledgement, write: Callable[[], None]) -> None:
        """What was done is done, also where the disk refuses to note it: this process remembers in any case."""
        self._answers[acknowledgement.command_id] = acknowledgement
        while len(self._answers) > ANSWERS_KEPT:
            del self._answers[next(iter(self._answers))]
        try:
            write()
        except OSError as error:
            _logger.warning("the journal could not note %s: %s", acknowledgement.action, error)

    def _begin(self, command: Command) -> Handled | None:
        try:
            self._journal.begin(command)
        except OSError as error:
            # Without the journal nobody could know after a crash that this was done: in doubt do nothing.
            return self._refused(command, f"the journal cannot be written ({error})")
        return None

    def _carry_out(self, prepared: Prepared) -> Handled:
        command = prepared.command
        position, rate = self._training.position, self._training.rate
        made, attempt_before = position.step, position.attempt
        sentences: list[str] = []
        changes: dict[str, JsonValue] = {}
        try:
            for action, order in prepared.actions:
                applied: Applied = action.apply(order, self._training)
                sentences.append(applied.sentence)
                changes.update(applied.changes)
        except Exception as error:
            _logger.exception("a command failed half-way")
            position.revision += 1
            words = f"Failed after {len(sentences)} of {len(prepared.actions)} actions: {type(error).__name__}: {error}"
            acknowledgement = self._acknowledge(command, "failed", words, made, changes)
            self._complete(acknowledgement)
            return Handled(command, acknowledgement, must_halt=True)
        position.revision += 1
        changes["learning_rates"] = [list(rates) for rates in self._scheduled_rates()]
        changes["lr_scale"] = rate.scale
        sentence = "; ".join(sentences)
        acknowledgement = self._acknowledge(command, "applied", f"{sentence[:1].upper()}{sentence[1:]}.", made, changes)
        self._complete(acknowledgement)
        began = None
        if position.attempt != attempt_before:
            began = AttemptReport(
                attempt=position.attempt,
                parent=attempt_before,
                start_step=position.next_step,
                reason="rollback",
                began_at=self._clock(),
                command_id=command.command_id,
                note=command.reason,
            )
        return Handled(command, acknowledgement, must_halt=command.action == "halt", attempt=began)

    def _complete(self, answer: Acknowledgement) -> None:
        training = self._training
        self._write(
            answer,
            lambda: self._journal.complete(
                answer,
                attempt=training.position.attempt,
                lr_scale=training.rate.scale,
                rewarm_steps=training.rate.rewarm_steps,
                clip_norm=training.clipping.max_norm,
            ),
        )

    def _acknowledge(
        self,
        command: Command,
        status: AcknowledgementStatus,
        reason: str,
        step: int,
        changes: dict[str, JsonValue] | None = None,
    ) -> Acknowledgement:
        position = self._training.position
        return Acknowledgement(
            command_id=command.command_id,
            status=status,
            action=command.action,
            attempt=position.attempt,
            revision=position.revision,
            step=max(step, 0),
            next_step=position.next_step,
            handled_at=self._clock(),
            reason=reason,
            changes=changes or {},
        )

    def _scheduled_rates(self) -> list[list[float]]:
        return [
            [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]
            for optimizer in self._training.state.optimizers
        ]

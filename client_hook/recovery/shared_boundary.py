"""The step boundary where several ranks train one model: what is applied, all of them apply, at the same step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from client_hook.ranks import Ranks
from client_hook.recovery.agreement import Agreement, NotAgreed, RanksParted
from client_hook.recovery.following_keeper import REPORTS, FollowingKeeper
from client_hook.recovery.journal import JournalLike
from client_hook.recovery.step_boundary import Handled, Prepared, StepBoundary
from client_hook.recovery.training import Training
from client_hook.recovery.verification import checksum
from trainguard.wire import Command, Halt, Rollback


@dataclass(frozen=True)
class PartLost:
    """Another rank could not keep its part of a checkpoint."""

    checkpoint_id: UUID
    reason: str


class SharedBoundary(StepBoundary):
    """Rank 0 hands its commands to `Agreement`; every rank carries out what was agreed on.

    Args:
        training, journal, clock: as for `StepBoundary`.
        ranks: this process and the others.
        in_lockstep: of a synchronous hook: wait at every boundary for rank 0's word.
        hurry: called from another thread when this rank is called, to wake a loop that is paused.
    """

    def __init__(
        self,
        training: Training,
        journal: JournalLike,
        clock: Callable[[], float],
        *,
        ranks: Ranks,
        in_lockstep: bool,
        hurry: Callable[[], None],
    ) -> None:
        super().__init__(training, journal, clock)
        self._ranks = ranks
        self._agreement = Agreement(ranks, hurry)
        self._in_lockstep = in_lockstep
        self._is_called = False

    # -- at the boundary ----------------------------------------------------------------------------------------

    def arrive(self) -> None:
        """A boundary begins."""
        self._is_called = self._agreement.arrive()

    def meet(self) -> Handled | None:
        """What all ranks agreed on here, if anything; rank 0's own proposals begin in `handle`."""
        if self._agreement.halt_reason:
            return self._halted_elsewhere()
        if self._in_lockstep and not self._ranks.is_leader and not self._is_called:
            self._agreement.wait_for_mark()
            self._is_called = self._agreement.look_again()
        if not self._is_called:
            return None
        self._is_called = False
        return self._meet()

    @property
    def is_busy(self) -> bool:
        """Whether a proposal is on its way to its place; the next command waits for its end."""
        return self._agreement.is_busy

    def leave(self) -> None:
        """Nothing more is called to this boundary."""
        if self._in_lockstep and self._ranks.is_leader:
            self._agreement.mark()

    def stay(self) -> None:
        """The loop waits here (a pause)."""
        self._agreement.stay()

    def look_again(self) -> None:
        """In a loop that waits here: has a call come?"""
        self._is_called = self._agreement.look_again() or self._is_called
        self._agreement.stay()

    def go_on(self) -> bool:
        """The wait is over; ``False`` where a call has come, to be met first."""
        self._is_called = not self._agreement.go_on()
        return not self._is_called

    def broadcast_halt(self, reason: str) -> None:
        """The others shall halt as well."""
        self._agreement.broadcast_halt(reason)

    # -- what is applied ----------------------------------------------------------------------------------------

    def handle(self, command: Command) -> Handled | None:
        """Call all ranks together for ``command``; ``None`` where they meet at a later boundary."""
        known = self._answers.get(command.command_id) or self._journal.handled(command.command_id)
        if known is not None:
            return Handled(command, known, is_repeated=True)
        refusal = self._fence(command)
        if refusal:
            return self._refused(command, refusal)
        keeper = self._training.keeper
        reports = keeper.ledger.records() if keeper is not None else ()
        payload = {
            "command": command.model_dump(mode="json"),
            "checkpoints": [report.model_dump(mode="json") for report in reports],
        }
        try:
            self._agreement.propose(payload)
        except NotAgreed as no:
            return self._not_agreed(command, str(no))
        if self._in_lockstep:
            self._agreement.mark()
        return self._meet()

    def _meet(self) -> Handled | None:
        payload = self._agreement.called.payload
        command = Command.model_validate(payload["command"])
        try:
            if self._agreement.come_to_place() is None:
                return None
        except NotAgreed as no:
            return self._not_agreed(command, str(no))
        prepared = self._ready(command, payload)
        objection = prepared.acknowledgement.reason if isinstance(prepared, Handled) else ""
        try:
            self._agreement.decide(objection.removeprefix("Refused: ").rstrip("."))
        except NotAgreed as no:
            if isinstance(prepared, Handled):
                return prepared
            return self._not_agreed(command, str(no))
        except RanksParted as parted:
            return self._parted(self._refused(command, str(parted)), str(parted))
        assert isinstance(prepared, Prepared)
        handled = self._carry_out(prepared)
        try:
            self._agreement.conclude(self._report(handled))
        except RanksParted as parted:
            return self._parted(handled, str(parted))
        return handled

    def _ready(self, command: Command, payload: Mapping[str, Any]) -> Prepared | Handled:
        """Checked and, on rank 0, written down: all that may still be refused comes before the vote."""
        if self._ranks.is_leader:
            prepared = self._prepare(command)
            refused = self._begin(command) if isinstance(prepared, Prepared) else None
            return prepared if refused is None else refused
        keeper = self._training.keeper
        if isinstance(keeper, FollowingKeeper):
            keeper.adopt(REPORTS.validate_python(payload["checkpoints"]))
        # Whether it has expired is for rank 0 to say, which knows the service's clock.
        return self._prepare(command.model_copy(update={"expires_at": float("inf")}))

    def _not_agreed(self, command: Command, reason: str) -> Handled:
        if command.action == "halt" and self._ranks.is_leader:
            # A halt is not refused because somebody is gone: it is what one would do then.
            return self._carry_out(Prepared(command, self._actions_of(command)))
        self._distrust(command, reason)
        return self._refused(command, f"the ranks did not agree: {reason}")

    def _actions_of(self, command: Command) -> list[Any]:
        checked = self._check(command)
        return checked.actions if isinstance(checked, Prepared) else []

    def _distrust(self, command: Command, reason: str) -> None:
        """Rank 0 could restore the checkpoint, and another rank cannot: it is none."""
        keeper = self._training.keeper
        if keeper is None or not self._ranks.is_leader or "cannot be restored" not in reason:
            return
        for order in command.orders:
            if isinstance(order, Rollback):
                keeper.distrust(order.checkpoint_id, reason)

    def _report(self, handled: Handled) -> dict[str, Any]:
        answer, training = handled.acknowledgement, self._training
        if answer.status != "applied":
            return {"failed": answer.reason}
        report: dict[str, Any] = {
            "attempt": training.position.attempt,
            "revision": training.position.revision,
            "next_step": training.position.next_step,
            "lr_scale": training.rate.scale,
            "learning_rates": answer.changes.get("learning_rates"),
        }
        if handled.attempt is not None and not self._ranks.is_sharded:
            report["the parameters' checksum"] = checksum(training.state.model)
        return report

    def _parted(self, handled: Handled, reason: str) -> Handled:
        answer = handled.acknowledgement
        words = f"The ranks have parted, so the training halts: {reason}. On this rank: {answer.reason}"[:4000]
        return replace(
            handled,
            acknowledgement=answer.model_copy(update={"status": "failed", "reason": words}),
            must_halt=True,
        )

    def _halted_elsewhere(self) -> Handled:
        position, reason = self._training.position, self._agreement.halt_reason
        command = Command(
            command_id=uuid4(),
            attempt=position.attempt,
            revision=position.revision,
            issued_at=self._clock(),
            expires_at=self._clock(),
            orders=(Halt(),),
            reason=reason[:4000],
        )
        answer = self._acknowledge(command, "applied", "Halted with the other ranks.", position.step)
        return Handled(command, answer, must_halt=True)

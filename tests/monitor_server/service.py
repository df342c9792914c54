"""The service without its doors, and a trainer that only speaks: what storage and pipeline tests play with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID, uuid4

from monitor_server.live import LiveMemory
from monitor_server.pipeline import Case, Ingest, register_run
from monitor_server.settings import Settings
from monitor_server.storage import Database, RunRow, runs
from trainguard.wire import (
    Acknowledgement,
    AttemptReport,
    CheckpointReport,
    CheckpointState,
    Command,
    Envelope,
    ObservationBlock,
    Receipt,
    Rollback,
    RunDescription,
)

AS_JSON = {"content-type": "application/json"}

HEALTHY = tuple(2.3 + 0.01 * (step % 7) for step in range(300))
"""Losses of a run at rest."""
DIVERGING = tuple(9.0 + 0.1 * step for step in range(40))


class Clock:
    """Time that only a test moves, in seconds since 1970."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Service:
    """Database, memory and ingest as `create_app` puts them together."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.database = Database(settings.database)
        self.memory = LiveMemory(settings.live_runs)
        self.ingest = Ingest(self.database, self.memory, settings, clock=clock)
        self.ingest.start()

    def stop(self) -> None:
        self.ingest.stop()
        self.database.close()

    def register(self, trainer: Trainer) -> bool:
        with self.database.write() as connection:
            return register_run(connection, trainer.description(), self.clock())[1]

    def send(self, envelope: Envelope) -> Case:
        return self.ingest.submit(envelope).result(timeout=30)

    def receipt(self, envelope: Envelope) -> Receipt:
        receipt = self.send(envelope).receipt
        assert receipt is not None
        return receipt

    def run(self, run_id: UUID) -> RunRow:
        with self.database.read() as connection:
            row = runs.load(connection, run_id)
        assert row is not None
        return row


class Trainer:
    """Numbers its envelopes, counts its steps, and goes back when told."""

    def __init__(self, **description: Any) -> None:
        self.run_id = uuid4()
        self.sender = uuid4()
        self.sequence = 0
        self.attempt = 0
        self.revision = 0
        self.step = 0
        self._description = {"run": "char-gpt", "project": "demo", "mode": "act", "started_at": 0.0, **description}

    def description(self) -> RunDescription:
        return RunDescription(run_id=self.run_id, **self._description)

    def envelope(self, **content: Any) -> Envelope:
        self.sequence += 1
        fields = {
            "run_id": self.run_id,
            "sender": self.sender,
            "sequence": self.sequence,
            "sent_at": float(self.step),
            "attempt": self.attempt,
            "revision": self.revision,
        }
        return Envelope(**{**fields, **content})

    def steps(self, losses: Sequence[float], **content: Any) -> Envelope:
        """The next steps, with these losses."""
        block = block_of(self.attempt, self.step, losses)
        self.step += len(losses)
        return self.envelope(blocks=[block], **content)

    def checkpoint(self, step: int, state: CheckpointState = "confirmed") -> CheckpointReport:
        return CheckpointReport(
            checkpoint_id=uuid4(), attempt=self.attempt, step=step, state=state, saved_at=float(step)
        )

    def refuse(self, command: Command, reason: str = "Not now.") -> Acknowledgement:
        return self._answer(command, "refused", self.step, reason)

    def obey(self, command: Command, checkpoints: Iterable[CheckpointReport]) -> Envelope:
        """Apply a command; an envelope with the acknowledgement and the new attempt."""
        self.revision += 1
        attempts = []
        made = self.step
        first = command.orders[0]
        if isinstance(first, Rollback):
            target = next(one for one in checkpoints if one.checkpoint_id == first.checkpoint_id)
            self.attempt += 1
            self.step = target.step
            attempts.append(
                AttemptReport(
                    attempt=self.attempt,
                    parent=self.attempt - 1,
                    start_step=self.step,
                    reason="rollback",
                    began_at=float(made),
                    command_id=command.command_id,
                )
            )
        answer = self._answer(command, "applied", made, "Done.", lr_scale=0.5)
        return self.envelope(acknowledgements=[answer], attempts=attempts)

    def _answer(self, command: Command, status: str, made: int, reason: str, **changes: Any) -> Acknowledgement:
        return Acknowledgement.model_validate(
            {
                "command_id": command.command_id,
                "status": status,
                "action": command.action,
                "attempt": self.attempt,
                "revision": self.revision,
                "step": made - 1,
                "next_step": self.step,
                "handled_at": 1.0,
                "reason": reason,
                "changes": changes,
            }
        )


def block_of(attempt: int, first_step: int, losses: Sequence[float], **signals: Sequence[float | None]) -> Any:
    steps = list(range(first_step, first_step + len(losses)))
    return ObservationBlock(
        attempt=attempt,
        steps=steps,
        observed_at=[float(step) for step in steps],
        signals={"loss": list(losses), **{name: list(column) for name, column in signals.items()}},
    )


def diverge(service: Service, trainer: Trainer, *, pieces: int = 20) -> tuple[Receipt, list[CheckpointReport]]:
    """Register, train in health, diverge; the last receipt, with the command if the mode allows one."""
    service.register(trainer)
    known = [trainer.checkpoint(0), trainer.checkpoint(200)]
    service.send(trainer.steps(HEALTHY, checkpoints=known))
    for start in range(0, len(DIVERGING), pieces):
        receipt = service.receipt(trainer.steps(DIVERGING[start : start + pieces]))
    return receipt, known

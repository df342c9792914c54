"""A worker on the test bench: with a standing, a record of what it said, and clocks of ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from client_hook.delivery import Item, Outbox, Transport, Worker
from client_hook.delivery.spool import Spool
from trainguard.wire import (
    Acknowledgement,
    Command,
    Envelope,
    Evaluation,
    Observation,
    Receipt,
    RunDescription,
    RunState,
    WireModel,
)

RUN = UUID(int=7)
SENDER = UUID(int=8)
DESCRIPTION = RunDescription(run_id=RUN, run="bench", started_at=0.0)


@dataclass
class Standing:
    attempt: int = 0
    revision: int = 0
    run_state: RunState = "running"


@dataclass
class Bench:
    """Everything around one worker, remembered."""

    worker: Worker
    outbox: Outbox
    standing: Standing
    complaints: list[str]
    receipts: list[Receipt]
    judged: list[Item] = field(default_factory=list)

    def observe(self, *steps: int, attempt: int = 0, **signals: float) -> None:
        for step in steps:
            self.outbox.put(observation(step, attempt, **signals))

    def said(self, words: str) -> int:
        return sum(words in complaint for complaint in self.complaints)


def bench(
    transport: Transport | None,
    *,
    on_items: Callable[[list[Item]], tuple[Sequence[WireModel], bool]] = lambda items: ([], False),
    monotonic: Callable[[], float] = time.monotonic,
    max_observations: int = 10_000,
    max_reports: int = 10_000,
    spool: Spool | None = None,
    sender: UUID = SENDER,
    description: RunDescription = DESCRIPTION,
) -> Bench:
    outbox, standing = Outbox(max_observations, max_reports), Standing()
    complaints: list[str] = []
    receipts: list[Receipt] = []

    def judge(items: list[Item]) -> tuple[Sequence[WireModel], bool]:
        made.judged.extend(items)
        return on_items(items)

    worker = Worker(
        outbox=outbox,
        transport=transport,
        description=description,
        sender=sender,
        spool=spool,
        standing=standing,
        on_items=judge,
        on_receipt=receipts.append,
        complain=lambda kind, message, *arguments: complaints.append(message % arguments),
        clock=lambda: 1000.0,
        monotonic=monotonic,
    )
    made = Bench(worker, outbox, standing, complaints, receipts)
    return made


class Leaps:
    """A clock on which every wait is over by the next look."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        self._now += 1000.0
        return self._now


def fast() -> float:
    """A clock fifty times as fast as the wall's: a retry after 0.5 s comes after 10 ms."""
    return time.monotonic() * 50


def observation(step: int, attempt: int = 0, **signals: float) -> Observation:
    return Observation(attempt, step, 1000.0 + step, signals or {"loss": 1.0 / (step + 1)})


def acknowledgement(number: int) -> Acknowledgement:
    return Acknowledgement(
        command_id=UUID(int=number),
        status="applied",
        action="halt",
        attempt=0,
        revision=1,
        step=3,
        next_step=4,
        handled_at=1000.0,
        reason="asked",
    )


def evaluation(step: int) -> Evaluation:
    return Evaluation(attempt=0, step=step, evaluated_at=1000.0, values={"val_loss": 1.0})


def receipt_for(envelope: Envelope, commands: Sequence[Command] = (), flush_seconds: float = 2.0) -> Receipt:
    return Receipt(
        run_id=envelope.run_id,
        sender=envelope.sender,
        sequence=envelope.sequence,
        status="recorded",
        server_time=1000.0,
        commands=list(commands),
        flush_seconds=flush_seconds,
    )


def steps_of(envelopes: Sequence[Envelope]) -> list[int]:
    return [row.step for envelope in envelopes for block in envelope.blocks for row in block.rows()]

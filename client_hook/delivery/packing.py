"""From items in order to one envelope within the limits of the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from pydantic import ValidationError

from client_hook.delivery.outbox import Item
from trainguard.wire import (
    Acknowledgement,
    AttemptReport,
    CheckpointReport,
    DecisionReport,
    Envelope,
    Evaluation,
    Finding,
    IncidentReport,
    Observation,
    ObservationBlock,
    RunState,
)
from trainguard.wire.observation import MAX_SIGNALS_PER_BLOCK, MAX_STEPS_PER_BLOCK

MAX_OBSERVATIONS = 10_000
"""Observations per envelope: some 2 MB of JSON, 0.5 MB compressed, which every service accepts."""

MAX_REPORTS = 500
"""Other messages per envelope; also keeps the number of blocks, which attempts and marks split, within 1,000."""

MAX_EMPTY_CELLS = 2_000
"""Unmeasured values per block: the 200 signals of every layer, looked at once in 50 steps, widen no long block."""

FIELDS: dict[type[object], str] = {
    AttemptReport: "attempts",
    Evaluation: "evaluations",
    Finding: "findings",
    CheckpointReport: "checkpoints",
    Acknowledgement: "acknowledgements",
    IncidentReport: "incidents",
    DecisionReport: "decisions",
}
"""The envelope's list for each kind of message; an item of another type is a mark and is not sent."""


@dataclass(frozen=True)
class Addressee:
    """What every envelope of one sender carries."""

    run_id: UUID
    sender: UUID


def is_message(item: Item) -> bool:
    """Whether an item travels."""
    return type(item) is Observation or type(item) in FIELDS


def blocks_of(observations: Iterable[Observation]) -> Iterator[list[Observation]]:
    """Stretches that fit into one block each: of one attempt, with rising steps, within the wire's limits.

    >>> rows = [Observation(attempt, step, 0.0, {"loss": 1.0}) for attempt, step in ((0, 1), (0, 2), (1, 1), (1, 1))]
    >>> [[(row.attempt, row.step) for row in block] for block in blocks_of(rows)]
    [[(0, 1), (0, 2)], [(1, 1)], [(1, 1)]]
    """
    block: list[Observation] = []
    names: set[str] = set()
    measured = 0
    for row in observations:
        widened = names.union(row.signals) if not row.signals.keys() <= names else names
        if block and (
            row.attempt != block[-1].attempt
            or row.step <= block[-1].step
            or len(block) >= MAX_STEPS_PER_BLOCK
            or len(widened) > MAX_SIGNALS_PER_BLOCK
            or (len(block) + 1) * len(widened) - measured - len(row.signals) > MAX_EMPTY_CELLS
        ):
            yield block
            block, widened, measured = [], set(row.signals), 0
        block.append(row)
        measured += len(row.signals)
        names = widened
    if block:
        yield block


def pack(
    items: Iterable[Item],
    to: Addressee,
    *,
    sequence: int,
    sent_at: float,
    attempt: int,
    revision: int,
    state: RunState,
    observations_lost: int,
    drop: Callable[[Observation, ValidationError], None],
) -> Envelope:
    """One envelope of everything in ``items`` that travels.

    Its attempt is ``attempt`` or that of the latest message in it: the training thread may be between reporting
    a new attempt and standing in it, and an envelope that reports a later attempt than its own is refused.

    An observation that the wire cannot carry (a name with a space, 300 signals) would make every retry of its
    envelope fail: it is left out and given to ``drop``.
    """
    messages: dict[str, list[object]] = {field: [] for field in FIELDS.values()}
    observations: list[Observation] = []
    for item in items:
        if type(item) is Observation:
            observations.append(item)
        elif type(item) in FIELDS:
            if type(item) is AttemptReport:
                attempt = max(attempt, item.attempt)
            messages[FIELDS[type(item)]].append(item)
    blocks: list[ObservationBlock] = []
    for rows in blocks_of(observations):
        try:
            blocks.append(ObservationBlock.from_rows(rows))
        except ValidationError:
            sound = [row for row in rows if _travels(row, drop)]
            if sound:
                blocks.append(ObservationBlock.from_rows(sound))
    return Envelope.model_validate(
        {
            "run_id": to.run_id,
            "sender": to.sender,
            "sequence": sequence,
            "sent_at": sent_at,
            "attempt": max([attempt, *(row.attempt for row in observations)]),
            "revision": revision,
            "state": state,
            "blocks": blocks,
            "observations_lost": observations_lost,
            **messages,
        }
    )


def _travels(row: Observation, drop: Callable[[Observation, ValidationError], None]) -> bool:
    try:
        ObservationBlock.from_rows([row])
    except ValidationError as error:
        drop(row, error)
        return False
    return True


def unpack(envelope: Envelope) -> list[Item]:
    """The messages of an envelope, to be packed anew: observations first, as they were."""
    rows: list[Item] = [row for block in envelope.blocks for row in block.rows()]
    return rows + [message for field in FIELDS.values() for message in getattr(envelope, field)]

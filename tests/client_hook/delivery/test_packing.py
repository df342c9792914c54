from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from client_hook.delivery.packing import Addressee, blocks_of, pack
from tests.client_hook.delivery.bench import RUN, SENDER, acknowledgement, evaluation, observation
from trainguard.wire import AttemptReport, Envelope, Observation
from trainguard.wire.observation import MAX_SIGNALS_PER_BLOCK


def packed(items: list[Any]) -> tuple[Envelope, list[Observation]]:
    dropped: list[Observation] = []

    def drop(row: Observation, error: ValidationError) -> None:
        dropped.append(row)

    envelope = pack(
        items,
        Addressee(RUN, SENDER),
        sequence=3,
        sent_at=1.0,
        attempt=2,
        revision=4,
        state="running",
        observations_lost=5,
        drop=drop,
    )
    return envelope, dropped


def test_every_message_finds_its_list_and_marks_stay_at_home() -> None:
    envelope, dropped = packed([observation(0), acknowledgement(1), "a mark", evaluation(1), observation(1)])
    assert [list(block.rows()) for block in envelope.blocks] == [[observation(0), observation(1)]]
    assert envelope.acknowledgements == [acknowledgement(1)]
    assert envelope.evaluations == [evaluation(1)]
    assert (envelope.sequence, envelope.attempt, envelope.revision, envelope.observations_lost) == (3, 2, 4, 5)
    assert dropped == []


def test_steps_that_go_back_begin_a_new_block() -> None:
    envelope, _ = packed([observation(8), observation(9), observation(4, attempt=1), observation(5, attempt=1)])
    assert [(block.attempt, block.steps) for block in envelope.blocks] == [(0, [8, 9]), (1, [4, 5])]


def test_nan_travels_as_a_number_and_not_as_missing() -> None:
    envelope, _ = packed([observation(0, loss=math.nan, grad_norm=math.inf)])
    (row,) = Envelope.model_validate_json(envelope.model_dump_json()).blocks[0].rows()
    assert math.isnan(row.signals["loss"])
    assert row.signals["grad_norm"] == math.inf


@pytest.mark.parametrize(
    "unsound",
    [
        Observation(0, 1, 0.0, {"a name with a space": 1.0}),
        Observation(0, 1, 0.0, {f"signal_{number}": 1.0 for number in range(MAX_SIGNALS_PER_BLOCK + 1)}),
        Observation(0, 1, math.nan, {"loss": 1.0}),
        Observation(-1, 1, 0.0, {"loss": 1.0}),
    ],
    ids=["name", "too many signals", "time", "attempt"],
)
def test_only_the_observation_that_cannot_travel_is_left_out(unsound: Observation) -> None:
    envelope, dropped = packed([observation(0), unsound, observation(2)])
    assert dropped == [unsound]
    assert [step for block in envelope.blocks for step in block.steps] == [0, 2]


def test_an_envelope_is_of_the_latest_attempt_that_it_reports() -> None:
    began = AttemptReport(attempt=3, parent=2, start_step=5, reason="rollback", began_at=0.0)
    assert packed([observation(9, attempt=2), began])[0].attempt == 3
    assert packed([observation(5, attempt=4)])[0].attempt == 4
    assert packed([observation(5, attempt=1)])[0].attempt == 2


def test_an_empty_envelope_is_an_envelope() -> None:
    envelope, _ = packed([])
    assert envelope.blocks == []


def test_a_row_with_every_layer_does_not_widen_a_long_block() -> None:
    layers = {f"grad_norm/h.{index}": 1.0 for index in range(190)}
    rows = [Observation(0, step, 0.0, {"loss": 1.0, **(layers if step % 50 == 49 else {})}) for step in range(10_000)]
    blocks = list(blocks_of(rows))
    assert [row for block in blocks for row in block] == rows
    assert len(blocks) < 500
    for block in blocks:
        names = {name for row in block for name in row.signals}
        assert len(block) * len(names) - sum(len(row.signals) for row in block) <= 2_000

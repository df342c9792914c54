"""What the wire promises beyond its golden files: NaN travels, columns agree, unknown actions are named."""

from __future__ import annotations

import json
import math
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainguard import wire

values = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


def same(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return first == second or (math.isnan(first) and math.isnan(second))


@given(st.lists(values, min_size=1, max_size=20))
def test_every_number_survives_the_journey(column: list[float | None]) -> None:
    steps = list(range(len(column)))
    block = wire.ObservationBlock(attempt=0, steps=steps, observed_at=[0.0] * len(steps), signals={"loss": column})
    text = block.model_dump_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    back = wire.ObservationBlock.model_validate_json(text).signals["loss"]
    assert all(same(one, other) for one, other in zip(column, back))


@pytest.mark.parametrize("spelling", ["NaN", '"NaN"', '"nan"', '"NAN"'])
def test_every_spelling_of_nan_is_read(spelling: str) -> None:
    text = f'{{"attempt":0,"steps":[1],"observed_at":[1],"signals":{{"loss":[{spelling}]}}}}'
    value = wire.ObservationBlock.model_validate_json(text).signals["loss"][0]
    assert value is not None
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [("Infinity", math.inf), ('"Infinity"', math.inf), ('"inf"', math.inf), ("-Infinity", -math.inf),
     ('"-inf"', -math.inf), ('"-Infinity"', -math.inf), ("1e999", math.inf), ("null", None)],
)  # fmt: skip
def test_every_spelling_of_infinity_is_read(spelling: str, expected: float | None) -> None:
    text = f'{{"attempt":0,"steps":[1],"observed_at":[1],"signals":{{"loss":[{spelling}]}}}}'
    assert wire.ObservationBlock.model_validate_json(text).signals["loss"][0] == expected


def test_rows_and_columns_say_the_same() -> None:
    rows = [
        wire.Observation(2, 5, 1.0, {"loss": 1.0}),
        wire.Observation(2, 6, 2.0, {"loss": 2.0, "grad_norm": 3.0}),
        wire.Observation(2, 9, 3.0, {}),
    ]
    assert list(wire.ObservationBlock.from_rows(rows).rows()) == rows


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"signals": {"loss": [1.0]}}, "signals.loss has 1 values for 2 steps"),
        ({"observed_at": [1.0]}, "observed_at has 1 values for 2 steps"),
        ({"steps": [2, 2]}, "steps must rise strictly"),
        ({"steps": [-1, 2]}, "steps.0"),
        ({"steps": [1, 2**60]}, "steps.1"),
        ({"signals": {"": [1.0, 2.0]}}, "signals"),
        ({"signals": {"loss": ["high", 2.0]}}, "signals.loss.0"),
    ],
)
def test_a_bad_block_is_refused_by_name(change: dict[str, object], word: str) -> None:
    good = {"attempt": 0, "steps": [1, 2], "observed_at": [1.0, 2.0], "signals": {"loss": [1.0, 2.0]}}
    with pytest.raises(ValidationError, match=word.replace(".", r"\.")):
        wire.ObservationBlock.model_validate({**good, **change})


def test_an_unknown_action_is_kept_by_name_and_harms_no_neighbour() -> None:
    command = wire.Command.model_validate_json(
        json.dumps(
            {
                "command_id": str(uuid4()),
                "attempt": 0,
                "revision": 0,
                "issued_at": 1,
                "expires_at": 2,
                "orders": [
                    {"action": "teleport", "to": "mars"},
                    {"action": "lower_learning_rate", "factor": 0.5},
                ],
            }
        )
    )
    assert command.orders[0] == wire.UnknownOrder(action="teleport")
    assert command.orders[1] == wire.LowerLearningRate(factor=0.5)
    assert command.action == "teleport"


def test_a_known_action_with_wrong_parameters_is_refused() -> None:
    with pytest.raises(ValidationError, match="factor"):
        wire.Command.model_validate(
            {
                "command_id": uuid4(),
                "attempt": 0,
                "revision": 0,
                "issued_at": 1,
                "expires_at": 2,
                "orders": [{"action": "lower_learning_rate", "factor": 7}],
            }
        )


def test_a_run_named_script_is_only_a_name() -> None:
    run = wire.RunDescription(run_id=uuid4(), run="<script>alert(1)</script>", started_at=0)
    assert run.run == "<script>alert(1)</script>"


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "x" * 201, "\x00"])
def test_a_name_must_be_printable_and_bounded(name: str) -> None:
    with pytest.raises(ValidationError, match="run"):
        wire.RunDescription(run_id=uuid4(), run=name, started_at=0)

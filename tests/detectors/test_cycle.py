"""What the loss was at a rate before: visits, rewinds, and states."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainguard.detectors.cycle import AWAY, MOST, VISITS, LossByRate

blocks = st.lists(
    st.tuples(st.floats(1e-7, 10.0), st.floats(-1e6, 1e6)),
    max_size=60,
)


def of(blocks: list[tuple[float, float]]) -> LossByRate:
    levels = LossByRate()
    for index, (rate, loss) in enumerate(blocks):
        levels.add(8 * index + 7, rate, loss)
    return levels


def test_a_rate_that_never_changes_has_no_visit_before() -> None:
    levels = of([(0.1, 5.0 - 0.1 * index) for index in range(40)])
    assert levels.before(0.1, 200) is None
    assert not levels.was_lower_at(200, 0.1)


def test_the_way_down_and_the_way_up_are_visits_of_their_own() -> None:
    up_and_down = [0.01, 0.02, 0.04, 0.08, 0.04, 0.02, 0.01, 0.005, 0.005, 0.01, 0.02, 0.04]
    levels = of([(rate, 1.0 + rate) for rate in up_and_down for _ in range(AWAY + 1)])
    bottom = 8 * (9 * (AWAY + 1)) - 1
    assert levels.before(0.04, bottom) == 1.04
    assert levels.before(0.08, bottom) == 1.08
    assert levels.was_lower_at(bottom, 0.04)
    assert not levels.was_lower_at(bottom, 0.004)


def test_what_is_abandoned_is_no_visit() -> None:
    levels = of([(0.1, 2.0)] * 5 + [(0.01, 1.0)] * 5 + [(0.1, 9.0)] * 5)
    levels.rewind(8 * 12)
    assert levels.before(0.1, 8 * 100) == 2.0
    levels.add(8 * 12, 0.1, 3.0)
    assert levels.before(0.1, 8 * 12) == 2.0, "what comes after a rewind is a visit of its own"


def test_no_rate_is_no_place() -> None:
    levels = of([(0.0, 1.0), (-1.0, 2.0), (0.1, 3.0)])
    assert levels.before(0.0, 100) is None
    assert not levels.was_lower_at(23, 0.0)


@given(blocks)
def test_a_state_goes_through_json_and_memory_is_bounded(blocks: list[tuple[float, float]]) -> None:
    levels = of(blocks)
    state = json.loads(json.dumps(levels.state_dict()))
    again = LossByRate()
    again.load_state_dict(state)
    assert again.state_dict() == levels.state_dict()
    assert len(state["rates"]) <= MOST
    assert all(len(rate) <= 2 + 3 * VISITS for rate in state["rates"])


def test_a_damaged_state_names_the_field() -> None:
    with pytest.raises(ValueError, match="rates"):
        LossByRate().load_state_dict({"blocks": 1, "rates": [[0, 1, 2.0]]})
    with pytest.raises(ValueError, match="blocks"):
        LossByRate().load_state_dict({"rates": []})

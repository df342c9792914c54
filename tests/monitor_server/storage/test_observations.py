"""Observations in ranges and in buckets, where no spike and no NaN may be lost."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor_server.storage import Database, attempts, observations, runs
from monitor_server.storage import buckets as charts
from monitor_server.storage.buckets import Bucket
from monitor_server.storage.tables import SIGNAL_BITS
from tests.monitor_server.service import Trainer
from trainguard.wire import STANDARD_SIGNALS, AttemptReport, Observation

numbers = st.one_of(st.none(), st.floats())


def add(database: Database, rows: list[Observation]) -> Trainer:
    trainer = Trainer()
    with database.write() as connection:
        runs.register(connection, trainer.description(), 1.0)
        for attempt in {row.attempt for row in rows}:
            report = AttemptReport(attempt=attempt, start_step=0, reason="start", began_at=1.0)
            attempts.assume(connection, trainer.run_id, report)
        observations.add(connection, trainer.run_id, [(row, True) for row in rows])
    return trainer


def row(step: int, attempt: int = 0, **signals: float | None) -> Observation:
    return Observation(
        attempt, step, float(step), {name: value for name, value in signals.items() if value is not None}
    )


def shown(one: Observation) -> dict[str, str]:
    """NaN equals nothing, so numbers are compared as text; SQLite has no -0.0, which + 0.0 makes 0.0."""
    return {name: repr(value + 0.0) for name, value in one.signals.items()}


def buckets(database: Database, trainer: Trainer, **wanted: object) -> list[Bucket]:
    with database.read() as connection:
        found = charts.read(connection, trainer.run_id, **{"signals": ["loss"], **wanted})  # type: ignore[arg-type]
    return [bucket for columns in found for bucket in columns.buckets()]


def test_every_standard_signal_has_a_column_and_keeps_its_bit() -> None:
    assert tuple(SIGNAL_BITS) == STANDARD_SIGNALS
    assert list(SIGNAL_BITS.values()) == list(range(13)), "a bit is part of the stored data; add, never renumber"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=6))
def test_every_number_comes_back(
    database: Database, values: list[tuple[float | None, float | None, float | None]]
) -> None:
    sent = [row(step, loss=one, grad_norm=two, **{"my/extra": three}) for step, (one, two, three) in enumerate(values)]
    trainer = add(database, sent)
    with database.read() as connection:
        back = observations.read(connection, trainer.run_id)
    assert [shown(one) for one in back] == [shown(one) for one in sent]


def test_a_row_that_is_there_stays_as_it_is(database: Database) -> None:
    trainer = add(database, [row(0, loss=1.0)])
    with database.write() as connection:
        again = [(row(0, loss=9.0), True), (row(1, loss=2.0), True)]
        assert observations.add(connection, trainer.run_id, again) == 1
    with database.read() as connection:
        assert [one.get("loss") for one in observations.read(connection, trainer.run_id)] == [1.0, 2.0]


def test_ranges_and_pages(database: Database) -> None:
    trainer = add(database, [row(step, attempt) for attempt in (0, 1) for step in range(10)])

    def steps(**wanted: object) -> list[tuple[int, int]]:
        with database.read() as connection:
            found = observations.read(connection, trainer.run_id, **wanted)  # type: ignore[arg-type]
        return [(one.attempt, one.step) for one in found]

    assert steps(attempt=1, from_step=3, to_step=5) == [(1, 3), (1, 4), (1, 5)]
    assert steps(after=(0, 8), limit=3) == [(0, 9), (1, 0), (1, 1)]
    assert len(steps()) == 20


def test_a_bucket_keeps_the_spike_and_counts_the_nan(database: Database) -> None:
    losses = [1.0] * 100
    losses[37], losses[55], losses[81] = 50.0, math.nan, math.inf
    trainer = add(database, [row(step, loss=loss) for step, loss in enumerate(losses)])
    told = buckets(database, trainer, points=10)
    assert [(one.first_step, one.last_step, one.count) for one in told[:2]] == [(0, 9, 10), (10, 19, 10)]
    assert told[3].maximum == {"loss": 50.0}
    assert told[3].minimum == {"loss": 1.0}
    assert told[3].mean == {"loss": pytest.approx(5.9)}
    assert (told[5].nan_count, told[5].maximum) == ({"loss": 1}, {"loss": 1.0})
    assert told[8].maximum == {"loss": math.inf}
    assert all(one.nan_count == {} for index, one in enumerate(told) if index != 5)


def test_infinities_of_both_signs_make_no_error(database: Database) -> None:
    trainer = add(database, [row(0, loss=math.inf), row(1, loss=-math.inf)])
    [told] = buckets(database, trainer, points=1)
    assert (told.minimum, told.maximum) == ({"loss": -math.inf}, {"loss": math.inf})
    assert math.isnan(told.mean["loss"])


def test_attempts_are_never_mixed_in_a_bucket(database: Database) -> None:
    trainer = add(database, [row(step, attempt, loss=float(attempt)) for attempt in (0, 1) for step in range(10)])
    told = buckets(database, trainer, points=2)
    assert [(one.attempt, one.minimum["loss"], one.count) for one in told] == [
        (0, 0, 5),
        (0, 0, 5),
        (1, 1, 5),
        (1, 1, 5),
    ]
    assert len(buckets(database, trainer, points=1000, attempt=1, from_step=8)) == 2
    assert buckets(database, trainer, points=10, from_step=100) == []


def test_a_signal_that_was_not_measured_is_absent(database: Database) -> None:
    trainer = add(database, [row(0, loss=1.0)])
    [told] = buckets(database, trainer, points=1, signals=["loss", "grad_norm"])
    assert "grad_norm" not in told.minimum


def test_names_of_other_signals_are_known(database: Database) -> None:
    trainer = add(database, [row(0, **{"my/one": 1.0}), row(1, other=math.nan)])
    with database.read() as connection:
        assert observations.extra_names(connection, trainer.run_id) == ["my/one", "other"]

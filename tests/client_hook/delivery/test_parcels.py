from __future__ import annotations

from collections.abc import Callable

import pytest

from client_hook.delivery.outbox import Item
from client_hook.delivery.packing import MAX_OBSERVATIONS, Addressee
from client_hook.delivery.parcels import Parcels
from tests.client_hook.delivery.bench import RUN, SENDER, acknowledgement, evaluation, observation
from trainguard.wire import Envelope, Observation


def parcels(max_observations: int = 100_000) -> Parcels:
    return Parcels(
        Addressee(RUN, SENDER),
        max_observations=max_observations,
        max_reports=10_000,
        drop=lambda row, error: None,
    )


def next_of(waiting: Parcels) -> Envelope:
    return waiting.envelope(sent_at=1.0, attempt=0, revision=0, state="running", observations_lost=0)


def messages_of(envelope: Envelope) -> list[Item]:
    rows: list[Item] = [row for block in envelope.blocks for row in block.rows()]
    return rows + list(envelope.acknowledgements) + list(envelope.evaluations)


def deliver(waiting: Parcels, is_bad: Callable[[Item], bool]) -> tuple[list[Item], list[Item], int]:
    """A service that refuses every envelope with something bad in it: delivered, dropped, requests."""
    delivered: list[Item] = []
    dropped: list[Item] = []
    requests = 0
    while not waiting.is_empty:
        messages = messages_of(next_of(waiting))
        requests += 1
        if any(map(is_bad, messages)):
            dropped += waiting.refused(too_large=False)
        else:
            delivered += messages
            waiting.receipted()
    return delivered, dropped, requests


def test_the_same_object_is_sent_until_it_is_receipted() -> None:
    waiting = parcels()
    waiting.add([observation(0)])
    first = next_of(waiting)
    waiting.add([observation(1)])
    assert next_of(waiting) is first
    waiting.receipted()
    assert [block.steps for block in next_of(waiting).blocks] == [[1]]


def test_numbers_rise_by_one_from_one() -> None:
    waiting = parcels()
    numbers = []
    for step in range(3):
        waiting.add([observation(step)])
        numbers.append(next_of(waiting).sequence)
        waiting.receipted()
    assert numbers == [1, 2, 3]


@pytest.mark.parametrize("place", [0, 1, 499, 998, 999])
def test_of_a_refused_envelope_only_the_offender_is_dropped(place: int) -> None:
    waiting = parcels()
    items: list[Item] = [acknowledgement(i + 1) if i % 100 == 50 else observation(i) for i in range(1000)]
    waiting.add(items)
    delivered, dropped, requests = deliver(waiting, lambda item: item is items[place] or item == items[place])
    assert dropped == [items[place]]
    assert len(delivered) == 999
    assert requests < 50
    assert (waiting.observations_lost, waiting.reports_lost) == (1, 0)


def test_delivered_rows_keep_their_order_through_all_splitting() -> None:
    waiting = parcels()
    waiting.add([observation(step) for step in range(300)])
    delivered, _, _ = deliver(waiting, lambda item: isinstance(item, Observation) and item.step in (17, 200))
    assert [item.step for item in delivered if isinstance(item, Observation)] == [
        step for step in range(300) if step not in (17, 200)
    ]


def test_a_service_that_refuses_everything_is_not_asked_for_ever_and_every_report_is_judged_alone() -> None:
    waiting = parcels()
    waiting.add([observation(step) for step in range(MAX_OBSERVATIONS)])
    waiting.add([acknowledgement(number) for number in range(1, 51)])
    seen_alone: list[Item] = []

    requests = 0
    while not waiting.is_empty:
        messages = messages_of(next_of(waiting))
        if len(messages) == 1:
            seen_alone += messages
        requests += 1
        waiting.refused(too_large=False)
    assert requests < 1000
    assert waiting.observations_lost == MAX_OBSERVATIONS
    assert waiting.reports_lost == 50
    assert [one for one in seen_alone if not isinstance(one, Observation)] == [acknowledgement(n) for n in range(1, 51)]


def test_a_refused_number_is_used_again_unless_it_may_stand_in_the_books() -> None:
    waiting = parcels()
    waiting.add([observation(0), observation(1)])
    assert next_of(waiting).sequence == 1
    waiting.refused(too_large=False)
    assert next_of(waiting).sequence == 1
    waiting.in_doubt()
    waiting.refused(too_large=False)
    assert next_of(waiting).sequence == 2


def test_after_a_body_too_large_the_next_ones_begin_smaller() -> None:
    waiting = parcels()
    waiting.add([observation(step) for step in range(2_000)])
    next_of(waiting)
    waiting.refused(too_large=True)
    waiting.add([observation(step) for step in range(2_000, 6_000)])
    sizes = []
    while not waiting.is_empty:
        sizes.append(len(messages_of(next_of(waiting))))
        waiting.receipted()
    assert sizes == [1000, 1000, 1000, 1000, 1000, 1000]


def test_a_new_head_changes_no_message() -> None:
    waiting = parcels()
    waiting.add([observation(0), evaluation(1)])
    before = messages_of(next_of(waiting))
    waiting.repack()
    again = waiting.envelope(sent_at=2.0, attempt=1, revision=1, state="running", observations_lost=0)
    assert messages_of(again) == before
    assert (again.sequence, again.attempt) == (1, 1)


def test_what_waits_is_bounded_and_the_loss_is_counted() -> None:
    waiting = parcels(max_observations=100)
    waiting.add([observation(step) for step in range(50)])
    next_of(waiting)  # under way, and the service does not answer
    for start in range(0, 10_000, 100):
        waiting.add([observation(step) for step in range(start, start + 100)])
    assert waiting.count == 150
    assert waiting.observations_lost == 9_900

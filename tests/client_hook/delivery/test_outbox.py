from __future__ import annotations

import math
import statistics
import threading
import time
from typing import Any

import pytest

from client_hook.delivery import Outbox
from tests.client_hook.delivery.bench import acknowledgement, bench, evaluation, observation
from trainguard.wire import Observation


def test_items_come_out_in_the_order_they_went_in() -> None:
    outbox = Outbox()
    items = [observation(0), acknowledgement(1), "a mark", observation(1), evaluation(1), observation(2)]
    outbox.extend(items)
    assert outbox.take() == items
    assert outbox.take() == []


def test_a_limited_take_never_passes_over_what_stands_before() -> None:
    outbox = Outbox()
    outbox.extend([observation(0), observation(1), acknowledgement(1), observation(2)])
    assert outbox.take(max_observations=1, max_reports=5) == [observation(0)]
    assert outbox.take(max_observations=1, max_reports=5) == [observation(1), acknowledgement(1)]
    assert outbox.take(max_observations=1, max_reports=5) == [observation(2)]


def test_a_flood_of_observations_pushes_out_no_acknowledgement() -> None:
    outbox = Outbox(max_observations=10, max_reports=10)
    outbox.put(acknowledgement(1))
    outbox.extend(observation(step) for step in range(1000))
    taken = outbox.take()
    assert taken[0] == acknowledgement(1)
    assert [item.step for item in taken[1:] if isinstance(item, Observation)] == list(range(990, 1000))
    assert (outbox.observations_lost, outbox.reports_lost) == (990, 0)


@pytest.mark.parametrize("bounds", [(0, 1), (1, 0), (-1, 1)])
def test_a_bound_below_one_is_refused_by_name(bounds: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="max_observations" if bounds[0] < 1 else "max_reports"):
        Outbox(*bounds)


def test_nothing_is_lost_or_doubled_between_two_threads() -> None:
    outbox = Outbox(max_observations=100_000)
    done = threading.Event()

    def train() -> None:
        for step in range(20_000):
            outbox.put(observation(step))
        done.set()

    thread = threading.Thread(target=train)
    thread.start()
    steps: list[int] = []
    while not done.is_set() or len(outbox):
        taken = outbox.take(max_observations=100, max_reports=1)
        steps += [item.step for item in taken if isinstance(item, Observation)]
    thread.join()
    assert steps == list(range(20_000))


def test_what_is_folded_comes_out_as_it_went_in() -> None:
    outbox = Outbox(loose_numbers=2)
    odd: list[Any] = [
        observation(0, loss=1.0, grad_norm=math.inf),
        observation(1, attempt=3, loss=-0.0, other=5e-324),
        acknowledgement(1),
        Observation(0, 2, 7.5, {}),
        Observation(0, 3, 7.5, {"loss": "no number"}),  # type: ignore[dict-item]
        observation(4, **{f"grad_norm/layer.{index}": index / 3 for index in range(200)}),
    ]
    outbox.extend(odd)
    assert outbox.take() == odd
    outbox.put(observation(5, loss=math.nan))
    outbox.extend(odd)
    portions = list(outbox.portions(4))
    assert [len(portion) for portion in portions] == [4, 3]
    assert math.isnan(portions[0][0].signals["loss"])
    assert [item for portion in portions for item in portion][1:] == odd
    outbox.put(observation(9))
    outbox.put_back(odd)
    assert outbox.take() == [*odd, observation(9)]
    assert outbox.observations_lost == 0


def test_wide_observations_are_bounded_by_their_numbers() -> None:
    outbox = Outbox(max_numbers=1_000)
    wide: dict[str, Any] = {f"grad_norm/layer.{index}": 1.0 for index in range(200)}
    outbox.extend(observation(step, **wide) for step in range(20))
    outbox.put(observation(20, **{f"{index}": 1.0 for index in range(2_000)}))
    assert [item.step for item in outbox.take() if isinstance(item, Observation)] == [20]
    outbox.extend(observation(step, **wide) for step in range(20))
    assert [item.step for item in outbox.take(3, 0) if isinstance(item, Observation)] == [15, 16, 17]
    outbox.extend(observation(step, **wide) for step in range(20, 23))
    assert [item.step for item in outbox.take() if isinstance(item, Observation)] == [18, 19, 20, 21, 22]
    assert outbox.observations_lost == 20 + 15


def test_packed_reports_are_bounded_by_their_bytes_and_what_was_applied_stays_longest() -> None:
    outbox = Outbox(max_report_bytes=20_000)
    outbox.extend([acknowledgement(1), "a mark"])
    outbox.extend(evaluation(step) for step in range(500))
    taken = outbox.take()
    assert taken[:2] == [acknowledgement(1), "a mark"]
    assert 50 < len(taken) < 120
    assert taken[2:] == [evaluation(step) for step in range(502 - len(taken), 500)]
    assert outbox.reports_lost == 502 - len(taken)
    outbox.extend(acknowledgement(number) for number in range(1, 201))
    assert outbox.take(0, 1_000)[-1] == acknowledgement(200)
    outbox.put_back(taken)
    assert outbox.take() == taken


def test_where_only_findings_and_acknowledgements_wait_the_acknowledgements_stay() -> None:
    outbox = Outbox(max_reports=3)
    outbox.extend([acknowledgement(1), "a finding", "another", acknowledgement(2), acknowledgement(3)])
    assert outbox.take() == [acknowledgement(1), acknowledgement(2), acknowledgement(3)]
    assert outbox.reports_lost == 2


def test_putting_costs_the_training_thread_less_than_twenty_microseconds() -> None:
    on_bench = bench(None)
    on_bench.worker.start()
    items = [observation(step) for step in range(5_000)]
    costs = []
    for item in items:
        began = time.perf_counter()
        on_bench.outbox.put(item)
        costs.append(time.perf_counter() - began)
    on_bench.worker.close(5)
    assert statistics.median(costs) < 20e-6
    assert len(on_bench.judged) == 5_000

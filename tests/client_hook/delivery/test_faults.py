"""Worker, transport and a real socket together, under everything that a network and a service can do."""

from __future__ import annotations

import random
import statistics
import time

import pytest

from client_hook.delivery import HttpTransport
from tests.client_hook.delivery.bench import RUN, Leaps, acknowledgement, bench, fast, observation
from tests.client_hook.delivery.loopback import (
    Exchange,
    Fault,
    drip,
    hang,
    record_then_drop,
    reset,
    says,
    serving,
    status,
)

PASSING_FAULTS: tuple[Fault | None, ...] = (
    None,
    None,
    None,
    record_then_drop,
    record_then_drop,
    reset,
    status(500),
    status(502),
    status(429, retry_after="1"),
    status(503),
    status(401),
    says(b"<html>a proxy's page</html>"),
    says(b"{}"),
    says(b'{"run_id": "cut off he'),
)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_goes_wrong_everything_is_recorded_exactly_once_and_in_order(seed: int) -> None:
    chance = random.Random(seed)
    with serving(lambda exchange: chance.choice(PASSING_FAULTS)) as service:
        on_bench = bench(HttpTransport(service.url), monotonic=Leaps())
        step = 0
        for round_ in range(60):
            for _ in range(chance.randrange(5)):
                on_bench.observe(step)
                step += 1
            if chance.random() < 0.2:
                on_bench.outbox.put(acknowledgement(round_ + 1))
            if chance.random() < 0.05:
                service.close()
                service.open()
            on_bench.worker.exchange()
        service.fault = lambda exchange: None
        on_bench.standing.run_state = "finished"
        on_bench.worker.close(10)
        assert service.steps == list(range(step))
        assert service.duplicates > 0
        told = [one for envelope in service.envelopes for one in envelope.acknowledgements]
        assert told == [item for item in on_bench.judged if type(item) is type(acknowledgement(1))]
        assert [e.sequence for e in service.envelopes] == list(range(1, len(service.envelopes) + 1))
        assert service.envelopes[-1].state == "finished"


def test_the_same_holds_with_refusals_in_between() -> None:
    chance = random.Random(11)

    def fault(exchange: Exchange) -> Fault | None:
        if exchange.is_envelope and b"NaN" in exchange.body:
            return status(422, "no NaN here", "blocks.0.signals.loss")
        if len(exchange.body) > 6_000:
            return status(413, "over the limit")
        return chance.choice(PASSING_FAULTS)

    with serving(fault) as service:
        on_bench = bench(HttpTransport(service.url), monotonic=Leaps())
        for step in range(400):
            on_bench.outbox.put(observation(step, loss=float("nan") if step % 97 == 5 else 1.0))
        on_bench.outbox.put(acknowledgement(1))
        while on_bench.worker.status.messages_waiting:
            on_bench.worker.exchange()
        on_bench.worker.close(5)
        sound = {step for step in range(400) if step % 97 != 5}
        assert set(service.steps) == sound
        assert sorted(service.steps) == sorted(sound)
        assert [len(e.acknowledgements) for e in service.envelopes if e.acknowledgements] == [1]
        assert on_bench.worker.status.observations_lost == 400 - len(sound)


def test_a_service_that_comes_back_gets_all_it_missed() -> None:
    with serving() as service:
        on_bench = bench(HttpTransport(service.url), monotonic=fast)
        on_bench.worker.start()
        on_bench.observe(0)
        service.wait_for(lambda: service.steps == [0])
        service.close()
        on_bench.observe(*range(1, 500))
        on_bench.worker.wake()
        service.open()
        service.wait_for(lambda: service.steps == list(range(500)))
        on_bench.worker.close(5)


def test_a_service_with_a_new_database_learns_of_the_run_again() -> None:
    with serving() as service:
        on_bench = bench(HttpTransport(service.url), monotonic=fast)
        on_bench.worker.start()
        on_bench.observe(0)
        service.wait_for(lambda: service.steps == [0])
        service.close()
        service.forget()
        on_bench.observe(1)
        service.open()
        service.wait_for(lambda: service.steps[-1] == 1)
        # Step 0 comes again where the service was gone before its receipt had arrived.
        assert service.steps in ([0, 1], [0, 0, 1])
        assert len(service.runs[RUN]) == 1
        on_bench.worker.close(5)


@pytest.mark.parametrize("fault", [hang, drip], ids=["hangs", "drips"])
def test_a_service_that_hangs_never_slows_the_training_thread(fault: Fault) -> None:
    with serving(lambda exchange: fault) as service:
        on_bench = bench(HttpTransport(service.url, total_seconds=5.0))
        on_bench.worker.start()
        on_bench.worker.wake()
        service.wait_for(lambda: service.requests > 0)
        costs = []
        for step in range(3_000):
            item = observation(step)
            began = time.perf_counter()
            on_bench.outbox.put(item)
            on_bench.worker.wake()
            costs.append(time.perf_counter() - began)
        assert statistics.median(costs) < 20e-6
        assert max(costs) < 2.0  # and not the seconds that the worker waits
        began = time.monotonic()
        on_bench.worker.close(0.3)
        assert time.monotonic() - began < 3.0
        service.close()


@pytest.mark.parametrize("fault", [hang, drip], ids=["hangs", "drips"])
def test_closing_a_synchronous_worker_keeps_to_its_time(fault: Fault) -> None:
    with serving() as service:
        on_bench = bench(HttpTransport(service.url))
        on_bench.worker.exchange()
        on_bench.worker.describe(total_steps=10)  # so that there is something to register as well
        on_bench.standing.run_state = "finished"
        service.fault = lambda exchange: fault
        began = time.monotonic()
        on_bench.worker.close(0.5)
        assert time.monotonic() - began < 3.0
        assert on_bench.said("undelivered") == 1


def test_a_wrong_token_is_said_once_and_not_retried_at_once() -> None:
    with serving(lambda exchange: status(401, "no such token")) as service:
        on_bench = bench(HttpTransport(service.url))
        on_bench.worker.start()
        service.wait_for(lambda: service.requests > 0)
        for step in range(10):
            on_bench.observe(step)
            on_bench.worker.wake()
        on_bench.worker.close(5)
        assert service.requests == 2  # the first, and the one at the end
        assert on_bench.said("does not accept the token") >= 1

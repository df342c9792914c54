"""Live updates, over real HTTP: nothing is missed, whichever process wrote it, and a stream ends when told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from monitor_server.access import keeper, make_token
from monitor_server.api import watch
from monitor_server.settings import Settings
from monitor_server.storage import events, tokens
from monitor_server.storage.events import Event
from tests.monitor_server.running import Running
from tests.monitor_server.service import DIVERGING, HEALTHY, Trainer


def until(stream: Iterator[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Everything up to the first event of this kind."""
    seen = []
    for one in stream:
        seen.append(one)
        if one.get("event") == kind:
            return seen
    pytest.fail(f"the stream ended before a {kind}: {seen}")


@pytest.fixture
def start(address: str) -> Iterator[Callable[..., Running]]:
    """Starts services over the test's database, each as if it were a process of its own."""
    started: list[Running] = []

    def run(**settings: Any) -> Running:
        started.append(Running(Settings.model_validate({"database": address, **settings})))
        return started[-1]

    yield run
    for one in started:
        one.stop()


def test_what_one_process_writes_the_listener_of_another_hears(start: Callable[..., Running]) -> None:
    here, there = start(), start()
    trainer = Trainer(mode="advise")
    with here.follow() as stream:
        assert next(stream)["event"] == "connected"
        there.train(trainer, HEALTHY, DIVERGING)
        seen = until(stream, "decision")
    assert [one["event"] for one in seen if one["event"] in ("run", "incident", "decision")] == [
        "run", "incident", "decision",
    ]  # fmt: skip
    assert {one["data"]["run_id"] for one in seen} == {str(trainer.run_id)}
    assert seen[-1]["data"]["document"]["verdict"] == "propose"

    # Whoever comes back hears what he missed, and nothing twice, also from the other process.
    incident = seen[-1]["data"]["document"]["incident_id"]
    there.post(f"/incidents/{incident}/comment", '{"by": "ada", "comment": "Hm."}').raise_for_status()
    with there.follow(seen[0]["id"]) as stream:
        again = until(stream, "remark")
    assert [one["id"] for one in again[1 : len(seen)]] == [one["id"] for one in seen[1:]]
    assert again[-1]["data"]["document"]["comment"] == "Hm."


@pytest.fixture
def running(start: Callable[..., Running], kind: str) -> Running:
    if kind != "sqlite":
        pytest.skip("the same on both databases")
    return start(event_streams=2)


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_stream_of_one_run_tells_of_its_progress_and_of_nobody_else(running: Running) -> None:
    mine, other = Trainer(), Trainer()
    running.train(mine, (1.0,))
    with running.follow(run_id=str(mine.run_id)) as stream:
        assert next(stream)["event"] == "connected"
        running.train(other, (1.0,))
        running.train(mine, (2.0, 3.0))
        steps = []
        while 2 not in steps:
            seen = until(stream, "progress")
            assert {one["data"]["run_id"] for one in seen} == {str(mine.run_id)}
            steps.append(seen[-1]["data"]["step"])
    assert running.client.get("/events", params={"run_id": str(Trainer().run_id)}).status_code == 404


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_stream_tells_of_the_progress_of_the_runs_that_are_looked_at_and_of_what_happens_in_all(
    running: Running,
) -> None:
    first, second, unseen = Trainer(), Trainer(project="other"), Trainer()
    for trainer in (first, second):
        running.train(trainer, (1.0,))
    asked = [str(first.run_id), str(second.run_id)]
    with running.follow(progress=asked, kind="run") as stream, running.follow(progress=asked, project="demo") as demo:
        assert (next(stream)["event"], next(demo)["event"]) == ("connected", "connected")
        running.train(unseen, (1.0,))
        assert until(stream, "run")[-1]["data"]["run_id"] == str(unseen.run_id)
        told: dict[str, dict[str, Any]] = {}
        while len(told) < 2:
            running.train(second, (2.0, 3.0))
            running.train(first, (2.0, 3.0))
            one = until(stream, "progress")[-1]["data"]
            told[one["run_id"]] = one
        assert sorted(told) == sorted(asked)
        assert told[asked[0]]["signals"]["loss"] in (2.0, 3.0)
        assert until(demo, "progress")[-1]["data"]["run_id"] == asked[0]
    # Streams that were just left may still hold their seats for a moment.
    many = {"progress": [str(unseen.run_id)] * 201}
    deadline = time.monotonic() + 30.0
    while (status := running.client.get("/events", params=many).status_code) == 503 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert status == 422


@pytest.mark.parametrize("kind", ["sqlite"])
def test_whoever_missed_too_much_is_told_to_read_everything_again(running: Running) -> None:
    with running.app.state.service.database.write() as connection:
        for at in (1.0, 2.0, 3.0, 4.0):
            events.add(connection, [Event("run", "demo", None, at, {})])
        events.prune(connection, happened_before=3.5)
    for word, first in (("0-1", "reset"), ("0-99", "reset"), ("rubbish", "reset"), ("0-3", "connected")):
        with running.follow(word) as stream:
            assert next(stream)["event"] == first, word
    with running.follow(last_event_id=None, kind="run") as stream:
        assert next(stream)["id"] == "0-4"


@pytest.mark.parametrize("kind", ["sqlite"])
def test_places_are_bounded_and_given_back(running: Running) -> None:
    with running.follow() as first, running.follow() as second:
        next(first), next(second)
        refused = running.client.get("/events")
        assert (refused.status_code, refused.json()["code"]) == (503, "too_many_streams")
        assert refused.headers["retry-after"]
    give_up_at = time.monotonic() + 60
    statuses = set()
    while 200 not in statuses and time.monotonic() < give_up_at:
        with running.client.stream("GET", "/events") as response:
            statuses.add(response.status_code)
    assert 200 in statuses, "the places of those who left are free again"


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_quiet_stream_beats_and_a_long_one_ends(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "HEARTBEAT_SECONDS", 0.0)
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(watch, "LONGEST_SECONDS", 0.5)
    with running.client.stream("GET", "/events") as response:
        lines = list(response.iter_lines())
    assert ": heartbeat" in lines


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_service_that_is_asked_to_stop_does_not_wait_for_those_who_follow(running: Running) -> None:
    with running.follow() as stream:
        assert next(stream)["event"] == "connected"
        running.server.should_exit = True
        assert list(stream) == []


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("way", ["revoked", "expired"])
def test_a_stream_ends_with_its_token(start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(keeper, "REMEMBER_SECONDS", 0.05)
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.05)
    running = start()
    service = running.app.state.service
    lifetime = 2.0 if way == "expired" else None
    made = make_token("ada", ["read"], now=time.time(), created_by="a test", lifetime_seconds=lifetime)
    with service.database.write() as connection:
        tokens.add(connection, made.row)
    service.keeper.forget()
    running.client.headers["authorization"] = f"Bearer {made.word}"
    with running.follow() as stream:
        assert next(stream)["event"] == "connected"
        if way == "revoked":
            with service.database.write() as connection:
                tokens.revoke(connection, made.row.token_id, time.time())
        assert list(stream) == []
    assert running.client.get("/runs").status_code == 401

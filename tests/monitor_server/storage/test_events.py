"""Events in the order of commits: whoever reads on misses nothing, also where a later number commits first."""

from __future__ import annotations

from uuid import uuid4

from monitor_server.storage import Database, events
from monitor_server.storage.events import BEGINNING, Event


def told(database: Database, place: tuple[int, int] = BEGINNING, **only: object) -> list[Event]:
    with database.read() as connection:
        return events.after(connection, place, **only)  # type: ignore[arg-type]


def event(kind: str, **fields: object) -> Event:
    return Event(kind=kind, project="demo", run_id=None, happened_at=1.0, document={"z": float("nan")}, **fields)  # type: ignore[arg-type]


def test_events_are_read_in_order_from_a_place_on(database: Database) -> None:
    run_id = uuid4()
    with database.write() as connection:
        assert events.ends(connection) == (BEGINNING, BEGINNING)
        events.add(connection, [event("run"), event("incident")])
    with database.write() as connection:
        events.add(connection, [Event("command", "other", run_id, 2.0, {})])
    first, second, third = told(database)
    assert [one.kind for one in (first, second, third)] == ["run", "incident", "command"]
    assert first.document == {"z": "NaN"}
    assert told(database, first.place) == [second, third]
    assert told(database, project="other") == told(database, run_id=run_id) == told(database, kinds=["command"])
    assert told(database, limit=1) == [first]
    with database.read() as connection:
        assert events.ends(connection) == (first.place, third.place)


def test_a_place_is_never_passed_before_every_earlier_one_is_settled(database: Database) -> None:
    if database.is_sqlite:
        return  # one writer: nobody can begin earlier and commit later
    with database.engine.connect() as slow:
        begun = slow.begin()
        events.add(slow, [event("slow")])
        with database.write() as connection:
            events.add(connection, [event("quick")])
        assert told(database) == [], "the slow one has the smaller number and may still commit"
        begun.commit()
    seen = told(database)
    assert {one.kind for one in seen} == {"slow", "quick"}
    assert told(database, seen[-1].place) == []


def test_what_failed_left_no_event_and_wakes_nobody(database: Database) -> None:
    woken: list[str] = []
    database.after_events(lambda: woken.append("woken"))
    try:
        with database.write() as connection:
            events.add(connection, [event("never")])
            raise KeyError
    except KeyError:
        pass
    assert (told(database), woken) == ([], [])
    with database.write() as connection:
        events.add(connection, [event("run")])
    assert woken == ["woken"]


def test_old_events_are_forgotten_and_their_numbers_never_used_again(database: Database) -> None:
    with database.write() as connection:
        events.add(connection, [event("run")])
    (first,) = told(database)
    with database.write() as connection:
        assert events.prune(connection, happened_before=5.0) == 1
        events.add(connection, [event("run")])
    (second,) = told(database)
    assert second.place > first.place

"""Runs sorted, found by tags, put away and deleted; observations taken away as a file."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
from uuid import uuid4

import pytest

from monitor_server.pipeline import upkeep
from monitor_server.settings import Settings
from monitor_server.storage import runs
from monitor_server.storage.tables import findings, metadata, observations, rollups
from tests.monitor_server.api.door import JSON, Door, fields, opened, problem
from tests.monitor_server.service import Clock, Trainer


async def patch(door: Door, trainer: Trainer, body: str, **headers: str) -> object:
    path = f"/api/v1/runs/{trainer.run_id}/annotations"
    return await door.client.patch(path, content=body, headers={**JSON, **headers})


async def names(door: Door, **query: object) -> list[str]:
    return [one["run"] for one in (await door.read("/runs", **query))["runs"]]


@pytest.fixture
async def three(door: Door, clock: Clock) -> list[Trainer]:
    """Registered in the order c, a, b; a was heard of last."""
    trainers = [Trainer(run="c", tags={"task": "cnn"}), Trainer(run="a", tags={"task": "gpt"}), Trainer(run="b")]
    for trainer in trainers:
        await door.register(trainer)
        clock.now += 1
    await door.send(trainers[1].steps([1.0]))
    return trainers


async def test_runs_are_sorted_and_paged_both_ways(door: Door, three: list[Trainer]) -> None:
    assert await names(door) == ["b", "a", "c"]
    assert await names(door, sort="name", order="ascending") == ["a", "b", "c"]
    assert await names(door, sort="last_seen_at") == ["a", "b", "c"]
    for query in ({"sort": "name"}, {"sort": "name", "order": "ascending"}, {"sort": "last_seen_at"}, {}):
        whole, cursor, seen = await names(door, **query), None, []
        for _ in range(3):
            page = await door.read("/runs", limit=1, **query, **({"cursor": cursor} if cursor else {}))
            seen += [one["run"] for one in page["runs"]]
            cursor = page["next"]
        assert (seen, cursor) == (whole, None)
    page = await door.read("/runs", limit=1, sort="name")
    problem(await door.client.get("/api/v1/runs", params={"cursor": page["next"]}), 422, "invalid_request")


async def test_names_of_any_alphabet_are_paged(door: Door) -> None:
    told = sorted(200 * letter for letter in ("é", "ж", "試", "🚀"))
    for name in told:
        await door.register(Trainer(run=name))
    seen, cursor = [], None
    for _ in told:
        page = await door.read(
            "/runs", limit=1, sort="name", order="ascending", **({"cursor": cursor} if cursor else {})
        )
        seen += [one["run"] for one in page["runs"]]
        cursor = page["next"]
    assert (sorted(seen), cursor) == (told, None)


async def test_runs_are_found_by_the_tags_of_trainers_and_people(door: Door, three: list[Trainer]) -> None:
    assert await names(door, tag="task=cnn") == ["c"]
    assert await names(door, tag="task") == ["a", "c"]
    response = await patch(door, three[2], '{"tags": {"owner": "ada", "task": "gpt"}, "notes": "Watch the rate."}')
    assert response.status_code == 200, response.text  # type: ignore[attr-defined]
    assert await names(door, tag="task=gpt") == ["b", "a"]
    assert await names(door, tag=["task=gpt", "owner=ada"]) == ["b"]
    await door.register(three[2])
    (run,) = (await door.read("/runs", tag="owner"))["runs"]
    assert (run["tags"], run["notes"]) == ({"owner": "ada", "task": "gpt"}, "Watch the rate.")


async def test_what_is_put_away_is_listed_only_when_asked_for(door: Door, three: list[Trainer]) -> None:
    await patch(door, three[0], '{"archived": true}')
    assert await names(door) == ["b", "a"]
    assert await names(door, archived="only") == ["c"]
    assert await names(door, archived="too") == ["b", "a", "c"]
    await patch(door, three[0], '{"archived": false}')
    assert await names(door) == ["b", "a", "c"]


async def test_nobody_overwrites_what_he_has_not_seen(door: Door, three: list[Trainer]) -> None:
    path = f"/api/v1/runs/{three[0].run_id}/annotations"
    seen = (await door.client.get(path)).headers["etag"]
    assert (await door.client.get(path, headers={"if-none-match": seen})).status_code == 304
    mine = await patch(door, three[0], '{"notes": "Mine."}', **{"if-match": seen})
    assert mine.status_code == 200  # type: ignore[attr-defined]
    problem(await patch(door, three[0], '{"notes": "Yours."}', **{"if-match": seen}), 412, "changed_since")  # type: ignore[arg-type]
    assert (await door.client.get(path)).json()["notes"] == "Mine."
    told = problem(await patch(door, three[0], '{"tags": {"": "x"}}'), 422, "invalid_annotation")  # type: ignore[arg-type]
    assert fields(told)[0].startswith("tags")


async def test_a_run_is_deleted_with_everything_when_it_has_ended(door: Door) -> None:
    receipt, known = await door.diverge(trainer := Trainer(mode="act"))
    await door.register(other := Trainer(run="other"))
    (incident,) = (await door.read(f"/runs/{trainer.run_id}/incidents", kind="divergence"))["incidents"]
    path = f"/api/v1/runs/{trainer.run_id}"
    assert "stop it first" in problem(await door.client.delete(path), 409, "command_refused")["detail"]
    await door.post(f"/incidents/{incident['incident_id']}/comment", '{"comment": "Hm."}')
    await patch(door, trainer, '{"tags": {"x": "y"}}')
    await door.send(trainer.obey(receipt.commands[0], known))
    await door.send(trainer.envelope(state="finished"))
    assert (await door.client.delete(path)).status_code == 204
    problem(await door.client.get(path), 404, "unknown_run")
    problem(await door.client.delete(path), 404, "unknown_run")
    assert await names(door) == ["other"]
    with door.app.state.service.database.read() as connection:
        left = {
            table.name: connection.execute(table.select().where(table.c.run_id == trainer.run_id)).all()
            for table in metadata.sorted_tables
            if "run_id" in table.c
        }
    assert {name for name, rows in left.items() if rows} == {"audit"}
    assert "delete_run" in {row.action for row in left["audit"]}
    assert (await door.read(f"/runs/{other.run_id}"))["run"] == "other"


async def test_observations_are_exported_as_csv_and_as_lines_of_json(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    await door.send(trainer.steps([1.0, math.nan, math.inf, 4.0]))
    path = f"/api/v1/runs/{trainer.run_id}/observations/export"
    response = await door.client.get(path)
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert f'filename="{trainer.run_id}.csv"' in response.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [row["loss"] for row in rows] == ["1.0", "NaN", "Infinity", "4.0"]
    assert [row["step"] for row in rows] == ["0", "1", "2", "3"]
    response = await door.client.get(path, params={"format": "jsonl", "from_step": 1, "every": 2, "signals": "loss"})
    assert [json.loads(line)["step"] for line in response.text.splitlines()] == [2]
    response = await door.client.get(path, params={"signals": "loss,never/measured", "to_step": 0})
    assert response.text.splitlines()[1].split(",")[3:] == ["1.0", ""]
    problem(await door.client.get(path, params={"signals": "=1+1"}), 422, "invalid_request")
    problem(await door.client.get(f"/api/v1/runs/{uuid4()}/observations/export"), 404, "unknown_run")


async def test_a_long_run_is_deleted_in_pieces_also_when_it_comes_back_meanwhile(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "PIECE", 40)
    await door.diverge(trainer := Trainer(mode="observe"))
    await door.register(other := Trainer(run="other"))
    await door.send(other.steps([1.0] * 100))
    database = door.app.state.service.database
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        with database.write() as connection:
            runs.change(connection, trainer.run_id, {"state": "running"})

    monkeypatch.setattr(upkeep.time, "sleep", pause)
    with database.write() as connection:
        runs.change(connection, trainer.run_id, {"state": "silent"})
    assert (await door.client.delete(f"/api/v1/runs/{trainer.run_id}")).status_code == 204
    assert len(pauses) >= (300 + 40) // 40
    with database.read() as connection:
        for table in (observations, rollups, findings):
            assert not connection.execute(table.select().where(table.c.run_id == trainer.run_id)).all()
    assert (await door.read(f"/runs/{other.run_id}"))["observations"] == 100
    # Its trainer registers it anew; no process may take it for the former one.
    await door.register(trainer)
    with database.read() as connection:
        row = runs.load(connection, trainer.run_id)
    assert row is not None
    assert row.version >= door.app.state.service.clock() * 1000 - 1


async def test_what_trains_again_is_not_put_away_any_more(door: Door, three: list[Trainer]) -> None:
    await patch(door, three[0], '{"archived": true, "notes": "Done."}')
    assert await names(door) == ["b", "a"]
    await door.register(three[0])
    assert await names(door) == ["b", "a", "c"]
    (told,) = [one for one in (await door.read("/runs"))["runs"] if one["run"] == "c"]
    assert told["notes"] == "Done."


async def test_a_search_knows_every_alphabet(door: Door) -> None:
    await door.register(Trainer(run="MÜLLER", tags={"Größe": "ÄRGER"}))
    for word in ("müller", "Müller", "größe=ärger"):
        assert await names(door, search=word) == ["MÜLLER"], word


@pytest.mark.parametrize("what", ["annotations", "playbook"])
async def test_of_many_who_saw_the_same_only_one_changes_it(address: str, clock: Clock, what: str) -> None:
    """Two processes over one database, and If-Match: nobody's word is lost, however close they are."""
    async with opened(Settings(database=address), clock) as here, opened(Settings(database=address), clock) as there:
        await here.register(trainer := Trainer())
        path = f"/api/v1/runs/{trainer.run_id}/annotations" if what == "annotations" else "/api/v1/playbooks/demo"
        body = '{{"notes": "{}"}}' if what == "annotations" else '{{"extends": "default", "probation_steps": {}}}'
        method = "PATCH" if what == "annotations" else "PUT"
        headers = {"content-type": "application/json"}
        response = await here.client.request(method, path, content=body.format(1), headers=headers)
        assert response.status_code == 200, response.text
        for turn in range(5):
            seen = (await here.client.get(path)).headers["etag"]
            clock.now += 1.0
            told = await asyncio.gather(
                *(
                    door.client.request(
                        method, path, content=body.format(10 + 10 * turn + one), headers={**headers, "if-match": seen}
                    )
                    for one, door in enumerate((here, there) * 4)
                )
            )
            assert sorted(one.status_code for one in told) == [200, *[412] * 7]

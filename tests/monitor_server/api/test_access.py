"""Who may come in: tokens, scopes, projects, the page's cookie, paces; and nobody by another door."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from threading import Barrier, BrokenBarrierError
from typing import Any
from uuid import uuid4

import pytest

from monitor_server.access import SCOPES, make_token, renew_token
from monitor_server.access.keeper import COOKIE, FAILURES_PER_MINUTE
from monitor_server.access.paces import Pace
from monitor_server.api import tokens as routes_of_tokens
from monitor_server.settings import Settings
from monitor_server.storage import audit, tokens
from tests.monitor_server.api.door import JSON, Door, opened, problem
from tests.monitor_server.service import Clock, Trainer


def bear(door: Door, *scopes: str, **wish: Any) -> dict[str, str]:
    """Headers with a new token."""
    service = door.app.state.service
    made = make_token("ada", scopes, now=service.clock(), created_by="a test", **wish)  # type: ignore[arg-type]
    with service.database.write() as connection:
        tokens.add(connection, made.row)
    service.keeper.forget()
    return {**JSON, "authorization": f"Bearer {made.word}"}


async def call(door: Door, method: str, path: str, headers: dict[str, str], body: str | None = None) -> Any:
    return await door.client.request(method, f"/api/v1{path}", content=body, headers=headers)


async def test_without_any_token_nobody_has_to_sign_in(door: Door) -> None:
    assert (await door.read("/session")) == {
        "needs_token": False, "name": None, "scopes": sorted(SCOPES), "project": None,
    }  # fmt: skip
    strangers = await door.client.get("/api/v1/runs", headers={"authorization": "Bearer of-a-proxy-in-front"})
    assert strangers.status_code == 200


async def test_a_name_that_somebody_else_made_lead_here_is_refused(door: Door) -> None:
    for host in ("localhost:8321", "127.0.0.1", "[::1]:8321", "LOCALHOST") * 2:
        assert (await door.client.get("/api/v1/runs", headers={"host": host})).status_code == 200, host
    for path in ("/", "/api/v1/runs", "/api/v1/events", "/metrics", "/healthz", "/static/page.css"):
        for host in ("evil.example", "localhost.evil.example:8321", "127.0.0.1.evil.example", "", "[::1"):
            answer = await door.client.get(path, headers={"host": host})
            assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), (
                path,
                host,
            )
            assert answer.json()["code"] == "unknown_host"
            assert repr(host) in answer.json()["detail"]
            assert "TRAINGUARD_HOSTS" in answer.json()["detail"]


async def test_with_one_every_route_asks_for_it(door: Door) -> None:
    bear(door, "read")
    document = (await door.client.get("/openapi.json")).json()
    asked = 0
    for path, operations in document["paths"].items():
        if path in ("/healthz", "/readyz") or path == "/api/v1/session":
            continue
        for method in operations:
            told = re.sub(r"\{[^}]+\}", str(uuid4()), path)
            response = await door.client.request(method.upper(), told, content="{}", headers=JSON)
            problem(response, 401, "not_signed_in")
            assert response.headers["www-authenticate"].startswith("Bearer")
            assert operations[method]["security"] == [{"token": []}], path
            asked += 1
    assert asked > 25
    assert (await door.client.get("/healthz")).status_code == 200
    assert (await door.read("/session"))["needs_token"]


@pytest.mark.parametrize(
    ("scope", "reads", "registers", "commands", "administers"),
    [
        ("ingest", 403, 201, 403, 403),
        ("read", 200, 403, 403, 403),
        ("command", 200, 403, 404, 403),
        ("admin", 200, 201, 404, 200),
    ],
)
async def test_a_scope_opens_what_it_says(
    door: Door, scope: str, reads: int, registers: int, commands: int, administers: int
) -> None:
    headers = bear(door, scope)
    description = Trainer().description().model_dump_json()
    assert (await call(door, "GET", "/runs", headers)).status_code == reads
    assert (await call(door, "POST", "/runs", headers, description)).status_code == registers
    assert (await call(door, "POST", f"/incidents/{uuid4()}/resolve", headers, "{}")).status_code == commands
    assert (await call(door, "GET", "/tokens", headers)).status_code == administers
    assert (await door.client.get("/metrics", headers=headers)).status_code == reads


async def test_a_token_of_a_project_sees_nothing_else(door: Door) -> None:
    everybody = bear(door, "admin")
    mine, other = Trainer(project="mine"), Trainer(project="other")
    headers = bear(door, "ingest", "command", project="mine")
    for trainer in (mine, other):
        response = await call(door, "POST", "/runs", everybody, trainer.description().model_dump_json())
        assert response.status_code == 201
    assert [one["run"] for one in (await call(door, "GET", "/runs", headers)).json()["runs"]] == ["char-gpt"]
    problem(await call(door, "GET", "/runs?project=other", headers), 403, "forbidden")
    problem(await call(door, "POST", "/runs", headers, other.description().model_dump_json()), 403, "forbidden")
    problem(await door.client.get("/metrics", headers=headers), 403, "forbidden")
    stolen = Trainer(project="mine")
    stolen.run_id = other.run_id
    problem(await call(door, "POST", "/runs", headers, stolen.description().model_dump_json()), 403, "forbidden")
    for method, path, body in (
        ("GET", "", None),
        ("GET", "/observations", None),
        ("POST", "/commands", '{"orders": [{"action": "halt"}]}'),
        ("POST", "/envelopes", other.envelope().model_dump_json()),
    ):
        problem(await call(door, method, f"/runs/{other.run_id}{path}", headers, body), 404, "unknown_run")
    envelope = mine.steps([1.0]).model_dump_json()
    assert (await call(door, "POST", f"/runs/{mine.run_id}/envelopes", headers, envelope)).status_code == 200


async def test_a_token_expires_is_rotated_with_a_grace_and_revoked(door: Door, clock: Clock) -> None:
    admin = bear(door, "admin")
    wish = '{"name": "trainers", "scopes": ["read"], "seconds": 1000}'
    made = await call(door, "POST", "/tokens", admin, wish)
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    first = {"authorization": f"Bearer {made.json()['token']}"}
    token_id = made.json()["token_id"]
    assert (await call(door, "GET", "/runs", first)).status_code == 200
    renewed = await call(door, "POST", f"/tokens/{token_id}/rotate", admin, '{"grace_seconds": 100}')
    second = {"authorization": f"Bearer {renewed.json()['token']}"}
    for headers in (first, second):
        assert (await call(door, "GET", "/runs", headers)).status_code == 200
    clock.now += 101
    problem(await call(door, "GET", "/runs", first), 401, "not_signed_in")
    assert (await call(door, "GET", "/runs", second)).status_code == 200
    clock.now += 900
    assert "expired" in problem(await call(door, "GET", "/runs", second), 401, "not_signed_in")["detail"]
    assert (await call(door, "DELETE", f"/tokens/{token_id}", admin)).status_code == 204
    assert "revoked" in problem(await call(door, "GET", "/runs", second), 401, "not_signed_in")["detail"]
    problem(await call(door, "POST", f"/tokens/{token_id}/rotate", admin, "{}"), 409, "token_revoked")
    problem(await call(door, "DELETE", "/tokens/nobody", admin), 404, "unknown_token")
    listed = (await call(door, "GET", "/tokens", admin)).json()["tokens"]
    states = {one["name"]: one["state"] for one in listed}
    assert states == {"ada": "active", "trainers": "revoked"}
    assert all(one["last_used_at"] is not None for one in listed)
    told = str(listed) + str(await call(door, "GET", "/audit", admin))
    assert made.json()["token"].split("_")[2] not in told


async def test_wrong_tokens_say_nothing_of_what_is_right_and_are_bounded(door: Door) -> None:
    good = bear(door, "read")["authorization"]
    said = set()
    for word in ("Bearer sk-123", f"{good}x", good[:-1], f"Bearer tg_{'0' * 12}_{'A' * 43}", "Bearer tg__"):
        response = await call(door, "GET", "/runs", {"authorization": word})
        said.add(problem(response, 401, "not_signed_in")["detail"])
    assert len(said) == 1
    for _ in range(FAILURES_PER_MINUTE):
        response = await call(door, "GET", "/runs", {"authorization": "Bearer tg_a_b"})
    assert response.headers["retry-after"]
    problem(response, 429, "too_many_requests")


async def test_only_a_digest_of_the_secret_is_kept(door: Door) -> None:
    word = bear(door, "read")["authorization"].removeprefix("Bearer ")
    with door.app.state.service.database.read() as connection:
        (row,) = tokens.listing(connection)
    assert word.split("_", 2)[2] not in repr(row)
    assert len(word.split("_", 2)[2]) == 43, "256 bits"


async def test_the_pages_cookie_is_good_for_our_own_page_alone(door: Door) -> None:
    word = bear(door, "command")["authorization"].removeprefix("Bearer ")
    problem(await door.post("/session", '{"token": "tg_a_b"}'), 401, "not_signed_in")
    response = await door.post("/session", f'{{"token": "{word}"}}')
    assert response.json()["name"] == "ada"
    cookie = response.headers["set-cookie"]
    assert all(word in cookie for word in (f"{COOKIE}=", "HttpOnly", "SameSite=strict", "Path=/"))
    assert (await door.client.get("/api/v1/runs")).status_code == 200

    wish = '{"project": "demo", "seconds": 60}'
    assert (await door.post("/silences", wish, {**JSON, "origin": "http://localhost"})).status_code == 201
    for headers in ({}, {"origin": "http://evil.example"}, {"origin": "null"}):
        problem(await door.post("/silences", wish, {**JSON, **headers}), 403, "forbidden")
    foreign = await door.client.get("/api/v1/runs", headers={"sec-fetch-site": "cross-site"})
    problem(foreign, 403, "forbidden")

    gone = await door.client.delete("/api/v1/session")
    assert gone.status_code == 204
    problem(await door.client.get("/api/v1/runs"), 401, "not_signed_in")


@pytest.fixture
async def slow(settings: Settings, clock: Clock) -> AsyncIterator[Door]:
    update = {"requests_per_minute": 3, "envelopes_per_minute": 2, "body_seconds": 0.05}
    async with opened(settings.model_copy(update=update), clock) as door:
        yield door


async def test_each_token_has_its_pace(slow: Door) -> None:
    headers, other = bear(slow, "admin"), bear(slow, "admin")
    trainer = Trainer()
    assert (await call(slow, "POST", "/runs", headers, trainer.description().model_dump_json())).status_code == 201
    statuses = [(await call(slow, "GET", "/runs", headers)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    path = f"/runs/{trainer.run_id}/envelopes"
    sent = [await call(slow, "POST", path, headers, trainer.steps([1.0]).model_dump_json()) for _ in range(3)]
    assert [one.status_code for one in sent] == [200, 200, 429]
    assert sent[-1].headers["retry-after"]
    assert (await call(slow, "GET", "/runs", other)).status_code == 200


async def test_workers_share_a_pace() -> None:
    for per_minute, workers, share in ((9, 4, 2), (2, 4, 1), (0, 4, 100), (9, 1, 9)):
        pace = Pace("requests", per_minute, workers=workers)
        allowed = [await pace.hit("one") for _ in range(100)].count(True)
        assert allowed == share, (per_minute, workers)


async def test_a_body_that_does_not_come_is_not_waited_for(slow: Door) -> None:
    async def dripping() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    response = await slow.client.post("/api/v1/silences", content=dripping(), headers=JSON)
    problem(response, 408, "body_too_slow")


async def test_who_commanded_is_written_down(door: Door) -> None:
    headers = bear(door, "admin")
    trainer = Trainer(mode="act")
    await call(door, "POST", "/runs", headers, trainer.description().model_dump_json())
    order = '{"orders": [{"action": "save_now"}], "reason": "Before the holidays."}'
    response = await call(door, "POST", f"/runs/{trainer.run_id}/commands", headers, order)
    assert response.json()["issued_by"] == "ada"
    await call(door, "POST", "/silences", headers, f'{{"run_id": "{trainer.run_id}", "seconds": 60}}')
    page = (await call(door, "GET", f"/audit?run_id={trainer.run_id}&limit=1", headers)).json()
    (last,) = page["entries"]
    assert (last["action"], last["actor"], last["token_id"] is not None) == ("silence", "ada", True)
    (first,) = (await call(door, "GET", f"/audit?cursor={page['next']}", headers)).json()["entries"]
    assert (first["action"], first["target"]) == ("command", response.json()["command_id"])
    assert first["document"]["reason"] == "Before the holidays."


async def test_what_the_policy_commanded_is_written_down_too(door: Door) -> None:
    await door.diverge(trainer := Trainer(mode="act"))
    with door.app.state.service.database.read() as connection:
        (entry,) = audit.listing(connection, run_id=trainer.run_id, actor_kind="policy")
    assert (entry.actor, entry.action) == ("policy", "command")
    assert entry.document["orders"][0]["action"] == "rollback"


async def test_a_good_token_is_not_locked_out_by_its_neighbours_wrong_one(door: Door) -> None:
    good = bear(door, "read")
    assert (await call(door, "GET", "/runs", good)).status_code == 200
    for _ in range(FAILURES_PER_MINUTE + 1):
        response = await call(door, "GET", "/runs", {"authorization": "Bearer tg_a_b"})
    problem(response, 429, "too_many_requests")
    assert (await call(door, "GET", "/runs", good)).status_code == 200
    bear(door, "read")  # another one is made, and all are looked up anew
    assert (await call(door, "GET", "/runs", good)).status_code == 200
    guess = {"authorization": f"{good['authorization'][:-1]}!"}
    problem(await call(door, "GET", "/runs", guess), 429, "too_many_requests")


async def test_words_on_runs_and_incidents_are_written_down(door: Door) -> None:
    await door.diverge(trainer := Trainer())
    (incident,) = (await door.read("/incidents", kind="divergence"))["incidents"]
    path = f"/incidents/{incident['incident_id']}"
    await door.post(f"{path}/acknowledge", '{"by": "ada", "comment": "On it."}')
    await door.post(f"{path}/acknowledge", '{"by": "grace"}')
    await door.post(f"{path}/comment", '{"by": "grace", "comment": "The shard?"}')
    await call(door, "PATCH", f"/runs/{trainer.run_id}/annotations", JSON, '{"notes": "Bad shard.", "archived": true}')
    entries = (await door.read("/audit", run_id=str(trainer.run_id), actor_kind="person"))["entries"]
    assert [(one["action"], one["actor"]) for one in entries] == [
        ("annotate", "a person"), ("comment", "grace"), ("acknowledge", "ada"),
    ]  # fmt: skip
    assert entries[0]["document"] == {"tags": {}, "notes": "Bad shard.", "archived": True}


async def test_of_two_rotations_at_once_the_first_ones_secret_has_its_grace(address: str, clock: Clock) -> None:
    """The second must not start from what the first has just replaced."""
    async with opened(Settings(database=address), clock) as door:
        headers = bear(door, "admin")
        token_id = headers["authorization"].split("_")[1]
        service = door.app.state.service
        at_once = Barrier(2)

        def slowly(row: Any, **wish: Any) -> Any:
            # Without a lock both come here, and go on from the same row.
            with suppress(BrokenBarrierError):
                at_once.wait(0.5)
            return renew_token(row, **wish)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(routes_of_tokens, "renew_token", slowly)
            path = f"/tokens/{token_id}/rotate"
            made = await asyncio.gather(*(call(door, "POST", path, headers, "{}") for _ in range(2)))
        service.keeper.forget()
        words = [one.json()["token"] for one in made]
        for word in words:
            assert (await call(door, "GET", "/runs", {"authorization": f"Bearer {word}"})).status_code == 200

"""Playbooks of projects: checked, kept, and what the service decides by."""

from __future__ import annotations

import json

import pytest

from tests.monitor_server.api.door import JSON, Door, problem
from tests.monitor_server.service import Trainer

ONLY_WORDS = {"name": "careful", "ladders": {"divergence": {"treatment": "advise", "advice": "Ask Ada."}}}


async def put(door: Door, project: str, document: object, **headers: str) -> object:
    path = f"/api/v1/playbooks/{project}"
    return await door.client.put(path, content=json.dumps(document), headers={**JSON, **headers})


async def verdict_on(door: Door, trainer: Trainer) -> str:
    """What was decided first on the run's divergence."""
    (incident,) = (await door.read(f"/runs/{trainer.run_id}/incidents", kind="divergence"))["incidents"]
    told = await door.read(f"/runs/{trainer.run_id}/decisions", incident_id=incident["incident_id"])
    return str(told["decisions"][0]["verdict"])


async def test_a_projects_runs_go_by_its_playbook_and_a_runs_own_beats_it(door: Door) -> None:
    assert (await put(door, "demo", ONLY_WORDS)).status_code == 200  # type: ignore[attr-defined]
    for description, verdict in (
        ({"project": "demo"}, "nothing"),
        ({"project": "another"}, "act"),
        ({"project": "demo", "playbook": {"extends": "default"}}, "act"),
    ):
        trainer = Trainer(mode="act", **description)
        await door.diverge(trainer)
        assert await verdict_on(door, trainer) == verdict, description
    assert (await door.client.delete("/api/v1/playbooks/demo")).status_code == 204
    await door.diverge(trainer := Trainer(mode="act"))
    assert await verdict_on(door, trainer) == "act"
    problem(await door.client.delete("/api/v1/playbooks/demo"), 404, "unknown_playbook")


async def test_playbooks_are_listed_and_guarded_by_their_etag(door: Door) -> None:
    assert (await door.read("/playbooks"))["playbooks"] == []
    problem(await door.client.get("/api/v1/playbooks/demo"), 404, "unknown_playbook")
    await put(door, "demo", ONLY_WORDS)
    etag = (await door.client.get("/api/v1/playbooks/demo")).headers["etag"]
    assert (await door.client.get("/api/v1/playbooks/demo", headers={"if-none-match": etag})).status_code == 304
    assert (await put(door, "demo", {"extends": "safe"}, **{"if-match": etag})).status_code == 200  # type: ignore[attr-defined]
    problem(await put(door, "demo", ONLY_WORDS, **{"if-match": etag}), 412, "changed_since")  # type: ignore[arg-type]
    (listed,) = (await door.read("/playbooks"))["playbooks"]
    assert listed["project"] == "demo"
    assert "divergence" in listed["document"]["ladders"], "whole, so that a later default changes nothing"


async def test_a_playbook_is_checked_in_plain_words(door: Door) -> None:
    response = await door.post("/playbooks/check", '{"extends": "default", "probation_steps": 99}')
    assert response.status_code == 200, response.text
    assert response.json()["words"]
    assert response.json()["document"]["probation_steps"] == 99


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"ladders": {"boredom": {}}}, "ladders"),
        ({"extends": "default", "probation_steps": 0}, "probation_steps"),
        ({"extends": "default", "probatoin_steps": 9}, "probatoin_steps"),
        ({}, "ladders"),
    ],
)
async def test_a_playbook_that_makes_no_sense_is_refused_by_field(door: Door, document: object, field: str) -> None:
    told = problem(await put(door, "demo", document), 422, "invalid_playbook")  # type: ignore[arg-type]
    assert told["errors"][0]["field"].startswith(field)


async def test_a_project_with_a_slash_in_its_name_has_a_playbook_too(door: Door) -> None:
    await door.register(trainer := Trainer(project="team/vision"))
    for project in ("team%2Fvision", "team/vision"):
        assert (await put(door, project, {"extends": "default", "name": "ours"})).status_code == 200
        told = (await door.client.get(f"/api/v1/playbooks/{project}")).json()
        assert (told["project"], told["document"]["name"]) == ("team/vision", "ours")
    assert (await door.read(f"/runs/{trainer.run_id}"))["project"] == "team/vision"
    assert (await door.client.delete("/api/v1/playbooks/team%2Fvision")).status_code == 204

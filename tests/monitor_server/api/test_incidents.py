"""What a person does about an incident: sees it, comments, says yes or no, closes it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from monitor_server.access import make_token
from monitor_server.storage import reports, tokens
from tests.monitor_server.api.door import Door, fields, problem
from tests.monitor_server.service import DIVERGING, HEALTHY, Trainer
from trainguard.wire import Command, Evaluation, Finding, IncidentReport


async def trouble(door: Door, **description: Any) -> tuple[Trainer, dict[str, Any]]:
    """A run in trouble, and its incident."""
    trainer = Trainer(**description)
    await door.diverge(trainer)
    (incident,) = (await door.read("/incidents", run_id=str(trainer.run_id), kind="divergence"))["incidents"]
    return trainer, incident


async def say(door: Door, incident: dict[str, Any], verb: str, body: str = "{}") -> Any:
    response = await door.post(f"/incidents/{incident['incident_id']}/{verb}", body)
    assert response.status_code == 200, response.text
    return response.json()


async def test_one_incident_comes_with_everything_about_it(door: Door) -> None:
    trainer, incident = await trouble(door, mode="act")
    told = await door.read(f"/incidents/{incident['incident_id']}")
    assert told["incident"] == incident
    assert len(told["findings"]) == incident["findings"]
    assert [one["verdict"] for one in told["decisions"]] == ["act"]
    assert [one["state"] for one in told["commands"]] == ["pending"]
    assert (told["acknowledgements"], told["remarks"], told["silenced"], told["proposal"]) == ([], [], False, None)
    (command,) = (await door.send(trainer.envelope())).commands
    await door.send(trainer.envelope(acknowledgements=[trainer.refuse(command)]))
    told = await door.read(f"/incidents/{incident['incident_id']}")
    assert [one["status"] for one in told["acknowledgements"]] == ["refused"]
    assert sorted(one["state"] for one in told["commands"]) == ["pending", "refused"]
    problem(await door.client.get(f"/api/v1/incidents/{uuid4()}"), 404, "unknown_incident")


async def test_who_has_seen_it_first_stays(door: Door) -> None:
    trainer, incident = await trouble(door)
    assert incident["acknowledged_by"] is None
    first = await say(door, incident, "acknowledge", '{"by": "ada", "comment": "On it."}')
    assert (first["incident"]["acknowledged_by"], first["remarks"][0]["comment"]) == ("ada", "On it.")
    second = await say(door, incident, "acknowledge", '{"by": "grace"}')
    assert second["incident"]["acknowledged_by"] == "ada"
    assert len(second["remarks"]) == 1
    (listed,) = (await door.read(f"/runs/{trainer.run_id}/incidents", kind="divergence"))["incidents"]
    assert listed["acknowledged_by"] == "ada"


async def test_comments_are_kept_in_order(door: Door) -> None:
    _, incident = await trouble(door)
    await say(door, incident, "comment", '{"by": "ada", "comment": "The new shard?"}')
    told = await say(door, incident, "comment", '{"comment": "Yes."}')
    assert sorted((one["made_by"], one["comment"], one["kind"]) for one in told["remarks"]) == [
        ("a person", "Yes.", "comment"), ("ada", "The new shard?", "comment"),
    ]  # fmt: skip
    response = await door.post(f"/incidents/{incident['incident_id']}/comment", '{"comment": ""}')
    assert fields(problem(response, 422, "invalid_word")) == ["comment"]


async def test_a_proposal_is_approved_by_its_incident(door: Door) -> None:
    trainer, incident = await trouble(door, mode="advise")
    proposal = (await door.read(f"/incidents/{incident['incident_id']}"))["proposal"]
    assert proposal["verdict"] == "propose"
    told = await say(door, incident, "approve", f'{{"by": "ada", "decision_id": "{proposal["decision_id"]}"}}')
    assert (told["incident"]["state"], told["proposal"]) == ("recovering", None)
    assert [one["kind"] for one in told["remarks"]] == ["approved"]
    (command,) = (await door.send(trainer.envelope())).commands
    assert str(command.command_id) == told["commands"][0]["command_id"]
    for verb in ("approve", "decline"):
        response = await door.post(f"/incidents/{incident['incident_id']}/{verb}", "{}")
        assert "nothing is proposed" in problem(response, 409, "incident_refused")["detail"]


async def test_what_was_declined_is_neither_done_nor_proposed_again(door: Door) -> None:
    trainer, incident = await trouble(door, mode="advise")
    told = await say(door, incident, "decline", '{"by": "ada", "comment": "I want to see it."}')
    assert (told["incident"]["state"], told["proposal"]) == ("open", None)
    assert told["incident"]["outcome"] == "Nothing, because ada declined: I want to see it."
    assert [one["kind"] for one in told["remarks"]] == ["declined"]
    for _ in range(3):
        assert (await door.send(trainer.steps(DIVERGING[-10:]))).commands == []
    told = await door.read(f"/incidents/{incident['incident_id']}")
    assert [one["verdict"] for one in told["decisions"]] == ["propose", "nothing"]
    response = await door.post(f"/incidents/{incident['incident_id']}/approve", "{}")
    problem(response, 409, "incident_refused")


async def test_a_proposal_that_was_overtaken_is_not_the_one_a_person_saw(door: Door) -> None:
    _, incident = await trouble(door, mode="advise")
    response = await door.post(f"/incidents/{incident['incident_id']}/approve", f'{{"decision_id": "{uuid4()}"}}')
    assert fields(problem(response, 409, "incident_refused")) == ["decision_id"]


async def test_closed_by_hand_it_stays_closed_and_new_trouble_opens_a_new_one(door: Door) -> None:
    trainer, incident = await trouble(door, mode="advise")
    told = await say(door, incident, "resolve", '{"by": "ada", "comment": "Known bad shard."}')
    assert (told["incident"]["state"], told["incident"]["outcome"]) == (
        "resolved", "ada resolved it: Known bad shard.",
    )  # fmt: skip
    shown = (await door.read(f"/runs/{trainer.run_id}"))["active_incident"]
    assert shown is None or shown["incident_id"] != incident["incident_id"]
    problem(await door.post(f"/incidents/{incident['incident_id']}/resolve", "{}"), 409, "incident_refused")
    await door.send(trainer.steps(HEALTHY))
    await door.send(trainer.steps([200.0 + 10 * step for step in range(60)]))
    later = (await door.read(f"/runs/{trainer.run_id}/incidents", kind="divergence"))["incidents"]
    states = {one["incident_id"]: one["state"] for one in later}
    assert states.pop(incident["incident_id"]) == "resolved"
    assert set(states.values()) == {"open"}


async def test_it_is_not_closed_under_a_command_that_is_on_its_way(door: Door) -> None:
    _, incident = await trouble(door, mode="act")
    response = await door.post(f"/incidents/{incident['incident_id']}/resolve", "{}")
    assert "on its way" in problem(response, 409, "incident_refused")["detail"]


@pytest.mark.parametrize("verb", ["acknowledge", "comment", "approve", "decline", "resolve"])
async def test_nothing_is_said_on_an_incident_that_is_not_there(door: Door, verb: str) -> None:
    response = await door.post(f"/incidents/{uuid4()}/{verb}", '{"comment": "Hm."}')
    problem(response, 404, "unknown_incident")


async def test_an_id_that_another_run_chose_too_is_one_of_the_callers_own(door: Door) -> None:
    """A trainer's own brain makes the ids of its incidents; nothing keeps two runs from the same one."""
    _, incident = await trouble(door)
    path = f"/incidents/{incident['incident_id']}"
    await door.register(other := Trainer(run="other", project="elsewhere"))
    report = IncidentReport.model_validate(
        {name: incident[name] for name in IncidentReport.model_fields} | {"opened_at": 1.0, "summary": "Theirs."}
    )
    await door.send(other.envelope(incidents=[report]))
    told = await door.read(path)
    assert (told["incident"]["run"], told["incident"]["brain"]) == ("char-gpt", "server")
    await say(door, incident, "acknowledge", '{"by": "ada"}')
    await say(door, incident, "comment", '{"by": "ada", "comment": "Ours."}')
    listed = {one["run"]: one["acknowledged_by"] for one in (await door.read("/incidents"))["incidents"]}
    assert listed == {"char-gpt": "ada", "other": None}

    service = door.app.state.service
    made = make_token("theirs", ["read"], now=service.clock(), created_by="a test", project="elsewhere")
    with service.database.write() as connection:
        tokens.add(connection, made.row)
    service.keeper.forget()
    response = await door.client.get(f"/api/v1{path}", headers={"authorization": f"Bearer {made.word}"})
    told = response.json()
    assert (told["incident"]["run"], told["incident"]["brain"], told["remarks"]) == ("other", "local", [])


async def test_an_incidents_findings_are_its_own_however_many_came_after(door: Door) -> None:
    trainer, incident = await trouble(door)
    mine = (await door.read(f"/incidents/{incident['incident_id']}"))["findings"]
    later = [
        Finding.model_validate(mine[0] | {"step": step, "onset_step": step}, extra="ignore")
        for step in range(10_000, 10_200)
    ]
    service = door.app.state.service
    with service.database.write() as connection:
        reports.add_findings(connection, trainer.run_id, later, "server", service.clock() + 1.0)
    assert (await door.read(f"/incidents/{incident['incident_id']}"))["findings"] == mine
    newest = (await door.read(f"/runs/{trainer.run_id}/findings", limit=3))["findings"]
    assert [one["step"] for one in newest] == [10_197, 10_198, 10_199]


async def test_lists_keep_the_latest_in_order(door: Door) -> None:
    await door.register(trainer := Trainer(mode="act"))
    await door.send(trainer.steps([1.0] * 5))
    made = []
    for _ in range(3):
        response = await door.post(f"/runs/{trainer.run_id}/commands", '{"orders": [{"action": "save_now"}]}')
        command = Command.model_validate({name: response.json()[name] for name in Command.model_fields})
        await door.send(trainer.envelope(acknowledgements=[trainer.refuse(command)]))
        door.app.state.service.clock.now += 1.0
        made.append(str(command.command_id))
    for step in range(1, 4):
        measured = Evaluation(attempt=0, step=step, evaluated_at=float(step), values={"val_loss": 1.0})
        await door.send(trainer.envelope(evaluations=[measured]))
    path = f"/runs/{trainer.run_id}"
    assert [one["command_id"] for one in (await door.read(f"{path}/commands", limit=2))["commands"]] == made[1:]
    answers = (await door.read(f"{path}/acknowledgements", limit=2))["acknowledgements"]
    assert {one["command_id"] for one in answers} <= set(made)
    assert len(answers) == 2
    assert [one["step"] for one in (await door.read(f"{path}/evaluations", limit=2))["evaluations"]] == [2, 3]

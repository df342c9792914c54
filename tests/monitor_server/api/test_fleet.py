"""All runs at once: projects, searching, and what incidents cost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.monitor_server.api.door import Door, problem
from tests.monitor_server.service import HEALTHY, Clock, Trainer


async def names(door: Door, search: str) -> list[str]:
    return sorted(run["run"] for run in (await door.read("/runs", search=search))["runs"])


async def test_runs_are_found_by_words_of_name_project_and_tags(door: Door) -> None:
    for description in (
        {"run": "Char-GPT", "project": "language", "tags": {"team": "NL", "seed": "7"}},
        {"run": "vit_100%", "project": "vision", "tags": {"seed": "17", 'qu"ote': "a=b"}},
        {"run": "plain", "project": "language"},
    ):
        await door.register(Trainer(**description))
    assert await names(door, "") == ["Char-GPT", "plain", "vit_100%"]
    assert await names(door, "gpt") == ["Char-GPT"]
    assert await names(door, "LANG") == ["Char-GPT", "plain"]
    assert await names(door, "language nl") == ["Char-GPT"]
    assert await names(door, "seed=7") == ["Char-GPT"]
    assert await names(door, "17") == ["vit_100%"]
    assert await names(door, "0%") == ["vit_100%"]
    assert await names(door, "t_1") == ["vit_100%"]
    assert await names(door, "h_r") == [], "no wildcard"
    assert await names(door, "'; drop table runs; --") == []
    problem(await door.client.get("/api/v1/runs", params={"search": "x" * 201}), 422, "invalid_request")


async def test_projects_are_counted(door: Door) -> None:
    for name, project, state in (("a", "x", "finished"), ("b", "x", "running"), ("c", "<y>", "failed")):
        trainer = Trainer(run=name, project=project)
        await door.register(trainer)
        await door.send(trainer.steps([1.0], state=state))
    assert (await door.read("/projects"))["projects"] == [
        {"project": "<y>", "runs": 1, "living": 0},
        {"project": "x", "runs": 2, "living": 1},
    ]


async def test_an_empty_fleet_has_lost_nothing(door: Door) -> None:
    told = await door.read("/fleet")
    assert (told["tallies"], told["steps_lost"], told["steps_saved"], told["is_complete"]) == ([], 0, 0, True)


async def rescued(door: Door, **description: Any) -> Trainer:
    trainer = Trainer(**description)
    receipt, known = await door.diverge(trainer)
    await door.send(trainer.obey(receipt.commands[0], known))
    for _ in range(6):
        await door.send(trainer.steps(HEALTHY[:100]))
    return trainer


async def test_what_incidents_cost_and_what_was_kept(door: Door, clock: Clock) -> None:
    trainer = await rescued(door, project="x")
    clock.now += 1000
    await door.diverge(Trainer(project="y", mode="observe"))
    told = await door.read("/fleet", project="x")
    (tally,) = [one for one in told["tallies"] if one["kind"] == "divergence"]
    assert (tally["incidents"], tally["recovered"], tally["living"], tally["runs"]) == (1, 1, 0, 1)
    assert tally["cause"]
    assert tally["steps_lost"] == told["steps_lost"] == 140
    assert told["runs_saved"] == 1
    assert 0 < told["steps_saved"] < trainer.step
    everything = await door.read("/fleet")
    assert everything["runs"]["running"] == 2
    assert sum(one["living"] for one in everything["tallies"] if one["kind"] == "divergence") == 1
    recent = await door.read("/fleet", seconds=500)
    assert (recent["runs_saved"], [one["kind"] for one in recent["tallies"]]) == (0, ["divergence"])


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "1e99", "soon"])
async def test_a_time_that_is_none_is_refused(door: Door, seconds: str) -> None:
    problem(await door.client.get("/api/v1/fleet", params={"seconds": seconds}), 422, "invalid_request")

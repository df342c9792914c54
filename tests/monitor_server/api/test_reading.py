"""What people and programs read: lists with filters and cursors, charts that lose no spike, history that stays."""

from __future__ import annotations

import base64
import json
import math
from typing import Any
from uuid import UUID

import pytest

from tests.monitor_server.api.door import Door, fields, problem
from tests.monitor_server.service import DIVERGING, HEALTHY, Clock, Trainer, block_of
from trainguard.wire import Evaluation


async def names(door: Door, **query: Any) -> list[str]:
    return [run["run"] for run in (await door.read("/runs", **query))["runs"]]


async def test_runs_are_listed_the_latest_first_and_filtered(door: Door, clock: Clock) -> None:
    for name, project, state in (("a", "x", "finished"), ("b", "x", "running"), ("c", "y", "failed")):
        trainer = Trainer(run=name, project=project)
        await door.register(trainer)
        await door.send(trainer.steps([1.0], state=state))
        clock.now += 1
    assert await names(door) == ["c", "b", "a"]
    assert await names(door, project="x") == ["b", "a"]
    assert await names(door, state="running") == ["b"]
    assert await names(door, state=["failed", "finished"]) == ["c", "a"]
    assert await names(door, name="a") == ["a"]
    assert await names(door, name="a", project="y") == []


async def test_pages_meet_without_gap_or_overlap_even_where_runs_registered_at_once(door: Door) -> None:
    for number in range(7):
        await door.register(Trainer(run=str(number)))
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for expected in (3, 3, 1):
        page = await door.read("/runs", limit=3, **cursor)
        assert len(page["runs"]) == expected
        seen += [run["run"] for run in page["runs"]]
        cursor = {"cursor": page["next"]}
    assert page["next"] is None
    assert sorted(seen) == [str(number) for number in range(7)]


def forged(key: object) -> str:
    """A cursor of runs as the service would make it, had it such a key."""
    return base64.urlsafe_b64encode(json.dumps([key, str(UUID(int=5))]).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=many", "limit"),
        ("limit=99999999999999999999999999", "limit"),
        ("state=asleep", "state.0"),
        ("cursor=%00", "cursor"),
        ("cursor=zzzz", "cursor"),
        ("cursor=W10", "cursor"),
        ("cursor=WzFlOTk5LCAiYSJd", "cursor"),
        (f"cursor={forged(10**320)}", "cursor"),
        (f"sort=name&cursor={forged(chr(0xD800))}", "cursor"),
        ("loss_points=1000", "loss_points"),
    ],
)
async def test_a_bad_query_is_refused_by_parameter(door: Door, query: str, field: str) -> None:
    assert fields(problem(await door.client.get(f"/api/v1/runs?{query}"), 422, "invalid_request")) == [field]


async def test_a_list_of_runs_may_come_with_their_recent_loss(door: Door) -> None:
    trainer, silent = Trainer(run="told"), Trainer(run="silent")
    await door.register(trainer)
    await door.register(silent)
    await door.send(trainer.steps([3.0, math.nan, 2.0]))
    told = {run["run"]: run["recent_loss"] for run in (await door.read("/runs", loss_points=50))["runs"]}
    assert told == {"told": {"steps": [0, 1, 2], "values": [3.0, "NaN", 2.0]}, "silent": {"steps": [], "values": []}}
    assert (await door.read("/runs"))["runs"][0]["recent_loss"] is None


async def test_a_chart_keeps_the_spike_and_the_nan_of_a_bucket(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    losses = [1.0] * 1000
    losses[517], losses[733], losses[890] = 500.0, math.nan, math.inf
    await door.send(trainer.envelope(blocks=[block_of(0, 0, losses)]))
    (attempt,) = (await door.read(f"/runs/{trainer.run_id}/observations", points=100))["attempts"]
    loss = attempt["signals"]["loss"]
    assert len(attempt["first_steps"]) == 100
    assert sum(attempt["counts"]) == 1000
    assert (loss["maximum"][51], loss["minimum"][51]) == (500.0, 1.0)
    assert (loss["nan_count"][73], loss["maximum"][89], sum(loss["nan_count"])) == (1, "Infinity", 1)
    part = await door.read(f"/runs/{trainer.run_id}/observations", from_step=510, to_step=520)
    assert part["attempts"][0]["first_steps"] == list(range(510, 521))
    assert part["attempts"][0]["signals"]["loss"]["mean"][7] == 500.0


async def test_rows_hold_every_signal_and_come_in_pages(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    block = block_of(0, 0, [1.0] * 5, grad_norm=[0.5, None, None, None, 0.7], mine=[1, 2, None, 4, math.inf])
    await door.send(trainer.envelope(blocks=[block]))
    rows: list[Any] = []
    cursor: dict[str, str] = {}
    for expected in (2, 2, 1):
        page = await door.read(f"/runs/{trainer.run_id}/observations/rows", limit=2, **cursor)
        assert len(page["rows"]) == expected
        rows += page["rows"]
        cursor = {"cursor": page["next"]}
    assert page["next"] is None
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[0]["signals"] == {"loss": 1.0, "grad_norm": 0.5, "mine": 1.0}
    assert rows[2]["signals"] == {"loss": 1.0}
    assert rows[4]["signals"] == {"loss": 1.0, "grad_norm": 0.7, "mine": "Infinity"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("signals=loss,mine", "signals"),
        ("points=0", "points"),
        ("from_step=-1", "from_step"),
        (f"to_step={2**60}", "to_step"),
        (f"attempt={2**40}", "attempt"),
    ],
)
async def test_a_bad_range_is_refused_by_parameter(door: Door, query: str, field: str) -> None:
    trainer = Trainer()
    await door.register(trainer)
    response = await door.client.get(f"/api/v1/runs/{trainer.run_id}/observations?{query}")
    assert fields(problem(response, 422, "invalid_request")) == [field]


async def test_after_a_rollback_everything_is_there_to_read(door: Door) -> None:
    trainer = Trainer()
    receipt, known = await door.diverge(trainer)
    await door.send(trainer.obey(receipt.commands[0], known))
    evaluation = Evaluation(attempt=1, step=200, evaluated_at=1.0, values={"val_loss": math.nan})
    await door.send(trainer.steps(HEALTHY[:200], evaluations=[evaluation]))
    path = f"/runs/{trainer.run_id}"

    run = await door.read(path)
    assert (run["attempt"], run["step"], run["rollbacks"], run["lr_scale"]) == (1, 399, 1, 0.5)
    assert run["active_incident"] is None
    assert run["description"]["run"] == "char-gpt"
    attempts = (await door.read(f"{path}/attempts"))["attempts"]
    assert [(one["attempt"], one["parent"], one["start_step"], one["reason"]) for one in attempts] == [
        (0, None, 0, "start"),
        (1, 0, 200, "rollback"),
    ]
    (incident,) = (await door.read(f"{path}/incidents"))["incidents"]
    assert (incident["kind"], incident["state"], incident["run"]) == ("divergence", "resolved", "char-gpt")
    assert (await door.read("/incidents"))["incidents"] == [incident]
    assert (await door.read("/incidents", state="resolved", kind="divergence"))["incidents"] == [incident]
    assert (await door.read("/incidents", state="open"))["incidents"] == []
    (decision,) = (await door.read(f"{path}/decisions", incident_id=incident["incident_id"]))["decisions"]
    assert decision["reason"].startswith("Roll back to the confirmed checkpoint of step 200")
    (command,) = (await door.read(f"{path}/commands"))["commands"]
    assert (command["command_id"], command["state"]) == (decision["command_id"], "applied")
    (answer,) = (await door.read(f"{path}/acknowledgements"))["acknowledgements"]
    assert (answer["command_id"], answer["status"]) == (command["command_id"], "applied")
    assert [one["step"] for one in (await door.read(f"{path}/checkpoints"))["checkpoints"]] == [0, 200]
    assert (await door.read(f"{path}/evaluations"))["evaluations"][0]["values"] == {"val_loss": "NaN"}
    findings = (await door.read(f"{path}/findings", source="server"))["findings"]
    assert {one["kind"] for one in findings} >= {"divergence"}
    abandoned, kept = (await door.read(f"{path}/observations", points=5000))["attempts"]
    assert (len(abandoned["counts"]), kept["first_steps"][0], len(kept["counts"])) == (
        len(HEALTHY) + len(DIVERGING),
        200,
        200,
    )


@pytest.mark.parametrize(
    "part",
    [
        "",
        "/observations",
        "/observations/rows",
        "/attempts",
        "/findings",
        "/incidents",
        "/decisions",
        "/commands",
        "/acknowledgements",
        "/checkpoints",
        "/evaluations",
    ],
)
async def test_an_unknown_run_has_nothing_to_read(door: Door, part: str) -> None:
    unknown = Trainer()
    problem(await door.client.get(f"/api/v1/runs/{unknown.run_id}{part}"), 404, "unknown_run")
    assert fields(problem(await door.client.get(f"/api/v1/runs/mine{part}"), 422, "invalid_request")) == ["run_id"]
    await door.register(unknown)
    assert (await door.client.get(f"/api/v1/runs/{unknown.run_id}{part}")).status_code == 200


async def test_whatever_a_run_sends_can_be_drawn(door: Door) -> None:
    await door.register(trainer := Trainer())
    block = block_of(0, 0, [1.0] * 400, **{"reward/mean": [float(step % 10) for step in range(400)]})
    trainer.step = 400
    await door.send(trainer.envelope(blocks=[block]))
    path = f"/runs/{trainer.run_id}/observations"
    (attempt,) = (await door.read(path, signals="reward/mean,loss", points=10))["attempts"]
    assert list(attempt["signals"]) == ["loss", "reward/mean"]
    drawn = attempt["signals"]["reward/mean"]
    assert set(drawn["minimum"]) == {0.0}
    assert set(drawn["maximum"]) == {9.0}
    assert drawn["nan_count"] == [0] * len(drawn["mean"])
    response = await door.client.get(f"/api/v1{path}", params={"signals": "reward/maen"})
    (error,) = problem(response, 422, "invalid_request")["errors"]
    assert error["field"] == "signals"
    assert "'reward/maen' is nothing that this run measures" in error["message"]
    assert error["message"].endswith("reward/mean")

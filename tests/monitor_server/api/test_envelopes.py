"""Envelopes at the door: good ones are recorded, bad ones are told what to mend, and never harm a neighbour."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from monitor_server.settings import Settings
from tests.monitor_server.api.door import JSON, Door, fields, opened, problem
from tests.monitor_server.service import Clock, Trainer, block_of
from trainguard.wire import Receipt

GZIP = {**JSON, "content-encoding": "gzip"}


def with_block(trainer: Trainer, **changes: Any) -> bytes:
    """The trainer's next envelope, with a block whose JSON is changed."""
    told = json.loads(trainer.steps([1.0, 2.0]).model_dump_json())
    told["blocks"][0].update(changes)
    return json.dumps(told).encode()


def changed(trainer: Trainer, **changes: Any) -> bytes:
    return json.dumps({**json.loads(trainer.steps([1.0, 2.0]).model_dump_json()), **changes}).encode()


async def losses(door: Door, trainer: Trainer) -> list[Any]:
    told = await door.read(f"/runs/{trainer.run_id}/observations/rows")
    return [row["signals"].get("loss") for row in told["rows"]]


async def test_an_envelope_is_recorded_once_and_its_repetition_recognised(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    envelope = trainer.steps([2.0, 1.9])
    first, again = await door.send(envelope), await door.send(envelope)
    assert (first.status, again.status, first.sequence, again.sequence) == ("recorded", "duplicate", 1, 1)
    assert await losses(door, trainer) == [2.0, 1.9]


async def test_gzip_is_unpacked(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    body = gzip.compress(trainer.steps([2.0, 1.9]).model_dump_json().encode())
    response = await door.post(f"/runs/{trainer.run_id}/envelopes", body, GZIP)
    assert Receipt.model_validate_json(response.content).status == "recorded"
    assert await losses(door, trainer) == [2.0, 1.9]


@pytest.mark.parametrize("written", ["{0}", "urn:uuid:{0}", "{0.hex}"], ids=["usual", "urn", "digits"])
@pytest.mark.parametrize("case", [str.lower, str.upper])
async def test_an_id_is_one_however_it_is_written(door: Door, written: str, case: Callable[[str], str]) -> None:
    trainer = Trainer()
    await door.register(trainer)
    path = written.format(trainer.run_id) if "urn" in written else case(written.format(trainer.run_id))
    response = await door.post(f"/runs/{path}/envelopes", trainer.steps([2.0]))
    assert response.status_code == 200, response.text
    assert await losses(door, trainer) == [2.0]


@pytest.mark.parametrize("path", ["7", "{00000000-0000-0000-0000-000000000000", "0-0-0-0-0"])
async def test_what_is_no_id_is_refused_by_its_name(door: Door, path: str) -> None:
    response = await door.post(f"/runs/{path}/envelopes", Trainer().steps([2.0]))
    assert "run_id" in fields(problem(response, 422, "invalid_request"))[0]


async def test_envelopes_are_posted(door: Door) -> None:
    response = await door.client.get(f"/api/v1/runs/{uuid4()}/envelopes")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("spelling", "read"),
    [
        ('"NaN"', "NaN"),
        ("NaN", "NaN"),
        ('"nan"', "NaN"),
        ('"NAN"', "NaN"),
        ('"Infinity"', "Infinity"),
        ("Infinity", "Infinity"),
        ('"inf"', "Infinity"),
        ("1e999", "Infinity"),
        ('"-Infinity"', "-Infinity"),
        ("-Infinity", "-Infinity"),
        ('"-inf"', "-Infinity"),
        ("null", None),
        ("7", 7.0),
        (str(10**300), 1e300),
    ],
)
async def test_every_spelling_of_a_number_is_recorded_and_told_in_one(door: Door, spelling: str, read: Any) -> None:
    trainer = Trainer()
    await door.register(trainer)
    body = trainer.steps([123.25]).model_dump_json().replace("123.25", spelling)
    response = await door.post(f"/runs/{trainer.run_id}/envelopes", body)
    assert response.status_code == 200, response.text
    assert await losses(door, trainer) == [read]
    run = await door.read(f"/runs/{trainer.run_id}")
    assert run["loss"] == read
    buckets = (await door.read(f"/runs/{trainer.run_id}/observations"))["attempts"][0]["signals"]["loss"]
    assert buckets["maximum"] == [None if read == "NaN" else read]
    assert buckets["nan_count"] == [int(read == "NaN")]


BAD_BLOCKS: dict[str, tuple[dict[str, Any], str, str]] = {
    "unequal columns": ({"signals": {"loss": [1.0]}}, "blocks.0", "signals.loss has 1 values for 2 steps"),
    "unequal times": ({"observed_at": [1.0, 2.0, 3.0]}, "blocks.0", "observed_at has 3 values for 2 steps"),
    "falling steps": ({"steps": [2, 1]}, "blocks.0", "steps must rise strictly"),
    "no steps": ({"steps": []}, "blocks.0.steps", "at least 1"),
    "a negative step": ({"steps": [-1, 2]}, "blocks.0.steps.0", "greater than or equal to 0"),
    "a huge step": ({"steps": [1, 10**30]}, "blocks.0.steps.1", ""),
    "an endless step": ({"steps": [1, 10**4000]}, "blocks.0.steps.1", ""),
    "a step that is text": ({"steps": ["one", 2]}, "blocks.0.steps.0", "integer"),
    "a loss that is text": ({"signals": {"loss": ["high", 2.0]}}, "blocks.0.signals.loss.0", "number"),
    "a loss that is a list": ({"signals": {"loss": [[1.0], 2.0]}}, "blocks.0.signals.loss.0", "number"),
    "a column that is a number": ({"signals": {"loss": 3}}, "blocks.0.signals.loss", "array"),
    "a nameless signal": ({"signals": {"": [1.0, 2.0]}}, "blocks.0.signals", ""),
    "a time that is NaN": ({"observed_at": ["NaN", 2.0]}, "blocks.0.observed_at.0", "finite"),
    "a later attempt": ({"attempt": 3}, "blocks.0.attempt", "later than the envelope's own attempt"),
    "a huge attempt": ({"attempt": 2**40}, "blocks.0.attempt", ""),
}


@pytest.mark.parametrize("case", BAD_BLOCKS)
async def test_a_bad_block_is_refused_by_field_and_the_next_envelope_is_recorded(door: Door, case: str) -> None:
    changes, field, words = BAD_BLOCKS[case]
    trainer, *neighbours = (Trainer() for _ in range(4))
    for one in (trainer, *neighbours):
        await door.register(one)
    await door.send(trainer.steps([9.0]))
    bad = door.post(f"/runs/{trainer.run_id}/envelopes", with_block(trainer, **changes))
    refused, _ = await asyncio.gather(bad, asyncio.gather(*(door.send(one.steps([7.0])) for one in neighbours)))
    told = problem(refused, 422, "invalid_envelope")
    assert fields(told)[0].startswith(field)
    assert words in told["detail"]
    trainer.sequence, trainer.step = 1, 1
    assert (await door.send(trainer.steps([8.0]))).status == "recorded"
    assert await losses(door, trainer) == [9.0, 8.0]
    assert [await losses(door, one) for one in neighbours] == [[7.0]] * 3


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sequence": 0}, "sequence"),
        ({"sequence": 2**60}, "sequence"),
        ({"sequence": "first"}, "sequence"),
        ({"sender": None}, "sender"),
        ({"state": "asleep"}, "state"),
        ({"blocks": {}}, "blocks"),
        ({"sent_at": "Infinity"}, "sent_at"),
        ({"observations_lost": -1}, "observations_lost"),
        ({"evaluations": [{"attempt": 0, "step": 1, "evaluated_at": 1, "values": {}}]}, "evaluations.0.values"),
        ({"findings": [{"kind": "gremlins"}]}, "findings.0.kind"),
        (
            {"attempts": [{"attempt": 0, "parent": 0, "start_step": 0, "reason": "start", "began_at": 0}]},
            "attempts.0.parent",
        ),
    ],
)
async def test_a_bad_envelope_is_refused_by_field(door: Door, changes: dict[str, Any], field: str) -> None:
    trainer = Trainer()
    await door.register(trainer)
    response = await door.post(f"/runs/{trainer.run_id}/envelopes", changed(trainer, **changes))
    assert field in fields(problem(response, 422, "invalid_envelope"))
    assert await losses(door, trainer) == []


async def test_counts_beyond_all_reason_are_taken_and_never_break_an_answer(door: Door) -> None:
    trainer = Trainer(total_steps=10**400)
    await door.register(trainer)
    assert (await door.send(trainer.steps([1.0], observations_lost=10**300))).status == "recorded"
    assert (await door.send(trainer.steps([1.0], observations_lost=10**301))).status == "recorded"
    assert (await door.read(f"/runs/{trainer.run_id}"))["observations_lost"] >= 2**62
    assert "trainguard_run_observations_lost_total" in await door.metrics()


async def test_ten_thousand_mistakes_are_told_briefly(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    body = with_block(trainer, steps=list(range(10_000)), signals={"loss": ["x"] * 10_000})
    response = await door.post(f"/runs/{trainer.run_id}/envelopes", body)
    told = problem(response, 422, "invalid_envelope")
    assert len(told["errors"]) == 20
    assert "more)" in told["detail"]
    assert len(response.content) < 10_000


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"{", "EOF"),
        (b'{"run_id": }', "expected value"),
        (b'{"run": "\xff\xfe"}', "unicode"),
        (b'{"run": "\\ud800"}', "hex escape"),
        (b"[" * 100_000, "recursion"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "recursion"),
        (b"\x1f\x8b rubbish", "expected value"),
    ],
)
async def test_what_is_no_json_is_refused(door: Door, body: bytes, words: str) -> None:
    trainer = Trainer()
    await door.register(trainer)
    response = await door.post(f"/runs/{trainer.run_id}/envelopes", body)
    assert words in problem(response, 400, "malformed_json")["detail"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"no gzip at all", "no gzip"),
        (gzip.compress(b"{}", mtime=0)[:-4], "cut short"),
        (gzip.compress(b"{}", mtime=0)[:5], "cut short"),
        (gzip.compress(b"{}", mtime=0) + b"more", "goes on after its end"),
        (gzip.compress(b"{}", mtime=0)[:-8] + b"\x00" * 8, "no gzip"),
    ],
)
async def test_a_broken_gzip_is_refused(door: Door, body: bytes, words: str) -> None:
    response = await door.post(f"/runs/{uuid4()}/envelopes", body, GZIP)
    assert words in problem(response, 400, "malformed_gzip")["detail"]


async def test_an_unknown_encoding_and_another_type_are_refused(door: Door) -> None:
    path = f"/runs/{uuid4()}/envelopes"
    response = await door.post(path, b"{}", {**JSON, "content-encoding": "zstd"})
    assert "zstd" in problem(response, 415, "unsupported_encoding")["detail"]
    assert response.headers["accept-encoding"] == "gzip"
    # What a page of another site can send without being asked:
    problem(await door.post(path, b"{}", {"content-type": "text/plain"}), 415, "unsupported_media_type")
    problem(await door.post(path, b"{}", {}), 415, "unsupported_media_type")


async def test_a_body_over_the_limit_is_refused_as_it_arrives_and_as_it_is_unpacked(
    settings: Settings, clock: Clock
) -> None:
    small = settings.model_copy(update={"max_body_bytes": 2000, "max_decompressed_bytes": 5000})
    trainer = Trainer()
    async with opened(small, clock) as door:
        await door.register(trainer)
        path = f"/runs/{trainer.run_id}/envelopes"
        at_limit = await door.post(path, b" " * 2000)
        assert "empty" in problem(at_limit, 400, "malformed_json")["detail"]
        assert "2000" in problem(await door.post(path, b" " * 2001), 413, "body_too_large")["detail"]
        assert "2000" in problem(await door.post(path, b" " * 10**6), 413, "body_too_large")["detail"]
        bomb = gzip.compress(b" " * 1_000_000)
        assert len(bomb) < 2000
        assert "5000" in problem(await door.post(path, bomb, GZIP), 413, "body_too_large")["detail"]
        assert (await door.send(trainer.steps([1.0]))).status == "recorded"


async def test_an_unknown_run_is_told_to_register(door: Door) -> None:
    trainer = Trainer()
    envelope = trainer.steps([1.0])
    told = problem(await door.post(f"/runs/{trainer.run_id}/envelopes", envelope), 404, "unknown_run")
    assert "POST its description to /api/v1/runs" in told["detail"]
    await door.register(trainer)
    assert (await door.send(envelope)).status == "recorded"


async def test_an_envelope_goes_to_its_own_run(door: Door) -> None:
    trainer, other = Trainer(), Trainer()
    await door.register(other)
    told = problem(await door.post(f"/runs/{other.run_id}/envelopes", trainer.steps([1.0])), 422, "invalid_envelope")
    assert fields(told) == ["run_id"]
    told = problem(await door.post("/runs/mine/envelopes", trainer.steps([1.0])), 422, "invalid_request")
    assert fields(told) == ["run_id"]


async def test_an_older_attempt_is_accepted_as_history(door: Door) -> None:
    trainer = Trainer()
    receipt, known = await door.diverge(trainer)
    await door.send(trainer.obey(receipt.commands[0], known))
    late = block_of(0, 340, [77.0, math.nan])
    assert (await door.send(trainer.envelope(attempt=0, revision=0, blocks=[late]))).status == "recorded"
    run = await door.read(f"/runs/{trainer.run_id}")
    assert (run["attempt"], run["rollbacks"], run["active_incident"]["state"]) == (1, 1, "watching")
    abandoned = (await door.read(f"/runs/{trainer.run_id}/observations/rows", attempt=0, from_step=340))["rows"]
    assert [row["signals"]["loss"] for row in abandoned] == [77.0, "NaN"]


async def test_commands_are_repeated_until_they_are_answered(door: Door) -> None:
    trainer = Trainer()
    receipt, known = await door.diverge(trainer)
    again = await door.send(trainer.envelope())
    assert receipt.commands == again.commands != []
    after = await door.send(trainer.obey(receipt.commands[0], known))
    assert after.commands == []
    told = (await door.read(f"/runs/{trainer.run_id}/commands"))["commands"]
    assert [(one["command_id"], one["state"]) for one in told] == [(str(receipt.commands[0].command_id), "applied")]

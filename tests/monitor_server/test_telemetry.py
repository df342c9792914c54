"""/metrics says what the rules and dashboards ask for, at once after a restart, and no longer than a run lives."""

from __future__ import annotations

import math
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor_server.settings import Settings
from tests.dashboards.fake_exporter import ALARMING, COUNTERS, metric_names
from tests.monitor_server.api.door import Door, opened
from tests.monitor_server.service import HEALTHY, Clock, Trainer, block_of

SERIES_OF_A_RUN = 26
"""As docs/monitoring.md says."""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def settings(migrated_sqlite: Path, tmp_path: Path) -> Settings:
    path = tmp_path / "trainguard.db"
    shutil.copyfile(migrated_sqlite, path)
    return Settings(database=f"sqlite:///{path}")


@pytest.fixture
async def door(settings: Settings, clock: Clock) -> AsyncIterator[Door]:
    async with opened(settings, clock) as door:
        yield door


async def samples(door: Door) -> Samples:
    families = text_string_to_metric_families(await door.metrics())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def of(trainer: Trainer, name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    described = trainer.description()
    run = {"project": described.project, "run": described.run, "run_id": str(trainer.run_id)}
    return f"trainguard_run_{name}", frozenset({**run, **labels}.items())


async def test_every_name_that_rules_and_dashboards_use_is_there(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    block = block_of(0, 0, [1.0], grad_norm=[1.0], update_ratio=[1e-3], learning_rate=[3e-4], step_seconds=[0.1])
    await door.send(trainer.envelope(blocks=[block]))
    incidents = {"trainguard_run_active_incidents"}  # only while there are any
    assert metric_names() - incidents <= {name for name, _ in await samples(door)}


async def test_counters_stand_at_zero_from_registration_on(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    told = await samples(door)
    for name in COUNTERS:
        assert told[of(trainer, f"{name}_total")] == 0
    for kind, severities in ALARMING.items():
        for severity in severities:
            assert told[of(trainer, "findings_total", kind=kind, severity=severity)] == 0
    assert told[of(trainer, "last_observation_timestamp_seconds")] == 0
    assert of(trainer, "loss") not in told


async def test_a_divergence_and_its_cure_are_counted_and_survive_a_restart(settings: Settings, clock: Clock) -> None:
    trainer = Trainer()
    async with opened(settings, clock) as door:
        receipt, known = await door.diverge(trainer)
        told = await samples(door)
        assert told[of(trainer, "active_incidents", kind="divergence")] == 1
        assert told[of(trainer, "findings_total", kind="divergence", severity="critical")] >= 1
        await door.send(trainer.obey(receipt.commands[0], known))
        await door.send(trainer.steps(HEALTHY[:200]))
        before = await samples(door)
    async with opened(settings, clock) as door:
        after = await samples(door)
    of_runs = [key for key in before if key[0].startswith("trainguard_run")]
    assert {key: after[key] for key in of_runs} == {key: before[key] for key in of_runs}
    assert after[of(trainer, "rollbacks_total")] == 1
    assert after[of(trainer, "attempt")] == 1
    assert after[of(trainer, "lr_scale")] == 0.5
    assert after[of(trainer, "step")] == 399
    assert after[of(trainer, "observations_total")] == 540
    assert of(trainer, "active_incidents", kind="divergence") not in after


async def test_a_healthy_run_has_few_series(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    block = block_of(0, 0, [1.0], grad_norm=[1.0], update_ratio=[1e-3], learning_rate=[3e-4], step_seconds=[0.1])
    await door.send(trainer.envelope(blocks=[block]))
    mine = [labels for _, labels in await samples(door) if ("run_id", str(trainer.run_id)) in labels]
    assert len(mine) == SERIES_OF_A_RUN


async def test_of_too_many_runs_those_with_an_incident_are_told_and_then_the_latest(
    settings: Settings, clock: Clock
) -> None:
    async with opened(settings.model_copy(update={"metrics_runs": 2}), clock) as door:
        troubled, old, new = Trainer(), Trainer(), Trainer()
        await door.diverge(troubled)
        for trainer in (old, new):
            clock.now += 10
            await door.register(trainer)
        page = await door.metrics()
        assert [str(one.run_id) in page for one in (troubled, old, new)] == [True, False, True]
        told = await samples(door)
        assert told["trainguard_runs_left_out", frozenset()] == 1
        assert told["trainguard_runs", frozenset({("state", "running")})] == 3


async def test_a_remedy_that_failed_is_counted(door: Door) -> None:
    trainer = Trainer()
    receipt, _ = await door.diverge(trainer)
    (command,) = receipt.commands
    answer = trainer.refuse(command).model_copy(update={"status": "failed", "reason": "No checkpoint could be read."})
    await door.send(trainer.envelope(acknowledgements=[answer]))
    assert (await samples(door))[of(trainer, "failed_recoveries_total")] == 1


async def test_the_applied_rate_is_the_scheduled_one_times_the_multiplier(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    block = block_of(0, 0, [1.0], learning_rate=[4e-4], lr_scale=[0.25])
    await door.send(trainer.envelope(blocks=[block]))
    told = await samples(door)
    assert told[of(trainer, "learning_rate")] == 4e-4
    assert told[of(trainer, "learning_rate_applied")] == pytest.approx(1e-4)


async def test_a_loss_that_is_no_number_is_told_as_such(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    await door.send(trainer.steps([1.0, math.nan]))
    assert math.isnan((await samples(door))[of(trainer, "loss")])
    await door.send(trainer.steps([math.inf]))
    assert (await samples(door))[of(trainer, "loss")] == math.inf


async def test_gauges_end_with_the_run_and_counters_a_little_later(
    door: Door, settings: Settings, clock: Clock
) -> None:
    trainer = Trainer()
    await door.register(trainer)
    await door.send(trainer.steps([1.0]))
    await door.send(trainer.envelope(state="finished"))
    told = await samples(door)
    assert of(trainer, "loss") not in told
    assert told[of(trainer, "observations_total")] == 1
    assert told["trainguard_runs", frozenset({("state", "finished")})] == 1
    clock.now += settings.metrics_linger_seconds + 1
    assert str(trainer.run_id) not in await door.metrics()


async def test_a_run_that_fell_silent_is_told_of_for_a_day(door: Door, settings: Settings, clock: Clock) -> None:
    trainer = Trainer()
    await door.register(trainer)
    await door.send(trainer.steps([1.0]))
    clock.now += settings.metrics_forget_after_seconds - 1
    assert of(trainer, "last_observation_timestamp_seconds") in await samples(door)
    clock.now += 2
    assert str(trainer.run_id) not in await door.metrics()


async def test_envelopes_are_counted_by_their_answer(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    envelope = trainer.steps([1.0])
    await door.send(envelope)
    await door.send(envelope)
    await door.post(f"/runs/{trainer.run_id}/envelopes", b"{")
    await door.post(f"/runs/{Trainer().run_id}/envelopes", envelope)
    told = await samples(door)
    answers = {status: told["trainguard_envelopes_total", frozenset({("status", status)})] for status in
               ("recorded", "duplicate", "refused", "failed")}  # fmt: skip
    assert answers == {"recorded": 1, "duplicate": 1, "refused": 2, "failed": 0}
    assert told["trainguard_envelope_seconds_count", frozenset()] == 4


async def test_names_cannot_break_out_of_their_label(door: Door) -> None:
    trainer = Trainer(run='a"} 1\\', project="{évil}")
    await door.register(trainer)
    assert (await samples(door))[of(trainer, "lr_scale")] == 1.0


async def test_openmetrics_is_spoken_to_who_asks_for_it(door: Door) -> None:
    await door.register(Trainer())
    response = await door.client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")
    assert "# TYPE trainguard_run_rollbacks counter" in response.text

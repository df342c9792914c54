from __future__ import annotations

from dataclasses import replace
from math import exp
from random import Random

import pytest

from tests.detectors.streams import alarms, changed, feed, healthy, moved, observation, of_losses, scaled
from trainguard.detectors.divergence import Divergence
from trainguard.detectors.snapshot import list_in
from trainguard.wire import Observation


def with_losses(stream: list[Observation], first: int, losses: list[float]) -> list[Observation]:
    for index, loss in enumerate(losses):
        stream = changed(stream, first + index, loss=loss)
    return stream


def test_a_shift_that_does_not_come_back_is_critical_within_a_few_points() -> None:
    [finding] = feed(Divergence(), scaled(healthy(), 300, loss=2.0))

    assert finding.severity == "critical"
    assert finding.onset_step == 300
    assert finding.step <= 306
    assert finding.evidence["loss_before"] == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize("onset", [60, 100, 140])
def test_it_sees_a_shift_early_in_a_short_run(onset: int) -> None:
    findings = feed(Divergence(), scaled(healthy(200, noise=0.05), onset, loss=2.0))

    assert findings[0].severity == "critical"
    assert abs(findings[0].onset_step - onset) <= 1
    assert findings[0].step <= onset + 10


@pytest.mark.parametrize("phase", range(8))
def test_the_onset_of_a_jump_is_its_first_step_wherever_the_blocks_of_the_trends_begin(phase: int) -> None:
    stream = healthy(360, noise=0.05)
    onset = 320 + phase
    findings = feed(Divergence(), [*stream[:onset], *scaled(stream, onset, loss=50_000.0)[onset:]])

    assert findings[0].severity == "critical"
    assert {finding.onset_step for finding in findings} == {onset}
    assert "drifting" not in findings[0].message


def test_growth_through_all_bounds_needs_no_patience() -> None:
    stream = with_losses(healthy(), 300, [6.0 * 4.0**index for index in range(20)])

    assert feed(Divergence(), stream)[0].step == 302


def test_a_spike_that_decays_is_not_divergence() -> None:
    stream = healthy()
    for index in range(40):
        stream = scaled(stream, 300 + index, 301 + index, loss=1 + 4.0 * 0.7**index)

    assert not feed(Divergence(), stream)


@pytest.mark.parametrize("seed", range(5))
def test_the_slow_divergence_that_no_published_rule_sees_is_found(seed: int) -> None:
    stream = healthy(1200, seed=seed, start=8.0, floor=2.5, noise=0.02)
    for index in range(600):
        point = stream[600 + index]
        risen = point.signals["loss"] + 0.004 * index
        stream[600 + index] = replace(point, signals={**point.signals, "loss": risen})

    findings = feed(Divergence(), stream)

    assert 650 < findings[0].step < 900
    assert 500 <= findings[0].onset_step <= 680
    assert findings[-1].severity == "critical"
    assert len(findings) == 2


def test_a_small_lasting_rise_is_a_warning_when_the_new_level_is_adopted() -> None:
    findings = feed(Divergence(), scaled(healthy(600), 300, loss=1.15))

    assert [one.severity for one in findings] == ["warning"]
    assert abs(findings[0].onset_step - 300) < 16


def test_a_jump_is_not_told_again_as_a_drift() -> None:
    assert len(feed(Divergence(), scaled(healthy(900), 300, loss=2.5))) == 1


def test_the_abandoned_branch_is_no_trend_of_the_new_one() -> None:
    diverged = scaled(healthy(500), 300, loss=1.5)
    again = moved(healthy(900)[300:], first_step=300, attempt=1)

    assert not [one for one in feed(Divergence(), [*diverged, *again]) if one.attempt == 1]


def test_a_slow_divergence_that_was_rolled_back_leaves_no_echo() -> None:
    drifting = healthy(800)
    for index in range(300, 800):
        drifting = scaled(drifting, index, index + 1, loss=1 + 0.0015 * (index - 300))
    again = moved(healthy(900)[300:], first_step=300, attempt=1)

    findings = feed(Divergence(), [*drifting, *again])

    assert {one.attempt for one in findings} == {0}


def test_a_loss_that_comes_and_goes_does_not_drift_until_it_goes_further_than_before() -> None:
    tide = [
        2.0 - 0.01 * step if step < 100 else 1.0 + 0.3 * abs(((step - 100) % 400) / 200 - 1) for step in range(2000)
    ]
    stream = with_losses(healthy(2000), 0, [loss + 0.02 * (step % 3) for step, loss in enumerate(tide)])
    told = [finding.step for finding in feed(Divergence(), stream)]

    assert not [step for step in told if step > 1000]

    further = scaled(stream, 1700)
    for index in range(1700, 2000):
        further = scaled(further, index, index + 1, loss=1 + 0.004 * (index - 1700))
    assert [finding for finding in feed(Divergence(), further) if finding.step > 1700]


def test_a_loss_that_has_only_ever_risen_has_no_level_to_drift_from() -> None:
    risen = [0.2 + 0.001 * step + 0.01 * (step % 3) for step in range(220)]

    assert not feed(Divergence(), with_losses(healthy(220), 0, risen))


@pytest.mark.parametrize("seed", range(3))
def test_a_small_rise_after_a_jump_of_the_rate_is_critical_and_the_jump_is_the_onset(seed: int) -> None:
    spoilt = scaled(scaled(healthy(seed=seed), 300, learning_rate=10.0), 301, loss=1.1)

    [finding] = feed(Divergence(), spoilt)

    assert (finding.severity, finding.onset_step) == ("critical", 300)
    assert finding.step <= 330
    assert finding.evidence["rate_factor"] == pytest.approx(10.0)
    assert not feed(Divergence(), scaled(healthy(seed=seed), 301, loss=1.04))


@pytest.mark.parametrize("factor", [0.1, 2.0, 10.0])
def test_a_jump_of_the_rate_that_does_no_harm_is_none(factor: float) -> None:
    assert not feed(Divergence(), scaled(healthy(), 300, learning_rate=factor))


def test_a_warm_restart_goes_back_to_rates_that_were_there_before() -> None:
    annealed = scaled(healthy(), 200, 300, learning_rate=0.01)

    assert not feed(Divergence(), scaled(annealed, 300, loss=1.1))


@pytest.mark.parametrize("noise", [0.08, 0.16])
def test_a_slow_drift_is_found_before_the_loss_is_a_quarter_up(noise: float) -> None:
    for seed in range(12):
        chance = Random(seed)
        losses = [3.5 * (1 + chance.gauss(0, noise)) + 0.004 * max(0, step - 500) for step in range(720)]

        [finding, *_] = alarms(feed(Divergence(), of_losses(losses)))

        assert 500 < finding.step < 500 + 0.25 * 3.5 / 0.004


def test_a_state_from_before_the_third_trend_is_taken() -> None:
    stream = of_losses([2.0 + 0.05 * (step % 4) + 0.004 * max(0, step - 400) for step in range(800)])
    before, after = Divergence(), Divergence()
    feed(before, stream[:300])
    memory = before.memory()
    fast, _, slow = list_in(memory, "trends")

    after.load_memory({**memory, "trends": [fast, slow]})

    kept = list_in(after.memory(), "trends")
    assert (kept[0], kept[2]) == (fast, slow)
    assert alarms(feed(after, stream[300:]))
    with pytest.raises(ValueError, match="holds 1 of 3 trends"):
        Divergence().load_memory({**memory, "trends": [fast]})


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scatter", [0.18, 0.3])
def test_noise_alone_is_never_critical(scatter: float, seed: int) -> None:
    """A remedy costs a healthy run its steps and its rate, and a long run has many stretches to be unlucky in."""
    chance = Random(seed)
    losses = [
        (1.1 + 2.9 * exp(-step / 300)) * exp(scatter * chance.gauss(0, 1) - scatter**2 / 2) for step in range(40_000)
    ]

    findings = feed(Divergence(), [observation(step, loss=loss) for step, loss in enumerate(losses)])

    assert not [one for one in findings if one.severity == "critical"]


@pytest.mark.parametrize("seed", range(3))
def test_a_loss_that_wanders_for_longer_than_a_block_is_hardly_ever_critical(seed: int) -> None:
    chance, wandering, stream = Random(seed), 0.0, []
    for step in range(40_000):
        wandering = 0.9 * wandering + (1 - 0.9**2) ** 0.5 * chance.gauss(0, 1)
        stream.append(observation(step, loss=(1.1 + 2.9 * exp(-step / 300)) * (1 + 0.1 * wandering)))

    assert len([one for one in feed(Divergence(), stream) if one.severity == "critical"]) <= 4


def restarted(rate_after: float, **beside: float) -> list[Observation]:
    """A schedule that has come down; at step 400 its rate goes up, and for 150 steps the loss with it."""
    random, stream = Random(5), []
    for step in range(700):
        since = step - 400
        level = 0.1 + 1.3 * exp(-step / 60) + (0.1 * min(since / 40, exp((40 - since) / 50)) if since > 0 else 0.0)
        rate = 0.1 * (1.02 - (step % 400) / 400) if step < 400 else rate_after
        signals = {"loss": level * exp(random.gauss(0, 0.05)), "learning_rate": rate}
        stream.append(observation(step, **signals, **(beside if step >= 400 else {})))
    return stream


def test_a_warm_restart_is_no_drift() -> None:
    assert feed(Divergence(), restarted(0.1)) == []
    # Without a rate nobody can know; above all that was borne, or not as the scheduler says, it is no restart.
    unknown = [observation(one.step, loss=one.signals["loss"]) for one in restarted(0.1)]
    assert alarms(feed(Divergence(), unknown))
    assert alarms(feed(Divergence(), restarted(0.5)))
    assert alarms(feed(Divergence(), restarted(0.1, announced_learning_rate=0.001)))


def test_a_run_that_does_not_bear_its_warm_restart_is_found() -> None:
    findings = feed(Divergence(), scaled(restarted(0.1), 404, loss=4.0))
    assert findings[0].severity == "critical"
    assert findings[0].step < 420
    drifts = [changed([one], 0, loss=one.signals["loss"] + 0.002 * max(0, one.step - 440))[0] for one in restarted(0.1)]
    assert alarms(feed(Divergence(), drifts))


def test_a_state_of_before_restarts_were_known_is_taken() -> None:
    detector = Divergence()
    feed(detector, restarted(0.1)[:350])
    memory = detector.memory()
    rates = memory.pop("rates")
    assert isinstance(rates, dict)
    older = Divergence()
    older.load_memory({**memory, "highest_rate": rates["highest"]})
    assert older.memory()["rates"] == {**rates, "last": 0.0, "visited": {"blocks": 0, "rates": []}}


def cyclic(seed: int = 5, cycles: int = 4) -> list[Observation]:
    """A triangular schedule from 0.004 to 0.04 over 800 steps; the loss goes up and down by a quarter with it."""
    random, stream = Random(seed), []
    for step in range(800 * cycles):
        height = 1 - abs(step % 800 - 400) / 400
        level = (0.7 + 0.2 * height) * (1 + 1.5 * exp(-step / 80))
        signals = {"loss": level * exp(random.gauss(0, 0.1)), "learning_rate": 0.004 + 0.036 * height}
        stream.append(observation(step, **signals))
    return stream


def test_a_loss_that_goes_up_and_down_with_its_rate_does_not_drift() -> None:
    for seed in range(6):
        later = [one for one in feed(Divergence(), cyclic(seed)) if one.step > 800]
        assert later == [], seed
    # Without a rate nobody can know.
    unknown = [observation(one.step, loss=one.signals["loss"]) for one in cyclic()]
    assert [one for one in alarms(feed(Divergence(), unknown)) if one.step > 800]


def test_a_drift_in_a_cyclical_schedule_is_found() -> None:
    for seed in range(6):
        stream = [
            changed([one], 0, loss=one.signals["loss"] * (1 + 0.003 * max(0, one.step - 1500)))[0]
            for one in cyclic(seed)
        ]
        found = [one for one in alarms(feed(Divergence(), stream)) if one.step > 1500]
        assert found, seed
        assert found[0].step < 1900, seed


def test_a_rate_that_was_lowered_and_comes_back_excuses_no_relapse() -> None:
    """Good at this rate before the trouble, then a rollback, half the rate, and the whole of it again."""
    random, detector = Random(1), Divergence()
    healthy_loss = [observation(step, loss=2.0 * exp(random.gauss(0, 0.02)), learning_rate=0.1) for step in range(600)]
    feed(detector, healthy_loss)
    calm = [
        observation(step, loss=2.0 * exp(random.gauss(0, 0.02)), learning_rate=0.1, lr_scale=0.5)
        for step in range(600, 900)
    ]
    relapse = [
        observation(
            step, loss=2.0 * (1 + 0.002 * (step - 900)) * exp(random.gauss(0, 0.02)), learning_rate=0.1, lr_scale=1.0
        )
        for step in range(900, 1200)
    ]
    found = alarms(feed(detector, [*calm, *relapse]))
    assert found
    assert found[0].step < 1025


def test_a_state_of_before_cycles_were_known_is_taken() -> None:
    detector = Divergence()
    feed(detector, cyclic()[:1000])
    memory = detector.memory()
    rates = memory["rates"]
    assert isinstance(rates, dict)
    older = Divergence()
    older.load_memory({**memory, "rates": {name: told for name, told in rates.items() if name != "visited"}})
    found = older.memory()["rates"]
    assert isinstance(found, dict)
    assert found["visited"] == {"blocks": 0, "rates": []}

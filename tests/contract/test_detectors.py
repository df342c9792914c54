"""What every member of DETECTORS must do, alone and without being told who it is.

A new detector joins by its line in the table, and by a line in TROUBLES.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from math import inf, isfinite, nan
from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.detectors.streams import (
    alarms,
    changed,
    feed,
    healthy,
    moved,
    observation,
    scaled,
    through_json,
)
from trainguard.detectors import DETECTORS, SENSITIVITIES, Detector, build_detector, thresholds_of
from trainguard.wire import Finding, Observation

Trouble = Callable[[list[Observation]], list[Observation]]

ONSET = 320


def _stuck(stream: list[Observation]) -> list[Observation]:
    """The stream with the trend of `healthy` taken out from step 8 on, and three times as long."""
    stuck = stream[:8]
    for index, point in enumerate(stream[8:], start=8):
        stuck += scaled([point], 0, loss=(1 + 3 * 9**-0.3) / (1 + 3 * (index + 1) ** -0.3))
    return [*stuck, *moved(stuck[200:] * 4, first_step=len(stuck))]


def _from_onset(**factors: float) -> Trouble:
    return lambda stream: scaled(stream, ONSET, **factors)


def _beside(spoil: Callable[[int], dict[str, float]], **usual: float) -> Trouble:
    """Signals that `healthy` does not have: ``usual`` values, from ONSET on what ``spoil`` says of the points since.

    What the stream has already (a value that is no number) stays.
    """

    def add(stream: list[Observation]) -> list[Observation]:
        return [
            replace(
                point,
                signals={**usual, **point.signals, **(spoil(index - ONSET) if index >= ONSET else {})},
            )
            for index, point in enumerate(stream)
        ]

    return add


def _evaluated(stream: list[Observation]) -> list[Observation]:
    """An evaluation every fifth step, which improves until ONSET and gets worse from there on."""
    return [
        replace(point, signals={**point.signals, "val_loss": 2 - 0.002 * min(index, ONSET) + worse})
        if index % 5 == 0
        else point
        for index, point in enumerate(stream)
        for worse in [0.01 * max(0, index - ONSET)]
    ]


def _with_less_to_learn(stream: list[Observation]) -> list[Observation]:
    """Overfitting needs a training loss that falls."""
    return [
        replace(point, signals={**point.signals, "loss": point.signals["loss"] * 0.999 ** max(0, index - ONSET)})
        if "loss" in point.signals
        else point
        for index, point in enumerate(stream)
    ]


def _swinging(stream: list[Observation]) -> list[Observation]:
    return [
        scaled([point], 0, loss=1 + (0.3 if index % 2 else -0.3) * (index >= ONSET))[0]
        for index, point in enumerate(stream)
    ]


TROUBLES: dict[str, Trouble] = {
    "non_finite": lambda stream: changed(stream, ONSET, loss=nan),
    "loss_spike": lambda stream: scaled(stream, ONSET, ONSET + 3, loss=4.0),
    "divergence": _from_onset(loss=3.0),
    "grad_explosion": _from_onset(grad_norm=50.0),
    "overheating": lambda stream: _beside(lambda since: {"param_norm": 20.0}, param_norm=10.0)(
        scaled(stream, ONSET, learning_rate=10.0)
    ),
    "plateau": _stuck,
    "loss_scale_collapse": _beside(lambda since: {"loss_scale": 65536.0 / 2 ** min(since + 1, 40)}, loss_scale=65536.0),
    "learning_rate": _from_onset(learning_rate=0.0),
    "update_ratio": _from_onset(update_ratio=50.0),
    "no_update": _from_onset(update_ratio=0.0),
    "grad_vanishing": _from_onset(grad_norm=1e-5),
    "dead_layers": _beside(lambda since: {"grad_norm/h.0": 0.0, "grad_norm/h.1": 1.0} if since % 10 == 0 else {}),
    "oscillation": _swinging,
    "overfitting": lambda stream: _evaluated(_with_less_to_learn(stream)),
    "rank_disagreement": _beside(
        lambda since: {"loss/rank0": 1.0, "loss/rank1": 1.01, "loss/rank2": inf},
        **{"loss/rank0": 1.0, "loss/rank1": 1.01, "loss/rank2": 0.99},
    ),
    "slow_step": _beside(lambda since: {"step_seconds": 4.0}, step_seconds=0.4),
    "data_starvation": _beside(lambda since: {"data_wait_seconds": 3.5}, step_seconds=4.0, data_wait_seconds=0.01),
}
"""By detector: what becomes of a healthy stream, from ONSET on (a plateau: from the beginning)."""

WITHIN = {
    "oscillation": 64,
    "overheating": 32,
    "overfitting": 70,
    "dead_layers": 31,
    "slow_step": 20,
    "data_starvation": 30,
}
"""Points from ONSET on within which it is found, where that cannot be twelve."""

every_detector = pytest.mark.parametrize("name", DETECTORS)
quick = settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
any_float = st.floats(width=64) | st.sampled_from([nan, inf, -inf, 0.0, -0.0, 1e308, -1e308, 5e-324, 1e-30])
any_signals = st.dictionaries(
    st.sampled_from(["loss", "grad_norm", "update_ratio", "learning_rate", "nonfinite_grads", "loss_scale", "other"]),
    any_float,
)


def trouble_of(name: str) -> Trouble:
    assert name in TROUBLES, f"add to TROUBLES what {name} looks for, so that it can be tested"
    return TROUBLES[name]


def detector_of(name: str, sensitivity: str = "normal") -> Detector:
    return build_detector(name, sensitivity)


def found(name: str, stream: list[Observation]) -> list[Finding]:
    """What a fresh detector says about trouble after a prelude that must not have silenced it."""
    first = ONSET if DETECTORS[name].kind != "plateau" else 0
    return [finding for finding in alarms(feed(detector_of(name), stream)) if finding.step >= first]


@every_detector
@pytest.mark.parametrize("sensitivity", SENSITIVITIES)
def test_it_finds_its_trouble_and_says_so_in_full(name: str, sensitivity: str) -> None:
    stream = trouble_of(name)(healthy())

    [finding, *_] = alarms(feed(detector_of(name, sensitivity), stream))

    assert finding.detector == name
    assert finding.kind == DETECTORS[name].kind
    assert finding.onset_step <= finding.step
    assert finding.message.endswith(".")
    assert isfinite(sum(finding.evidence.values()))
    if finding.kind != "plateau":
        assert abs(finding.onset_step - ONSET) <= 2
        assert finding.step <= ONSET + WITHIN.get(name, 12)


@every_detector
@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("signal", ["loss", "grad_norm", "update_ratio", "learning_rate", "loss_scale"])
def test_one_value_that_is_no_number_does_not_blind_it(name: str, signal: str, value: float) -> None:
    stream = changed(healthy(), ONSET - 40, **{signal: value})

    assert found(name, trouble_of(name)(stream))


@every_detector
def test_a_stretch_of_nan_does_not_blind_it(name: str) -> None:
    stream = healthy()
    for index in range(100, 120):
        stream = changed(stream, index, loss=nan, grad_norm=inf)

    assert found(name, trouble_of(name)(stream))


@every_detector
@pytest.mark.parametrize("factor", [100.0, 1e300])
def test_a_spike_does_not_poison_it(name: str, factor: float) -> None:
    stream = scaled(healthy(), ONSET - 60, ONSET - 59, loss=factor, grad_norm=factor)

    assert found(name, trouble_of(name)(stream))


@every_detector
def test_after_a_lasting_shift_it_rebases_falls_silent_and_still_sees(name: str) -> None:
    shifted = scaled(healthy(), ONSET - 200, loss=1.6, grad_norm=6.0)

    spoken = [finding.step for finding in alarms(feed(detector_of(name), shifted))]
    assert not [step for step in spoken if step > ONSET - 100]

    assert found(name, trouble_of(name)(shifted))


@every_detector
def test_the_same_stream_gives_the_same_findings(name: str) -> None:
    stream = trouble_of(name)(healthy())
    detector = detector_of(name)
    first = feed(detector, stream)
    detector.reset()

    assert first == feed(detector_of(name), stream) == feed(detector, stream)


@every_detector
@quick
@given(data=st.data())
def test_state_goes_to_json_and_back_at_any_step_without_a_difference(name: str, data: st.DataObject) -> None:
    stream = trouble_of(name)(changed(healthy(), 200, loss=nan))
    cut = data.draw(st.integers(0, len(stream)) | st.integers(ONSET - 3, ONSET + 40), label="cut")
    whole = feed(detector_of(name), stream)
    before, after = detector_of(name), detector_of(name)

    said = feed(before, stream[:cut])
    after.load_state_dict(through_json(before))  # type: ignore[arg-type]

    assert said + feed(after, stream[cut:]) == whole
    feed(before, stream[cut:])
    assert through_json(after) == through_json(before)


@every_detector
def test_memory_is_bounded(name: str) -> None:
    detector = detector_of(name)
    stream = healthy(20_000, noise=0.1, gradient_noise=1.0)
    sizes = []
    for point in stream:
        detector.update(point)
        if point.step % 1000 == 999:
            sizes.append(len(json.dumps(detector.state_dict())))

    assert max(sizes) < 20_000
    assert sizes[-1] < 1.25 * sizes[3]


@every_detector
def test_missing_signals_are_survived(name: str) -> None:
    chance = Random(0)
    gappy = [
        observation(point.step, **{name: value for name, value in point.signals.items() if chance.random() < 0.7})
        for point in healthy()
    ]

    assert not alarms(feed(detector_of(name), gappy))
    assert not feed(detector_of(name), [observation(step) for step in range(100)])
    assert found(name, trouble_of(name)([*gappy[: ONSET - 20], *healthy()[ONSET - 20 :]]))


@every_detector
@quick
@given(
    seed=st.integers(0, 2**32),
    start=st.floats(1.0, 12.0),
    floor_share=st.floats(0.05, 0.5),
    exponent=st.floats(0.15, 0.6),
    noise=st.floats(0.0, 0.08),
    gradient_noise=st.floats(0.0, 0.5),
)
def test_it_is_quiet_on_healthy_curves(
    name: str, seed: int, start: float, floor_share: float, exponent: float, noise: float, gradient_noise: float
) -> None:
    stream = healthy(
        600,
        seed=seed,
        start=start,
        floor=start * floor_share,
        exponent=exponent,
        noise=noise,
        gradient_noise=gradient_noise,
    )

    assert not alarms(feed(detector_of(name), stream))


@every_detector
@quick
@given(stream=st.lists(any_signals, max_size=120))
@example(stream=[{"loss": value, "grad_norm": value} for value in (1.0, -1e308, 1e308, 5e-324, 0.0) * 30])
@example(stream=[{"loss": 0.0, "grad_norm": 0.0}] * 60 + [{"loss": 1e308, "grad_norm": 1e308}] * 60)
def test_any_float_is_accepted(name: str, stream: list[dict[str, float]]) -> None:
    detector = detector_of(name)
    for step, signals in enumerate(stream):
        detector.update(observation(step, **signals))

    again = detector_of(name)
    again.load_state_dict(through_json(detector))  # type: ignore[arg-type]
    assert through_json(again) == through_json(detector)


@every_detector
def test_it_speaks_once_per_trouble_and_once_more_when_it_gets_worse(name: str) -> None:
    stream = trouble_of(name)(healthy())
    repeated = [*stream, *moved(stream[-1:] * 300, first_step=len(stream))]

    assert len(alarms(feed(detector_of(name), repeated))) <= 2


@every_detector
@pytest.mark.parametrize("bump", [1.3, 2.0, 5.0])
def test_the_bump_after_a_resume_is_no_trouble(name: str, bump: float) -> None:
    before = healthy()
    bumped = healthy()[300:]
    for index in range(6):
        bumped = scaled(bumped, index, index + 1, loss=1 + (bump - 1) * 0.5**index, grad_norm=bump)

    resumed = [*before, *moved(bumped, first_step=300, attempt=1)]

    assert not alarms(feed(detector_of(name), resumed))


@every_detector
def test_a_step_down_is_no_trouble(name: str) -> None:
    rate_drop = scaled(healthy(), 200, loss=0.8, grad_norm=0.5, learning_rate=0.1, update_ratio=0.1)
    curriculum = scaled(healthy(), 200, loss=0.4, grad_norm=0.7)

    assert not alarms(feed(detector_of(name), rate_drop))
    assert not alarms(feed(detector_of(name), curriculum))


@every_detector
def test_trouble_after_a_rollback_is_found_again(name: str) -> None:
    stream = trouble_of(name)(healthy())
    again = moved(stream[200:], first_step=200, attempt=1)

    spoken = alarms(feed(detector_of(name), [*stream, *again]))

    assert {finding.attempt for finding in spoken} == {0, 1} or DETECTORS[name].kind == "plateau"


@every_detector
def test_a_state_with_a_field_cut_out_is_refused_by_the_fields_name(name: str) -> None:
    detector = detector_of(name)
    feed(detector, healthy(60))
    memory = detector.memory()

    for field in memory:
        with pytest.raises(ValueError, match=repr(field)):
            detector_of(name).load_memory({key: value for key, value in memory.items() if key != field})


@every_detector
def test_a_threshold_that_makes_no_sense_is_refused_by_name(name: str) -> None:
    for threshold in thresholds_of(DETECTORS[name]):
        for value in (0.0, -1.0, nan, inf):
            with pytest.raises(ValueError, match=f"{name}.{threshold}"):
                build_detector(name, thresholds={threshold: value})
    with pytest.raises(ValueError, match="choose one of low, normal, high"):
        build_detector(name, "paranoid")

from __future__ import annotations

import json
from math import inf, isfinite, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.detectors.streams import alarms, changed, feed, feed_panel, healthy, moved, observation, scaled, through_json
from trainguard.detectors import DETECTORS, Panel, build_detector


def test_it_says_what_its_detectors_say_alone() -> None:
    stream = changed(scaled(healthy(), 300, loss=3.0, grad_norm=50.0), 200, loss=nan)

    together = feed_panel(Panel(), stream)

    for name in DETECTORS:
        alone = feed(build_detector(name), stream)
        mine = [finding for finding in together if finding.detector == name]
        assert [(one.step, one.severity, one.message) for one in mine] == [
            (one.step, one.severity, one.message) for one in alone
        ]


def test_a_finding_carries_the_numbers_before_the_onset_and_from_it_on() -> None:
    stream = scaled(scaled(healthy(), 300, learning_rate=30.0, update_ratio=30.0), 301, loss=3.0, grad_norm=50.0)

    findings = feed_panel(Panel(), stream)
    evidence = next(one.evidence for one in findings if one.kind == "divergence")

    assert evidence["learning_rate_before"] == pytest.approx(1e-3)
    assert evidence["learning_rate_at"] == pytest.approx(3e-2)
    assert evidence["update_ratio_at"] / evidence["update_ratio_before"] == pytest.approx(30, rel=0.2)
    assert evidence["grad_norm_at"] / evidence["grad_norm_before"] == pytest.approx(50, rel=0.5)
    assert evidence["loss_before"] == pytest.approx(1.5, abs=0.1)
    assert 0.01 < evidence["loss_band"] < 0.1


def test_a_jump_of_the_rate_right_before_the_loss_is_the_onset() -> None:
    stream = scaled(scaled(healthy(), 300, learning_rate=30.0), 302, loss=3.0)

    assert {finding.onset_step for finding in alarms(feed_panel(Panel(), stream))} == {300}


def test_a_jump_of_the_rate_long_before_is_no_cause() -> None:
    stream = scaled(scaled(healthy(), 200, learning_rate=30.0), 300, loss=3.0)

    assert {finding.onset_step for finding in alarms(feed_panel(Panel(), stream))} == {300}


def test_the_rate_in_the_evidence_is_the_applied_one() -> None:
    stream = [
        observation(point.step, **{**point.signals, "lr_scale": 0.5 if point.step < 300 else 0.25})
        for point in scaled(healthy(), 300, loss=3.0)
    ]

    evidence = feed_panel(Panel(), stream)[0].evidence

    assert evidence["learning_rate_before"] == pytest.approx(5e-4)
    assert evidence["learning_rate_at"] == pytest.approx(2.5e-4)


def test_what_was_never_measured_is_not_in_the_evidence() -> None:
    stream = [observation(point.step, loss=point.signals["loss"]) for point in scaled(healthy(), 300, loss=3.0)]

    evidence = feed_panel(Panel(), stream)[0].evidence

    assert not [name for name in evidence if name.startswith(("learning_rate", "update_ratio", "grad_norm"))]


def test_evidence_is_finite_whatever_the_signals_were() -> None:
    stream = healthy()
    for index in range(280, 320):
        stream = changed(stream, index, learning_rate=nan, update_ratio=inf, grad_norm=-inf, loss=nan)

    for finding in feed_panel(Panel(), stream):
        assert all(isfinite(value) for name, value in finding.evidence.items() if name.endswith(("_before", "_at")))


def test_a_rate_that_is_no_number_is_in_the_evidence_of_what_it_broke() -> None:
    stream = changed(healthy(), 300, learning_rate=nan, nonfinite_params=10.0)
    found = {finding.kind: finding.evidence for finding in feed_panel(Panel(), stream)}
    assert found["non_finite"]["nonfinite_learning_rate"] == 1.0


def test_of_a_trouble_older_than_its_memory_it_says_how_the_rate_has_moved() -> None:
    stream = [observation(step, loss=1.386, learning_rate=1e-9 * step, grad_norm=1.0) for step in range(900)]
    evidence = feed_panel(Panel(detectors=["plateau"]), stream)[0].evidence
    assert 0 < 1.1 * evidence["learning_rate_earlier"] < evidence["learning_rate_at"]
    assert "learning_rate_before" not in evidence


def test_a_gradient_that_never_was_has_not_fallen() -> None:
    stream = [observation(step, loss=1.386, learning_rate=1e-3, grad_norm=0.0) for step in range(400)]
    assert feed_panel(Panel(detectors=["grad_vanishing"]), stream) == []


def test_vitals_are_unknown_before_the_first_observation_and_then_say_how_the_run_is() -> None:
    panel = Panel()
    assert panel.vitals() is None

    feed_panel(panel, changed(healthy(), 399, loss=nan))
    vitals = panel.vitals()

    assert vitals is not None
    assert (vitals.step, vitals.observations, vitals.nonfinite_streak) == (399, 400, 1)
    assert vitals.loss is not None
    assert not isfinite(vitals.loss)
    assert vitals.loss_level == pytest.approx(1.5, abs=0.1)
    assert vitals.loss_center == pytest.approx(1.5, abs=0.1)
    assert vitals.grad_norm_center == pytest.approx(1.0, abs=0.5)


def test_vitals_of_a_young_run_have_no_center_yet() -> None:
    panel = Panel()
    panel.update(observation(0, loss=2.0))
    vitals = panel.vitals()

    assert vitals is not None
    assert (vitals.loss_level, vitals.loss_center, vitals.loss_band, vitals.grad_norm_center) == (2.0, None, None, None)


def test_the_level_follows_the_loss_while_the_center_stays_with_health() -> None:
    panel = Panel()
    feed_panel(panel, scaled(healthy(310), 300, loss=4.0))
    vitals = panel.vitals()

    assert vitals is not None
    assert vitals.loss_level is not None
    assert vitals.loss_center is not None
    assert vitals.loss_level > 3 * vitals.loss_center


def test_after_a_rollback_the_level_is_that_of_the_new_branch() -> None:
    panel = Panel()
    feed_panel(panel, [*scaled(healthy(310), 300, loss=4.0), *moved(healthy()[250:252], first_step=250, attempt=1)])
    vitals = panel.vitals()

    assert vitals is not None
    assert vitals.attempt == 1
    assert vitals.loss_level == pytest.approx(1.6, abs=0.1)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(cut=st.integers(0, 399))
def test_its_state_goes_to_json_and_back_at_any_step_without_a_difference(cut: int) -> None:
    stream = changed(scaled(healthy(), 300, loss=3.0, grad_norm=50.0, learning_rate=30.0), 200, loss=nan)
    whole, before, after = Panel(), Panel(), Panel()

    expected = feed_panel(whole, stream)
    said = feed_panel(before, stream[:cut])
    after.load_state_dict(through_json(before))  # type: ignore[arg-type]

    assert said + feed_panel(after, stream[cut:]) == expected
    assert through_json(after) == through_json(whole)
    assert after.vitals() == whole.vitals()


def test_its_memory_is_bounded() -> None:
    panel = Panel()
    sizes = []
    for point in healthy(6000, noise=0.1):
        panel.update(point)
        if point.step % 1000 == 999:
            sizes.append(len(json.dumps(panel.state_dict())))

    assert max(sizes) < 80_000
    assert sizes[-1] < 1.1 * sizes[2]


def test_a_state_from_before_a_detector_was_written_is_taken() -> None:
    panel, older = Panel(), Panel(detectors=["loss_spike", "divergence"])
    feed_panel(older, healthy(100))
    feed_panel(panel, scaled(healthy(100), 90, loss=nan))

    panel.load_state_dict(through_json(older))  # type: ignore[arg-type]

    assert [one.kind for one in feed_panel(panel, [observation(100, loss=nan)])] == ["non_finite"]


def test_a_damaged_state_is_refused_by_the_fields_name() -> None:
    panel = Panel()
    feed_panel(panel, healthy(100))
    state = panel.state_dict()

    for field in ("watch", "rows", "detectors"):
        with pytest.raises(ValueError, match=repr(field)):
            Panel().load_state_dict({name: value for name, value in state.items() if name != field})
    with pytest.raises(ValueError, match="not a row of 7"):
        Panel().load_state_dict({**state, "rows": [[1, 2.0]]})


def test_reset_forgets_everything() -> None:
    panel = Panel()
    feed_panel(panel, healthy(100))
    panel.reset()

    assert panel.vitals() is None
    assert panel.state_dict() == Panel().state_dict()


def test_overrides_set_thresholds_of_one_detector() -> None:
    stream = scaled(healthy(), 300, 303, loss=4.0)
    deaf = Panel(overrides={"loss_spike": {"z": 1e6, "together": 1e6}, "grad_explosion": {"z": 9}})

    assert [one.kind for one in feed_panel(Panel(), stream)] == ["loss_spike"]
    assert not feed_panel(deaf, stream)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sensitivity": "paranoid"}, "choose one of low, normal, high"),
        ({"overrides": {"los_spike": {}}}, "'los_spike'; known are non_finite"),
        ({"overrides": {"loss_spike": {"zz": 1.0}}}, "overrides.loss_spike names 'zz'; known are"),
        ({"overrides": {"loss_spike": {"z": -1.0}}}, "loss_spike.z is -1.0; it must be a finite number above 0"),
        ({"detectors": ["nothing"]}, "detectors names 'nothing'"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Panel(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("diverged_for", [10, 33, 80])
@pytest.mark.parametrize("healthy_again_for", [12, 40])
def test_a_relapse_soon_after_a_rollback_is_critical_again(diverged_for: int, healthy_again_for: int) -> None:
    run = scaled(healthy(), 300, loss=2.5, grad_norm=8.0)
    restored = 300 - healthy_again_for
    again = moved(run[restored:], first_step=restored, attempt=1)

    relapse = [one for one in feed_panel(Panel(), [*run[: 300 + diverged_for], *again]) if one.attempt == 1]

    assert {one.onset_step for one in relapse} == {300}
    assert next(one.step for one in relapse if one.severity == "critical") <= 306

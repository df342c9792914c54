from __future__ import annotations

from math import inf, nan

from tests.detectors.streams import changed, feed, healthy, observation, of_losses
from trainguard.detectors.non_finite import NonFinite
from trainguard.wire import Observation


def skipped(step: int) -> Observation:
    return observation(step, loss=nan, grad_norm=nan, nonfinite_grads=5.0, update_skipped=1.0, nonfinite_params=0.0)


def test_one_gradient_that_was_skipped_is_a_warning_and_says_that_nothing_was_harmed() -> None:
    stream = changed(healthy(), 200, grad_norm=inf, nonfinite_grads=12.0, update_skipped=1.0)

    [finding] = feed(NonFinite(), stream)

    assert (finding.step, finding.severity, finding.signal) == (200, "warning", "grad_norm")
    assert "did not reach the parameters" in finding.message
    assert finding.evidence["nonfinite_grads"] == 12.0


def test_a_loss_that_stays_nan_becomes_critical_with_the_onset_of_the_first() -> None:
    findings = feed(NonFinite(), of_losses([2.0] * 5 + [nan] * 10))

    assert [(one.step, one.onset_step, one.severity) for one in findings] == [(5, 5, "warning"), (7, 5, "critical")]
    assert "for 3 observations in a row" in findings[1].message


def test_gradients_that_stay_infinite_become_critical_too() -> None:
    findings = feed(NonFinite(), [observation(step, loss=2.0, grad_norm=inf) for step in range(10)])

    assert [one.severity for one in findings] == ["warning", "critical"]


def test_non_finite_parameters_are_critical_at_once() -> None:
    [finding] = feed(NonFinite(), changed(healthy(), 200, nonfinite_params=3.0))

    assert (finding.step, finding.severity, finding.signal) == (200, "critical", "nonfinite_params")


def test_a_pocket_of_skipped_updates_stays_a_warning() -> None:
    stream = [*healthy(100), *(skipped(100 + index) for index in range(20)), *of_losses([2.0] * 20, first_step=120)]

    assert [one.severity for one in feed(NonFinite(), stream)] == ["warning"]


def test_updates_that_are_skipped_without_end_become_critical() -> None:
    findings = feed(NonFinite(), [*healthy(100), *(skipped(100 + index) for index in range(60))])

    assert [(one.step, one.severity) for one in findings] == [(100, "warning"), (131, "critical")]


def test_the_scalers_own_skips_are_no_finding() -> None:
    stream = []
    scale = 65536.0
    for step in range(100):
        overflow = step % 20 == 10
        scale = scale / 2 if overflow else scale
        extra = {"grad_norm": inf, "nonfinite_grads": 9.0, "update_skipped": 1.0} if overflow else {"grad_norm": 1.0}
        stream.append(observation(step, loss=2.0, loss_scale=scale, **extra))

    assert not feed(NonFinite(), stream)


def test_after_a_calm_stretch_it_speaks_again() -> None:
    stream = of_losses([2.0, nan, 2.0, nan, 2.0, 2.0, 2.0, nan])

    assert [one.step for one in feed(NonFinite(), stream)] == [1, 7]

from __future__ import annotations

import pytest

from tests.detectors.streams import feed, healthy, observation, scaled
from trainguard.detectors.grad_explosion import GradExplosion


def test_a_jump_of_the_norm_is_a_warning_with_the_level_before_it() -> None:
    [finding] = feed(GradExplosion(), scaled(healthy(), 300, 301, grad_norm=40.0))

    assert (finding.step, finding.onset_step, finding.severity, finding.signal) == (300, 300, "warning", "grad_norm")
    assert finding.evidence["grad_norm_before"] == pytest.approx(1.0, abs=0.4)


def test_a_hundredfold_that_stays_is_critical() -> None:
    findings = feed(GradExplosion(), scaled(healthy(), 300, grad_norm=1000.0))

    assert [(one.step, one.severity) for one in findings] == [(300, "warning"), (304, "critical")]


def test_lognormal_noise_is_no_explosion() -> None:
    assert not feed(GradExplosion(), healthy(3000, gradient_noise=0.5))


def test_the_usual_norm_after_a_stretch_of_tiny_ones_is_no_explosion() -> None:
    assert not feed(GradExplosion(), scaled(healthy(600), 300, 420, grad_norm=0.05))


def test_a_norm_of_zero_is_accepted() -> None:
    stream = [observation(step, grad_norm=0.0) for step in range(100)]

    assert not feed(GradExplosion(), stream)


def test_without_any_norm_it_is_silent() -> None:
    stream = [observation(step, loss=2.0 if step < 200 else 2000.0) for step in range(400)]

    assert not feed(GradExplosion(), stream)

from __future__ import annotations

from random import Random

from tests.detectors.streams import feed, healthy, moved, of_losses
from trainguard.detectors.plateau import Plateau


def noise(count: int, level: float, share: float = 0.05, seed: int = 0) -> list[float]:
    chance = Random(seed)
    return [level * (1 + chance.gauss(0, share)) for _ in range(count)]


def test_a_classifier_at_chance_is_a_warning() -> None:
    [finding] = feed(Plateau(), of_losses(noise(2000, 0.693)))

    assert finding.severity == "warning"
    assert finding.step < 1100
    assert "guessing" in finding.message


def test_a_run_that_stops_after_it_has_learnt_is_worth_a_line() -> None:
    stream = of_losses([*(4.0 - 0.01 * step for step in range(300)), *noise(1500, 1.0)])

    [finding] = feed(Plateau(), stream)

    assert finding.severity == "info"
    assert finding.onset_step >= 200


def test_a_loss_that_falls_ever_more_slowly_is_no_plateau() -> None:
    assert not feed(Plateau(), healthy(20_000, start=10.0, floor=2.0, exponent=0.25, noise=0.03))


def test_after_it_has_fallen_again_a_second_plateau_is_told() -> None:
    stream = of_losses([*noise(800, 2.0), *(2.0 - 0.004 * step for step in range(250)), *noise(6000, 1.0)])

    assert [one.severity for one in feed(Plateau(), stream)] == ["warning", "info"]


def test_it_is_patient_in_a_short_run() -> None:
    assert not feed(Plateau(), of_losses(noise(700, 0.693, share=0.2)))


def test_a_resumed_run_is_measured_anew_and_remembers_where_it_began() -> None:
    learnt = healthy(300, start=8.0, floor=1.0, exponent=0.6)
    level = learnt[-1].signals["loss"]
    resumed = moved(of_losses(noise(1200, level)), first_step=300, attempt=1)

    findings = feed(Plateau(), [*learnt, *resumed])

    assert [(one.severity, one.onset_step >= 300) for one in findings] == [("info", True)]


def test_a_rising_loss_is_left_to_others() -> None:
    assert not feed(Plateau(), of_losses([2.0 + 0.001 * step for step in range(2000)]))


def test_where_there_is_next_to_no_noise_a_short_run_is_enough() -> None:
    [finding] = feed(Plateau(), of_losses(noise(500, 7.6, share=0.002)))

    assert finding.severity == "warning"


def test_a_head_that_falls_to_chance_at_once_has_learnt_nothing_but_to_guess() -> None:
    stream = of_losses([*(4.0 - 0.033 * step for step in range(100)), *noise(3000, 0.693)])

    spoken = feed(Plateau(), stream)

    assert [one.severity for one in spoken if one.severity != "info"] == ["warning"]
    assert "guessing" in spoken[-1].message


def test_a_loss_that_went_up_and_stayed_there_is_no_plateau_at_its_early_level() -> None:
    chance = Random(1)
    levels = [0.16 + 0.001 * min(step, 340) for step in range(1300)]

    spoken = feed(Plateau(), of_losses([level * (1 + chance.gauss(0, 0.15)) for level in levels]))

    assert {one.severity for one in spoken} == {"info"}

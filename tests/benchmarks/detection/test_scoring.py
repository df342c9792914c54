from __future__ import annotations

import pytest

from benchmarks.detection.curves import Curve, Event
from benchmarks.detection.scoring import score
from tests.detectors.streams import of_losses


def curve(name: str, *events: Event, group: str = "one", points: int = 500) -> Curve:
    return Curve(name, group, "llm-pretrain", "spike", tuple(of_losses([1.0] * points)), events)


def spike(start: int, end: int, *, is_firm: bool = True) -> Event:
    return Event("spike", start, end, is_firm)


@pytest.mark.parametrize(("spoken", "found"), [(196, 0), (197, 1), (200, 1), (215, 1), (220, 1), (221, 0)])
def test_a_hit_lies_from_three_points_before_to_ten_after(spoken: int, found: int) -> None:
    assert score([curve("a", spike(200, 210))], {"a": [spoken]}).found == found


def test_recall_is_the_mean_over_groups_of_the_mean_over_curves() -> None:
    curves = [
        curve("a", spike(100, 100), spike(200, 200), group="one"),
        curve("b", spike(100, 100), group="one"),
        curve("c", spike(100, 100), group="two"),
    ]

    result = score(curves, {"a": [100], "b": [101], "c": []})

    assert result.recall == pytest.approx((0.75 + 0.0) / 2)
    assert (result.found, result.events, result.delay) == (2, 4, 0.5)


def test_only_firm_sudden_events_after_the_first_points_are_scored() -> None:
    events = (spike(10, 12), spike(100, 100, is_firm=False), Event("plateau", 200, 300, True))

    assert score([curve("a", *events)], {"a": []}).events == 0


@pytest.mark.parametrize(
    ("spoken", "false_alarms"),
    [([], 0), ([20], 0), ([49], 0), ([50], 1), ([189], 1), ([190], 0), ([270], 0), ([271], 1), ([300, 340, 380], 1)],
)
def test_an_alarm_is_false_outside_of_every_event(spoken: list[int], false_alarms: int) -> None:
    assert score([curve("a", spike(200, 210, is_firm=False))], {"a": spoken}).false_alarms == false_alarms


def test_curves_with_many_events_say_nothing_about_false_alarms() -> None:
    crowded = curve("a", *(spike(100 + 20 * index, 100 + 20 * index) for index in range(7)))

    result = score([crowded, curve("b")], {"a": [450], "b": [450]})

    assert (result.false_alarms, result.points) == (1, 500)
    assert result.false_alarms_per_10k == 20

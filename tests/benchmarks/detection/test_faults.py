from __future__ import annotations

from math import isnan

from benchmarks.detection.curves import Curve
from benchmarks.detection.faults import FAULTS, inject
from tests.detectors.streams import healthy

CURVE = Curve("a", "one", "llm-pretrain", "healthy", tuple(healthy(2000)), ())


def test_every_fault_begins_at_its_onset_and_not_before() -> None:
    cases = list(inject([CURVE], repeats=1))

    assert [case.fault for case in cases] == list(FAULTS)
    for case in cases:
        losses = [point.signals["loss"] for point in case.observations]
        clean = [point.signals["loss"] for point in case.clean]
        assert losses[: case.onset] == clean[: case.onset]
        after = losses[case.onset : case.onset + 2]
        assert any(isnan(loss) or loss > clean[case.onset + index] for index, loss in enumerate(after))


def test_the_places_are_the_same_every_time() -> None:
    assert next(iter(inject([CURVE]))).observations == next(iter(inject([CURVE]))).observations


def test_short_curves_and_those_with_events_take_no_fault() -> None:
    assert not list(inject([Curve("b", "one", "llm-pretrain", "healthy", tuple(healthy(1000)), ())]))

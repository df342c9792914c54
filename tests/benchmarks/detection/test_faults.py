from __future__ import annotations

from math import isnan
from statistics import median, pstdev

import pytest

from benchmarks.detection.curves import Curve
from benchmarks.detection.faults import FAULTS, STRONG, WEAK, band_of, inject, redrawn
from tests.detectors.streams import healthy

CURVE = Curve("a", "one", "llm-pretrain", "healthy", tuple(healthy(2000)), ())


def test_every_fault_begins_at_its_onset_and_not_before() -> None:
    cases = list(inject([CURVE], repeats=1))

    assert [case.fault for case in cases] == list(FAULTS)
    for case in cases:
        losses = [point.signals[case.fault.signal] for point in case.observations]
        clean = [point.signals[case.fault.signal] for point in case.clean]
        assert losses[: case.onset] == clean[: case.onset]
        after = losses[case.onset : case.onset + 2]
        assert any(isnan(loss) or loss > clean[case.onset + index] for index, loss in enumerate(after))


def test_the_places_are_the_same_every_time() -> None:
    assert next(iter(inject([CURVE]))).observations == next(iter(inject([CURVE]))).observations


def test_short_curves_and_those_with_events_take_no_fault() -> None:
    assert not list(inject([Curve("b", "one", "llm-pretrain", "healthy", tuple(healthy(1000)), ())]))


def test_noise_drawn_anew_keeps_its_size_and_the_course_of_the_curve() -> None:
    anew = [point.signals["loss"] for point in redrawn(CURVE, 1)]
    as_it_was = [point.signals["loss"] for point in CURVE.observations]

    assert anew != as_it_was
    assert [point.signals["loss"] for point in redrawn(CURVE, 1)] == anew
    assert anew[:256] == as_it_was[:256]
    for first in range(300, 1800, 300):
        before, after = as_it_was[first : first + 200], anew[first : first + 200]
        assert median(after) == pytest.approx(median(before), rel=0.02)
        assert pstdev(after) == pytest.approx(pstdev(before), rel=0.5)


def test_faults_of_eight_sigmas_and_more_are_counted_together() -> None:
    assert {band_of(fault) for fault in FAULTS} == {WEAK, STRONG, ""}
    assert all((fault.sigmas or 0) >= 8 for fault in FAULTS if band_of(fault) == STRONG)

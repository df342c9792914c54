from __future__ import annotations

from statistics import median

from hypothesis import given
from hypothesis import strategies as st

from trainguard.detectors.window import SlidingMedian


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60), st.integers(1, 12))
def test_the_sliding_median_is_the_median_of_the_last_values(values: list[float], size: int) -> None:
    window = SlidingMedian(size)
    for value in values:
        window.push(value)

    assert window.values() == values[-size:]
    assert len(window) == min(size, len(values))
    expected = median(values[-size:])
    assert window.median() == expected or abs(expected) > 1e307


def test_an_empty_window_has_neither_level_nor_width() -> None:
    window = SlidingMedian(5)

    assert (window.median(), window.spread()) == (0.0, 0.0)


def test_one_outlier_moves_neither_level_nor_width() -> None:
    window = SlidingMedian(16)
    for index in range(16):
        window.push(float(index % 4))
    level, width = window.median(), window.spread()
    window.push(1e12)

    assert abs(window.median() - level) <= 1
    assert abs(window.spread() - width) <= 1

"""Charts as SVG: a signal over the points of a log, incidents as bands behind it.

Each column of pixels shows the least and the greatest value that fell into it: a rule that picks points for their
looks would drop the very spike that matters.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from trainguard.replay.past_run import Column, PastRun
from trainguard.replay.report.markup import Markup, tag

LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 22
LOGARITHMIC_FROM = 30.0
"""A signal that spans more than this factor is drawn on a logarithmic scale, where it may be."""
LARGEST = 1e300
"""Values are clamped here, so that a scale of them is finite."""
CUT_AT = 4.0
"""What rises further above the usual range than so many times its height is cut off, and marked."""


@dataclass(frozen=True)
class Band:
    """A stretch of points that belongs to an incident."""

    first: int
    last: int
    severity: str
    label: str


@dataclass(frozen=True)
class Mark:
    """A moment: a point and the class of its line."""

    index: int
    kind: str
    title: str


def chart(
    run: PastRun,
    signals: Sequence[str],
    *,
    first: int = 0,
    last: int | None = None,
    width: int = 1040,
    height: int = 190,
    bands: Sequence[Band] = (),
    marks: Sequence[Mark] = (),
    title: str = "",
) -> Markup:
    """The first of ``signals`` as a line over the points ``first`` to ``last``, further ones upon the same scale."""
    last = len(run) - 1 if last is None else last
    columns = [(name, run.columns[name]) for name in signals if name in run.columns]
    scale = _Scale.of([column for _, column in columns], first, last, height)
    across = _Across(first, last, width)
    inside: list[object] = [tag("title", title) if title else None]
    inside += [_grid(run, scale, across, width, height)]
    inside += [_band(band, across, height, with_label=title != "") for band in bands]
    for number, (_, column) in enumerate(columns):
        inside += _line(column, scale, across, number, is_sparse=number > 0)
    inside += [_mark(mark, across, height) for mark in marks if first <= mark.index <= last]
    return tag("svg", *inside, viewBox=f"0 0 {width} {height}", role="img", aria_label=title or None, class_="chart")


@dataclass(frozen=True)
class _Across:
    first: int
    last: int
    width: int

    def x(self, index: float) -> float:
        span = max(self.last - self.first, 1)
        return LEFT + (index - self.first) / span * (self.width - LEFT - RIGHT)

    @property
    def pixels(self) -> int:
        return self.width - LEFT - RIGHT


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    is_logarithmic: bool
    height: int

    @classmethod
    def of(cls, columns: Sequence[Column], first: int, last: int, height: int) -> _Scale:
        values = sorted(
            min(max(value, -LARGEST), LARGEST)
            for column in columns
            for value, measured in zip(column.values[first : last + 1], column.measured[first : last + 1])
            if measured and isfinite(value)
        )
        if not values:
            return cls(0.0, 1.0, False, height)
        least, usual_low, usual_high, most = (
            values[0],
            values[len(values) // 100],
            values[-1 - len(values) // 100],
            values[-1],
        )
        if usual_low > 0 and least > 0 and most / max(values[len(values) // 2], 1e-300) > LOGARITHMIC_FROM:
            return cls(log10(least) - 0.05, log10(most) + 0.05, True, height)
        room = max(usual_high - usual_low, 0.02 * abs(usual_high), 1e-12)
        low = max(least, usual_low - CUT_AT * room)
        high = min(most, usual_high + CUT_AT * room)
        space = 0.06 * max(high - low, 0.02 * abs(high), 1e-12)
        return cls(low - space, high + space, False, height)

    def y(self, value: float) -> float:
        if self.is_logarithmic:
            value = log10(value) if value > 0 else self.low
        share = (value - self.low) / (self.high - self.low)
        return self.height - BOTTOM - min(max(share, 0.0), 1.0) * (self.height - TOP - BOTTOM)

    def is_cut(self, value: float) -> bool:
        return not self.is_logarithmic and value > self.high

    def ticks(self) -> list[tuple[float, str]]:
        if self.is_logarithmic:
            powers = range(ceil(self.low), floor(self.high) + 1)
            if len(powers) >= 2:
                stride = ceil(len(powers) / 5)
                return [(10.0**power, f"{10.0**power:.4g}") for power in powers][::stride]
            return [
                (value, f"{value:.4g}")
                for power in range(floor(self.low), ceil(self.high) + 1)
                for times in (1, 2, 5)
                if self.low <= log10(value := times * 10.0**power) <= self.high
            ]
        return [(at, f"{at:.4g}") for at in _rounded(self.low, self.high, 4)]


def _rounded(low: float, high: float, wanted: int) -> list[float]:
    """Round numbers between two values.

    >>> _rounded(0.3, 2.2, 4)
    [0.5, 1.0, 1.5, 2.0]
    """
    raw = (high - low) / wanted
    size = 10.0 ** floor(log10(raw))
    stride = next(size * times for times in (1, 2, 5, 10) if size * times >= raw)
    first = ceil(low / stride)
    return [float(f"{number * stride:.10g}") for number in range(first, floor(high / stride) + 1)]


def _grid(run: PastRun, scale: _Scale, across: _Across, width: int, height: int) -> Markup:
    parts: list[object] = []
    for value, words in scale.ticks():
        y = f"{scale.y(value):.1f}"
        parts.append(tag("line", x1=LEFT, x2=width - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", words, x=LEFT - 8, y=y, class_="tick value"))
    for index in _places(run, across, 4 if width < 700 else 8):
        x = across.x(index)
        anchor = "start" if x < LEFT + 20 else "end" if x > width - RIGHT - 20 else "middle"
        step = f"{run.steps[index]:,}"
        parts.append(tag("text", step, x=f"{x:.1f}", y=height - 6, class_="tick", text_anchor=anchor))
    return tag("g", *parts)


def _places(run: PastRun, across: _Across, wanted: int) -> list[int]:
    """Points to write a step under: round steps; of a run that went back, points at even distances."""
    first, last = across.first, across.last
    if run.attempt_of(first) != run.attempt_of(last) or last - first < wanted:
        return sorted({round(first + (last - first) * number / wanted) for number in range(wanted + 1)})
    rounded = _rounded(run.steps[first], run.steps[last], wanted)
    return sorted({min(bisect_left(run.steps, step, lo=first, hi=last + 1), last) for step in rounded})


def _band(band: Band, across: _Across, height: int, *, with_label: bool) -> Markup | None:
    first, last = max(band.first, across.first), min(band.last, across.last)
    if first > last:
        return None
    x = across.x(first)
    wide = max(across.x(last) - x, 2.0)
    shown = tag(
        "rect",
        tag("title", band.label),
        x=f"{x:.1f}",
        y=TOP - 6,
        width=f"{wide:.1f}",
        height=height - TOP - BOTTOM + 6,
        class_=f"band {band.severity}",
    )
    if not with_label:
        return shown
    number = band.label.partition(":")[0]
    # Neighbours stand below each other.
    y = TOP + 6 + 12 * (int(number) % 3 if number.isdigit() else 0)
    return tag("g", shown, tag("text", number, x=f"{x + 3:.1f}", y=y, class_=f"number {band.severity}"))


def _mark(mark: Mark, across: _Across, height: int) -> Markup:
    x = f"{across.x(mark.index):.1f}"
    return tag("line", tag("title", mark.title), x1=x, x2=x, y1=TOP - 6, y2=height - BOTTOM, class_=f"mark {mark.kind}")


def _line(column: Column, scale: _Scale, across: _Across, number: int, *, is_sparse: bool) -> list[object]:
    """The line, its pieces parted by what is not finite, and marks for what was cut off or is no number."""
    pieces: list[list[str]] = [[]]
    cut: set[int] = set()
    lost: set[int] = set()
    count = across.last - across.first + 1
    per_pixel = max(1, count // across.pixels)
    for start in range(across.first, across.last + 1, per_pixel):
        stop = min(start + per_pixel, across.last + 1)
        measured = [index for index in range(start, stop) if column.measured[index]]
        finite = [index for index in measured if isfinite(column.values[index])]
        x = across.x(start if per_pixel == 1 else (start + stop - 1) / 2)
        if len(finite) < len(measured):
            lost.add(round(x))
            if not finite:
                pieces.append([])
                continue
        if not finite:
            continue
        least = min(finite, key=lambda index: column.values[index])
        most = max(finite, key=lambda index: column.values[index])
        for index in sorted({least, most}):
            value = column.values[index]
            pieces[-1].append(f"{x:.1f},{scale.y(value):.1f}")
            if scale.is_cut(value):
                cut.add(round(x))
    drawn: list[object] = [
        tag("polyline", points=" ".join(piece if len(piece) > 1 else piece * 2), class_=f"line s{number}")
        for piece in pieces
        if piece
    ]
    if is_sparse and sum(len(piece) for piece in pieces) < 200:
        drawn += [
            tag("circle", cx=point.partition(",")[0], cy=point.partition(",")[2], r=2.2, class_=f"dot s{number}")
            for piece in pieces
            for point in piece
        ]
    drawn += [
        tag("path", tag("title", "beyond the scale"), d=f"M{x - 4},{TOP + 2}l4,-7l4,7z", class_="cut") for x in cut
    ]
    drawn += [
        tag("rect", tag("title", "NaN or infinite"), x=x - 1, y=TOP - 6, width=2.5, height=9, class_="lost")
        for x in sorted(lost)
    ]
    return drawn

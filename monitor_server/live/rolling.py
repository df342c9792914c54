"""Rolling up: the buckets of an attempt that are still open, one of every width."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection

from monitor_server.storage import rollups
from monitor_server.storage.rollups import WIDTHS, PackedRollup, Stretch, Summary


class Rolling:
    """Takes the steps of one attempt in order, and gives each bucket as soon as a step beyond it has come.

    >>> rolling = Rolling(UUID(int=1), attempt=0)
    >>> closed = list(rolling.see(range(40), {"loss": [float(step) for step in range(40)]}))
    >>> [(row[2:7], row[7:11]) for row in closed]  # width, bucket, first, last, how many; the loss
    [((32, 0, 0, 31, 32), (0.0, 31.0, 15.5, 32))]
    """

    def __init__(self, run_id: UUID, attempt: int) -> None:
        self.run_id = run_id
        self.attempt = attempt
        self._open: list[Stretch | None] = [None] * len(WIDTHS)
        # Buckets that began before there were roll-ups, by level: they are never written.
        self._broken: dict[int, int] = {}
        self._written: set[tuple[int, int]] = set()

    @classmethod
    def recall(cls, connection: Connection, run_id: UUID, attempt: int, last_step: int) -> Rolling:
        """As it was after ``last_step`` of the attempt, from the database; -1: before the first."""
        rolling = cls(run_id, attempt)
        if last_step < 0:
            return rolling
        for level, one in enumerate(rollups.open_buckets(connection, run_id, attempt, last_step)):
            rolling._written |= {(WIDTHS[level], bucket) for bucket in one.written}
            if one.is_broken:
                rolling._broken[level] = one.bucket
            elif one.stretch.observations:
                rolling._open[level] = one.stretch
        return rolling

    def is_written(self, row: PackedRollup) -> bool:
        """Whether a bucket that closes was written before it closed: the new row takes the place of that one."""
        _, _, width, bucket, *_ = row
        return (width, bucket) in self._written

    def see(self, steps: Sequence[int], columns: Mapping[str, Sequence[float | None]]) -> Iterator[PackedRollup]:
        """Take in the next steps, with a column of each signal; the buckets that they close."""
        start, width = 0, WIDTHS[0]
        while start < len(steps):
            before_step = (steps[start] // width + 1) * width
            end = bisect_left(steps, before_step, start)
            signals = {name: Summary.of(column[start:end]) for name, column in columns.items()}
            yield from self._take(0, Stretch(steps[start], steps[end - 1], end - start, signals))
            start = end

    def _take(self, level: int, piece: Stretch) -> Iterator[PackedRollup]:
        width, open_ = WIDTHS[level], self._open[level]
        if open_ is not None and open_.first_step // width == piece.first_step // width:
            open_.add(piece)
            return
        # The piece may go on in the next level, so that it is no longer ours to change.
        self._open[level] = fresh = Stretch(piece.first_step, piece.first_step - 1, 0)
        fresh.add(piece)
        if open_ is None or self._broken.get(level) == open_.first_step // width:
            return
        yield rollups.pack(self.run_id, self.attempt, width, open_)
        if level + 1 < len(WIDTHS):
            yield from self._take(level + 1, open_)

    def close(self) -> Iterator[PackedRollup]:
        """Every bucket that is still open, as it is: nothing will come any more."""
        for level, width in enumerate(WIDTHS):
            open_, self._open[level] = self._open[level], None
            if open_ is None or self._broken.get(level) == open_.first_step // width:
                continue
            yield rollups.pack(self.run_id, self.attempt, width, open_)
            if level + 1 < len(WIDTHS):
                yield from self._take(level + 1, open_)

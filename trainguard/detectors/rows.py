"""The last steps of a run in one piece of memory, as the evidence of a finding needs them."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from struct import Struct

from trainguard.detectors.lead import Row

_LAYOUT = Struct("<q6d")
NAN = float("nan")


class Rows:
    """The last ``keep`` rows, in bytes: a quarter of what tuples of numbers take, in every run of a service.

    >>> rows = Rows(keep=2)
    >>> for step in range(3):
    ...     rows.add(step, 2.5, NAN, NAN, 1e-3, NAN, NAN)
    >>> [(row.step, row.loss, row.grad_norm) for row in rows.all()]
    [(1, 2.5, None), (2, 2.5, None)]
    """

    __slots__ = ("_bytes", "_count", "_next", "keep")

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self._bytes = bytearray(keep * _LAYOUT.size)
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._next = 0
        self._count = 0

    def add(
        self,
        step: int,
        loss: float,
        grad_norm: float,
        update_ratio: float,
        learning_rate: float,
        adam_rms: float,
        loss_scale: float,
    ) -> None:
        """One step more, the oldest one less; NaN is what was not measured."""
        place = self._next
        _LAYOUT.pack_into(
            self._bytes,
            place * _LAYOUT.size,
            step,
            loss,
            grad_norm,
            update_ratio,
            learning_rate,
            adam_rms,
            loss_scale,
        )
        self._next = place + 1 if place + 1 < self.keep else 0
        if self._count < self.keep:
            self._count += 1

    def all(self) -> list[Row]:
        """The rows in the order of time; what is no finite number is ``None``."""
        return [self._row((self._next - back) % self.keep) for back in range(self._count, 0, -1)]

    def rewind(self, step: int) -> None:
        """Forget the rows from ``step`` on, newest first."""
        while self._count and self._row((self._next - 1) % self.keep).step >= step:
            self._next = (self._next - 1) % self.keep
            self._count -= 1

    def fill(self, rows: Sequence[Row]) -> None:
        """Replace what is there by ``rows``."""
        self.clear()
        for row in rows:
            self.add(row.step, *(NAN if value is None else value for value in row[1:]))

    def _row(self, place: int) -> Row:
        step, *values = _LAYOUT.unpack_from(self._bytes, place * _LAYOUT.size)
        return Row(step, *(value if isfinite(value) else None for value in values))

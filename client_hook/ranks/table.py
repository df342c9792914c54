"""What the other ranks have measured, on rank 0: rows by step, as they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from client_hook.ranks.board import Board
from client_hook.ranks.group import Ranks

ROWS_KEPT = 10_000
"""Of one rank, as many as the outbox holds observations."""

Row = tuple[int, int]
"""Attempt and step."""


class RowSender:
    """On every rank but 0: puts rows on the board, a parcel at a time."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._sequence = 0

    def send(self, rows: Sequence[tuple[int, int, Mapping[str, float]]], words: Sequence[dict[str, Any]]) -> None:
        """Rows of ``(attempt, step, values)``, and anything else that rank 0 is to know; waits for nothing."""
        sequence, self._sequence = self._sequence, self._sequence + 1
        key = f"rows/{self._ranks.rank}/{sequence}"
        parcel = {"rows": list(rows), "words": list(words)}
        self._ranks.courier.send(lambda board: board.put(key, parcel))


class RowTable:
    """On rank 0. Filled by the courier, read by the delivery thread."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._next = dict.fromkeys(ranks.others(), 0)
        self._rows: dict[int, dict[Row, Mapping[str, float]]] = {rank: {} for rank in ranks.others()}
        self._words: list[tuple[int, dict[str, Any]]] = []
        self._changed = threading.Condition()
        self._silent: set[int] = set()
        ranks.courier.each_round(self._read)

    def take(self, row: Row, *, until: float) -> dict[int, Mapping[str, float]] | None:
        """The row of every other rank. ``None`` while one is still awaited, at the latest until ``until``
        (monotonic); from then on of those that have come. Who misses a row is not awaited until it is back.
        """
        with self._changed:
            missing = {rank for rank, rows in self._rows.items() if row not in rows}
            if missing - self._silent and time.monotonic() < until:
                return None
            self._silent |= missing
            found = {rank: rows[row] for rank, rows in self._rows.items() if row in rows}
            for rows in self._rows.values():
                for old in [old for old in rows if old <= row]:
                    del rows[old]
            return found

    def wait(self, seconds: float) -> None:
        """Until something has come, or so long."""
        with self._changed:
            self._changed.wait(seconds)

    def take_words(self) -> list[tuple[int, dict[str, Any]]]:
        """What ranks said besides, with the rank."""
        with self._changed:
            words, self._words = self._words, []
        return words

    def _read(self, board: Board) -> None:
        for rank in self._next:
            while True:
                key = f"rows/{rank}/{self._next[rank]}"
                parcel = board.look(key)
                if parcel is None:
                    break
                self._next[rank] += 1
                board.forget(key)
                self._take_in(rank, parcel)

    def _take_in(self, rank: int, parcel: Mapping[str, Any]) -> None:
        with self._changed:
            rows = self._rows[rank]
            for attempt, step, values in parcel["rows"]:
                rows[int(attempt), int(step)] = values
            while len(rows) > ROWS_KEPT:
                del rows[next(iter(rows))]
            if parcel["rows"]:
                self._silent.discard(rank)
            self._words += [(rank, word) for word in parcel["words"]]
            self._changed.notify_all()

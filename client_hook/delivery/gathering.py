"""Rank 0's outbox: an observation leaves it once what the other ranks have measured at that step is in it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from client_hook.delivery.outbox import Item, Outbox
from client_hook.ranks import Ranks
from client_hook.ranks.combining import OF_REPLICAS, OF_SHARDS, by_rank, of_shares
from client_hook.ranks.table import RowTable
from trainguard.wire import Finding, Observation

CLOSING_SECONDS = 1.0
"""The longest that a hook which is closing waits for what other ranks have measured."""


class GatheringOutbox(Outbox):
    """Holds observations back, for ``patience.values_seconds`` at most, and everything behind them with them.

    The training thread puts as ever. All waiting is the delivery thread's, save in a synchronous hook, whose
    ``observe`` waits for the same step of the others.

    Args:
        ranks: this process and the others.
        is_synchronous: wait in `take`, so that it gives everything that was put.
        label: gives a sharded model's gradient norm its right name, once it is whole.
        part_lost: told of a checkpoint that another rank could not keep its part of.
    """

    def __init__(
        self,
        ranks: Ranks,
        *,
        is_synchronous: bool,
        label: Callable[[dict[str, float]], None],
        part_lost: Callable[[UUID, str], None],
    ) -> None:
        super().__init__()
        self._ranks = ranks
        self._table = RowTable(ranks)
        self._waits = is_synchronous
        self._seconds = ranks.patience.values_seconds
        self._label = label
        self._part_lost = part_lost
        self._held: deque[tuple[Item, float]] = deque()

    def take(self, max_observations: int | None = None, max_reports: int | None = None) -> list[Item]:
        """What is complete by now, in the order of `put`."""
        until = time.monotonic() + self._seconds
        self._held.extend((item, until) for item in super().take(max_observations, max_reports))
        items: list[Item] = []
        while True:
            self._release(items)
            if not self._held or not self._waits:
                break
            self._table.wait(0.02)
        items += self._said()
        return items

    def portions(self, size: int) -> Iterator[list[Item]]:
        """The same at once: what is held back is not folded."""
        items = self.take()
        if items:
            yield items

    def close(self) -> None:
        """The training has ended: from now on `take` gives everything, after waiting a moment."""
        self._waits, self._seconds = True, min(self._seconds, CLOSING_SECONDS)

    def __len__(self) -> int:
        return super().__len__() + len(self._held)

    def _release(self, items: list[Item]) -> None:
        while self._held:
            item, until = self._held[0]
            if type(item) is Observation:
                others = self._table.take((item.attempt, item.step), until=until)
                if others is None:
                    return
                of_ranks = {0: item.signals, **others}
                items.append(replace(item, signals=self._combined(of_ranks)))
            else:
                items.append(item)
            self._held.popleft()

    def _combined(self, of_ranks: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
        own = dict(of_ranks[0])
        if not self._ranks.is_sharded:
            return by_rank(own, of_ranks, OF_REPLICAS)
        told = own.get("grad_norm")
        own.update(of_shares(list(of_ranks.values())))
        if told is not None:
            own["grad_norm"] = told  # from who clipped, and whole already
        self._label(own)
        return by_rank(own, of_ranks, OF_SHARDS)

    def _said(self) -> list[Finding]:
        findings = []
        for rank, word in self._table.take_words():
            if "part_lost" in word:
                self._part_lost(UUID(word["part_lost"]), f"rank {rank}: {word['reason']}")
            elif "finding" in word:
                finding = Finding.model_validate(word["finding"])
                findings.append(finding.model_copy(update={"message": f"Rank {rank}: {finding.message}"[:4000]}))
        return findings


def as_row(observation: Observation, is_sharded: bool) -> tuple[int, int, dict[str, Any]]:
    """What rank 0 wants to know of a step of another rank."""
    wanted = observation.signals if is_sharded else OF_REPLICAS
    values = {name: observation.signals[name] for name in wanted if name in observation.signals}
    return observation.attempt, observation.step, values

"""One process among several that train one model."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch

from client_hook.errors import AttachError
from client_hook.ranks.board import Board, BoardUnreachable, Store
from client_hook.ranks.courier import Courier
from client_hook.ranks.patience import Patience

LOOKS_EVERY_SECONDS = 0.05
"""How often a courier looks for news. With many ranks less often: the store is one thread of rank 0's process."""

SIGN_EVERY_SECONDS = 1.0

_attached = itertools.count()
"""Hooks attached by this process so far. Every rank attaches the same ones in the same order, so the number names
one hook on all of them."""


def rank_and_size() -> tuple[int, int]:
    """This process's rank and how many there are: (0, 1) without a process group."""
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


class Ranks:
    """What this process knows of the others.

    Args:
        store: of the process group; any thread of the process may use it, only our courier does.
        rank, size: this process among how many.
        is_sharded: parameters are spread over ranks (FSDP2), so a norm measured here is a share of the norm.
        patience: the ends of all waits.
    """

    def __init__(
        self, store: Store, rank: int, size: int, *, is_sharded: bool = False, patience: Patience | None = None
    ) -> None:
        self.rank = rank
        self.size = size
        self.is_sharded = is_sharded
        self.patience = patience or Patience()
        self.courier = Courier(Board(store), every_seconds=max(LOOKS_EVERY_SECONDS, size / 2_000))
        self._signs = 0
        self._sign_due = 0.0
        self._seen: dict[int, tuple[Any, float]] = {}
        self.courier.each_round(self._give_sign)

    @property
    def is_leader(self) -> bool:
        """Rank 0 has the journal, the detectors and the service."""
        return self.rank == 0

    @classmethod
    def join(cls, *, is_sharded: bool, patience: Patience | None = None) -> Ranks | None:
        """Those of the default process group; ``None`` where this process trains alone.

        Raises:
            AttachError: the process group has no store to talk through.
        """
        rank, size = rank_and_size()
        if size == 1:
            return None
        try:
            store: Any = torch.distributed.distributed_c10d._get_default_store()
        except (RuntimeError, ValueError, AttributeError, KeyError) as error:
            raise AttachError(
                f"the process group of {size} ranks has no store ({error}), through which ranks agree; make it with "
                "torch.distributed.init_process_group and a backend such as 'gloo' or 'nccl'"
            ) from error
        # A connection of its own: on the shared one, somebody's wait for a key would be ours as well.
        store = store.clone() if hasattr(store, "clone") else store
        prefixed = torch.distributed.distributed_c10d.PrefixStore(f"trainguard/{next(_attached)}", store)
        ranks = cls(prefixed, rank, size, is_sharded=is_sharded, patience=patience)
        ranks.courier.start()
        return ranks

    def others(self) -> Iterable[int]:
        """Every rank but this one."""
        return (rank for rank in range(self.size) if rank != self.rank)

    def ask(self, ask: Callable[[Board], Any]) -> Any:
        """Ask the store, and wait for its answer; `BoardUnreachable` where it gives none."""
        return self.courier.ask(ask, timeout_seconds=self.patience.answer_seconds)

    def wait_for(self, look: Callable[[Board], Any], *, seconds: float) -> Any | None:
        """Look again and again until ``look`` finds something; ``None`` if the time runs out.

        Raises:
            BoardUnreachable: the store does not answer.
        """
        deadline = time.monotonic() + seconds
        pause = 0.001
        while True:
            found = self.ask(look)
            if found is not None:
                return found
            if time.monotonic() >= deadline:
                return None
            time.sleep(pause)
            pause = min(pause * 1.5, LOOKS_EVERY_SECONDS)

    def departed(self, board: Board, of: Iterable[int]) -> str:
        """Why not all of these ranks will answer: one has let go, or gave no sign for too long. Empty: all live.

        To be asked again and again while one waits: silence takes its time to be noticed.
        """
        now = time.monotonic()
        for rank in of:
            end = board.look(f"end/{rank}")
            if end is not None:
                return f"rank {rank} {end}"
            sign = board.look(f"sign/{rank}")
            before, since = self._seen.get(rank, (None, now))
            if sign != before or rank not in self._seen:
                self._seen[rank] = (sign, now)
            elif now - since > self.patience.silence_seconds:
                return f"rank {rank} has given no sign of life for {now - since:.0f} s"
        return ""

    def forget_signs(self) -> None:
        """A wait begins: silence is counted from now on."""
        self._seen = {}

    def end(self, words: str) -> None:
        """Tell the others that this rank answers no more, and let go; safe to call twice."""
        self.courier.send(lambda board: board.claim(f"end/{self.rank}", words))
        self.courier.close()

    def _give_sign(self, board: Board) -> None:
        now = time.monotonic()
        if now >= self._sign_due:
            self._sign_due = now + min(SIGN_EVERY_SECONDS, self.patience.silence_seconds / 5)
            self._signs += 1
            board.put(f"sign/{self.rank}", self._signs)


__all__ = ["BoardUnreachable", "Ranks", "rank_and_size"]

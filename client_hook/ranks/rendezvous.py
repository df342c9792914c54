"""All ranks come to ``attach``: the one moment at which each waits for every other, with an end to the waiting."""

from __future__ import annotations

from typing import Any

from client_hook.errors import AttachError
from client_hook.ranks.board import Board, BoardUnreachable
from client_hook.ranks.group import Ranks


class Rendezvous:
    """Rank 0 says something and the others read it; the others answer and rank 0 gathers it.

    A rank whose ``attach`` fails says so with `Ranks.end`, and then every other one fails with its reason, at once.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks

    def say(self, name: str, value: Any) -> None:
        """On rank 0. Raises `AttachError` where the store does not answer."""
        self._ask(lambda board: board.put(f"attach/{name}", value))

    def read(self, name: str) -> Any:
        """What rank 0 says under ``name``.

        Raises:
            AttachError: rank 0 could not attach, or did not come.
        """
        return self._wait(f"attach/{name}", 0)

    def answer(self, name: str, value: Any) -> None:
        """On the others. Raises `AttachError` where the store does not answer."""
        self._ask(lambda board: board.put(f"attach/{name}/{self._ranks.rank}", value))

    def gather(self, name: str) -> dict[int, Any]:
        """On rank 0: what every other rank answers.

        Raises:
            AttachError: one of them could not attach, or did not come.
        """
        return {rank: self._wait(f"attach/{name}/{rank}", rank) for rank in self._ranks.others()}

    def _wait(self, key: str, rank: int) -> Any:
        seconds = self._ranks.patience.attach_seconds

        def look(board: Board) -> Any | None:
            value = board.look(key)
            if value is not None:
                return {"value": value}
            # Not only of the rank that is waited for: it may itself be waiting for the one that failed.
            for other in self._ranks.others():
                end = board.look(f"end/{other}")
                if end is not None:
                    return {"gone": f"rank {other} {end}"}
            return None

        try:
            found = self._ranks.wait_for(look, seconds=seconds)
        except BoardUnreachable as error:
            raise AttachError(f"the ranks cannot come together: {error}") from error
        if found is None:
            raise AttachError(
                f"rank {rank} did not come to attach within {seconds:.0f} s; every rank has to attach, in one order"
            )
        if "gone" in found:
            raise AttachError(f"the ranks attach together or not at all, and {found['gone']}")
        return found["value"]

    def _ask(self, ask: Any) -> None:
        try:
            self._ranks.ask(ask)
        except BoardUnreachable as error:
            raise AttachError(f"the ranks cannot come together: {error}") from error

"""All ranks apply a command at the same step, or none does: a proposal, acknowledgements, and one decision.

Nothing is exchanged as long as nobody has a command. When rank 0 has one:

1. *call*: rank 0 writes the command down. Every rank's courier thread hears of it and answers at which boundary its
   loop will stop: the next one it comes to. So no rank runs past the place, however fast its steps are, and no
   rank waits for one that is itself stuck in a collective.
2. *place*: rank 0's courier names the furthest of these boundaries. A rank that stopped earlier goes on to it; it
   can, for the ranks ahead of it have done their part in every collective up to there.
3. *vote*: standing there, every rank loads and checks what is to be applied, and says yes or why not.
4. *decision*: rank 0 writes "commit" if all said yes, else why not.
5. *outcome*: every rank has applied it and says what it now is. Rank 0 writes "on" if they are all the same, else
   how they differ, and then every rank halts: better no training than ranks that part.

Place, decision and outcome are written by compare-and-set: the first word stands, for everybody. That is why no rank
can be left in the dark when another dies: who has waited long enough tries to write "no", and either it stands and
nobody has applied anything, or something else stood there already and is followed. What cannot be found out, because
the store itself is gone, ends in a halt wherever something may have been committed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from client_hook.ranks import Board, BoardUnreachable, Ranks

_logger = logging.getLogger("trainguard")


@dataclass
class Call:
    """A proposal that this rank has heard of and not finished."""

    ordinal: int
    payload: Mapping[str, Any]
    hold: int
    """The boundary at which this rank's loop stops."""
    place: int | None = None
    """The boundary at which all meet."""


class NotAgreed(RuntimeError):
    """Nothing is applied on any rank; says why."""


class RanksParted(RuntimeError):
    """The ranks are not the same any more, or it cannot be known that they are: the training must halt."""


class Agreement:
    """One rank's side of it. The training thread calls everything but the chores, which the courier does.

    Args:
        ranks: this process and the others.
        hurry: called from the courier's thread when this rank is called, to wake a loop that is paused.
    """

    def __init__(self, ranks: Ranks, hurry: Callable[[], None] = lambda: None) -> None:
        self._ranks = ranks
        self._hurry = hurry
        self._lock = threading.Lock()
        self._boundary = -1
        self._can_stop_here = False
        self._ordinal = 0
        self._called: Call | None = None
        self._stuck: dict[int, int] = {}
        self._heard: dict[int, int] = {}
        self._called_at = 0.0
        self._is_named = False
        self._is_meeting = False
        self.halt_reason = ""
        """Another rank has halted the training, and why."""
        ranks.courier.each_round(self._chore)

    # -- the training thread ------------------------------------------------------------------------------------

    def arrive(self) -> bool:
        """A boundary begins; whether this rank is called to it."""
        with self._lock:
            self._boundary += 1
            return self._stop_if_called()

    def look_again(self) -> bool:
        """In a loop that waits at its boundary: whether this rank is called to it by now."""
        with self._lock:
            return self._stop_if_called()

    def stay(self) -> None:
        """The loop waits at this boundary (a pause): a call that comes now is for here."""
        with self._lock:
            self._can_stop_here = True

    def go_on(self) -> bool:
        """The wait is over; ``False`` where a call has come in the meantime, which has to be met first."""
        with self._lock:
            return not self._stop_if_called()

    def _stop_if_called(self) -> bool:
        call = self._called
        self._can_stop_here = call is not None and (call.place is None or call.place <= self._boundary)
        return self._can_stop_here

    @property
    def called(self) -> Call:
        """The proposal under way; there has to be one."""
        assert self._called is not None
        return self._called

    @property
    def is_busy(self) -> bool:
        """Whether a proposal is under way."""
        return self._called is not None

    def propose(self, payload: Mapping[str, Any]) -> None:
        """Rank 0 only: call all ranks together, from here on.

        Raises:
            NotAgreed: the store does not answer.
        """
        ordinal = self._ordinal
        with self._lock:
            call = Call(ordinal, payload, hold=self._boundary)
            self._can_stop_here = True
        self._ranks.forget_signs()
        self._heard = {0: call.hold}
        self._called_at = time.monotonic()
        self._is_named = False
        try:
            self._ranks.ask(lambda board: board.put(f"call/{ordinal}", payload))
        except BoardUnreachable as error:
            with self._lock:
                self._can_stop_here = False
            raise NotAgreed(f"the other ranks could not be told: {error}") from error
        with self._lock:
            self._called = call

    def come_to_place(self) -> Call | None:
        """Wait until the place is known; ``None`` if it lies further on, and the loop is to go on to it.

        Raises:
            NotAgreed: not all ranks have answered.
        """
        with self._lock:
            call, self._is_meeting = self.called, True
        if call.place is None:
            key = f"place/{call.ordinal}"
            seconds = self._ranks.patience.hear_seconds + (0 if self._ranks.is_leader else self._grace)
            try:
                place = self._wait_for_word(key, seconds, {"no": f"rank {self._ranks.rank} was not told where to stop"})
            except BoardUnreachable as error:
                # Nobody has voted yet, this rank least of all: nothing can be committed.
                self.finish()
                raise NotAgreed(f"the other ranks could not be reached: {error}") from error
            if "no" in place:
                self.finish()
                raise NotAgreed(str(place["no"]))
            call.place = int(place["at"])
        with self._lock:
            self._is_meeting = self._stop_if_called()
            return call if self._is_meeting else None

    def decide(self, objection: str) -> None:
        """Say yes (no objection) or no, and wait for the decision. Returns where it is "commit".

        Raises:
            NotAgreed: somebody objected, or did not come.
            RanksParted: this rank said yes and cannot find out what became of it.
        """
        call = self.called
        rank, ordinal, patience = self._ranks.rank, call.ordinal, self._ranks.patience
        key = f"decision/{ordinal}"
        try:
            self._ranks.ask(lambda board: board.put(f"vote/{ordinal}/{rank}", {"no": objection} if objection else {}))
            if self._ranks.is_leader:
                objections, missing = self._collect(f"vote/{ordinal}", patience.check_seconds, stop_at="no")
                word = {"no": "; ".join(objections)} if objections else {"commit": True}
                # Who finished its share of the data early, and only shadows the others' collectives, never comes.
                self._stuck = {one: hold for one, hold in self._heard.items() if one in missing}
                decision = self._ranks.ask(lambda board: board.claim(key, word))
            else:
                seconds = patience.check_seconds + self._grace
                decision = self._wait_for_word(key, seconds, {"no": f"rank {rank} was not told the decision"})
        except BoardUnreachable as error:
            self.finish()
            if objection:
                # Without this rank's yes there was no commit.
                raise NotAgreed(f"{objection} (and {error})") from error
            raise RanksParted(f"it cannot be known whether the others apply a command: {error}") from error
        if "no" in decision:
            self.finish()
            raise NotAgreed(str(decision["no"]))

    def conclude(self, report: Mapping[str, Any]) -> None:
        """Say what this rank now is, and wait until all ranks are known to be the same.

        Args:
            report: has to be equal on all ranks; ``{"failed": why}`` where applying it failed.

        Raises:
            RanksParted: they are not.
        """
        call = self.called
        rank, ordinal, patience = self._ranks.rank, call.ordinal, self._ranks.patience
        key = f"outcome/{ordinal}"
        try:
            self._ranks.ask(lambda board: board.put(f"applied/{ordinal}/{rank}", dict(report)))
            if self._ranks.is_leader:
                objections, _ = self._collect(f"applied/{ordinal}", patience.apply_seconds, stop_at="failed")
                objections += self._differences(ordinal, report) if not objections else []
                word = {"halt": "; ".join(objections)} if objections else {"on": True}
                outcome = self._ranks.ask(lambda board: board.claim(key, word))
                self._ranks.courier.send(lambda board: self._tidy(board, ordinal))
            else:
                seconds = patience.apply_seconds + self._grace
                outcome = self._wait_for_word(
                    key, seconds, {"halt": f"rank {rank} was not told whether all ranks have applied it"}
                )
        except BoardUnreachable as error:
            raise RanksParted(f"it cannot be known whether all ranks have applied it: {error}") from error
        finally:
            self.finish()
        if "halt" in outcome:
            raise RanksParted(str(outcome["halt"]))

    def finish(self) -> None:
        """This proposal is over for this rank; the next one may be heard."""
        with self._lock:
            self._end()

    # -- lockstep: for synchronous hooks, whose commands are applied at a step that can be foretold ---------------

    def mark(self) -> None:
        """Rank 0 only: nothing more is called to this boundary."""
        boundary = self._boundary
        self._ranks.courier.send(lambda board: board.put("mark", boundary))

    def wait_for_mark(self) -> None:
        """The others: wait until rank 0 has said whether there is anything at this boundary, and hear it."""
        boundary = self._boundary

        def look(board: Board) -> Any | None:
            mark = board.look("mark")
            return True if mark is not None and mark >= boundary else board.look("end/0") or None

        self.stay()
        try:
            self._ranks.wait_for(look, seconds=self._ranks.patience.check_seconds)
            if self._called is None:
                self._ranks.ask(self._listen)
        except BoardUnreachable as error:
            _logger.debug("no lockstep at boundary %d: %s", boundary, error)

    def _end(self) -> None:
        self._called = None
        self._can_stop_here = self._is_meeting = False
        self._ordinal += 1

    def broadcast_halt(self, reason: str) -> None:
        """This rank halts, and the others shall at their next boundary."""
        rank = self._ranks.rank
        self._ranks.courier.send(lambda board: board.claim("halt", {"rank": rank, "reason": reason}))

    # -- waiting ------------------------------------------------------------------------------------------------

    @property
    def _grace(self) -> float:
        return self._ranks.patience.grace_seconds + self._ranks.patience.silence_seconds

    def _wait_for_word(self, key: str, seconds: float, otherwise: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is written under ``key``; where it takes too long or rank 0 is gone, ``otherwise`` is tried."""
        self._ranks.forget_signs()
        gone = ""
        asked_at = 0.0

        def look(board: Board) -> Any | None:
            nonlocal gone, asked_at
            word = board.look(key)
            if word is None and time.monotonic() - asked_at > 0.5:
                asked_at = time.monotonic()
                gone = self._ranks.departed(board, [0]) if not self._ranks.is_leader else ""
            return word if word is not None else ({} if gone else None)

        word = self._ranks.wait_for(look, seconds=seconds)
        if not word:
            (kind, sentence), *_ = otherwise.items()
            why = gone or f"nothing was decided within {seconds:.0f} s"
            claimed = {kind: f"{sentence}: {why}"}
            word = self._ranks.ask(lambda board: board.claim(key, claimed))
        return dict(word)

    def _collect(self, prefix: str, seconds: float, *, stop_at: str) -> tuple[list[str], set[int]]:
        """Wait for every rank's word under ``prefix/rank``; the objections, and whose word never came."""
        self._ranks.forget_signs()
        missing = set(range(self._ranks.size))
        objections: list[str] = []
        asked_at = 0.0

        def look(board: Board) -> Any | None:
            nonlocal asked_at
            for rank in sorted(missing):
                word = board.look(f"{prefix}/{rank}")
                if word is None:
                    continue
                missing.discard(rank)
                if stop_at in word:
                    objections.append(f"rank {rank}: {word[stop_at]}" if rank else str(word[stop_at]))
            if objections or not missing:
                return True
            if time.monotonic() - asked_at > 0.5:
                asked_at = time.monotonic()
                gone = self._ranks.departed(board, sorted(missing - {0}))
                if gone:
                    objections.append(gone)
                    return True
            return None

        if self._ranks.wait_for(look, seconds=seconds) is None:
            objections.append(f"{_named(sorted(missing))} did not come within {seconds:.0f} s")
            return objections, missing
        return objections, set()

    def _differences(self, ordinal: int, mine: Mapping[str, Any]) -> list[str]:
        differences = []
        for rank in self._ranks.others():
            key = f"applied/{ordinal}/{rank}"
            theirs = self._ranks.ask(partial(_look, key=key)) or {}
            different = [name for name in mine if theirs.get(name) != mine[name]]
            if different:
                name = different[0]
                differences.append(f"{name} is {mine[name]} on rank 0 and {theirs.get(name)} on rank {rank}")
        return differences

    def _tidy(self, board: Board, ordinal: int) -> None:
        """Words of the proposal before the last are read by nobody any more."""
        old = ordinal - 1
        if old >= 0:
            for rank in range(self._ranks.size):
                for kind in ("heard", "vote", "applied"):
                    board.forget(f"{kind}/{old}/{rank}")

    # -- the courier's thread -----------------------------------------------------------------------------------

    def _chore(self, board: Board) -> None:
        if not self.halt_reason:
            halt = board.look("halt")
            if halt is not None and halt["rank"] != self._ranks.rank:
                self.halt_reason = f"rank {halt['rank']} has halted: {halt['reason']}"
                self._hurry()
        if self._ranks.is_leader:
            self._name_place(board)
        elif self._called is None:
            self._listen(board)
        else:
            self._drop_if_refused(board)

    def _listen(self, board: Board) -> None:
        ordinal = self._ordinal
        payload = board.look(f"call/{ordinal}")
        if payload is None:
            return
        with self._lock:
            if self._ordinal != ordinal or self._called is not None:
                return
            hold = self._boundary if self._can_stop_here else self._boundary + 1
            self._called = Call(ordinal, payload, hold)
        board.put(f"heard/{ordinal}/{self._ranks.rank}", hold)
        self._hurry()

    def _drop_if_refused(self, board: Board) -> None:
        """Settled without this rank, which did not come: its loop need not stop for it any more."""
        call = self._called
        if call is None or self._is_meeting:
            return
        words = (board.look(f"place/{call.ordinal}"), board.look(f"decision/{call.ordinal}"))
        if any(word is not None and "no" in word for word in words):
            with self._lock:
                if self._called is call and not self._is_meeting:
                    self._end()

    def _name_place(self, board: Board) -> None:
        call = self._called
        if call is None or self._is_named:
            return
        for rank in self._ranks.others():
            if rank not in self._heard:
                hold = board.look(f"heard/{call.ordinal}/{rank}")
                if hold is not None:
                    self._heard[rank] = int(hold)
        stands = [rank for rank, hold in self._stuck.items() if self._heard.get(rank) == hold]
        word: dict[str, Any] | None = None
        if stands:
            word = {"no": f"{_named(stands)} did not come the last time and has made no step since"}
        elif len(self._heard) == self._ranks.size:
            word = {"at": max(self._heard.values())}
        else:
            silent = sorted(set(self._ranks.others()) - set(self._heard))
            gone = self._ranks.departed(board, silent)
            if gone:
                word = {"no": gone}
            elif time.monotonic() - self._called_at > self._ranks.patience.hear_seconds:
                word = {"no": f"{_named(silent)} did not answer"}
        if word is not None:
            board.claim(f"place/{call.ordinal}", word)
            self._is_named = True


def _look(board: Board, key: str) -> Any | None:
    return board.look(key)


def _named(ranks: list[int]) -> str:
    some = ", ".join(str(rank) for rank in ranks[:8]) + (", …" if len(ranks) > 8 else "")
    return f"rank {some}" if len(ranks) == 1 else f"ranks {some}"

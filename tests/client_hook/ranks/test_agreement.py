"""The protocol by itself: ranks as threads over a store in memory, each failing at the worst moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from torch.distributed import HashStore

from client_hook.ranks import Board, BoardUnreachable, Patience, Ranks
from client_hook.recovery.agreement import Agreement, NotAgreed, RanksParted

PATIENCE = Patience(
    hear_seconds=30, check_seconds=30, apply_seconds=30, silence_seconds=30, grace_seconds=1, answer_seconds=20
)
SHORT = Patience(
    hear_seconds=9, check_seconds=9, apply_seconds=9, silence_seconds=2.5, grace_seconds=1, answer_seconds=9
)


class Rank:
    """One rank's loop, reduced to its boundaries."""

    def __init__(self, store: Any, rank: int, size: int, patience: Patience) -> None:
        self.ranks = Ranks(store, rank, size, patience=patience)
        self.agreement = Agreement(self.ranks)
        self.ranks.courier.start()
        self.boundary = -1
        self.applied: list[tuple[int, Any]] = []
        self.said: list[str] = []
        self.objection = ""
        self.report: dict[str, Any] = {"revision": 1}
        self.dies_before: str = ""

    def boundaries(self, count: int, command: Any = None) -> None:
        """Go through so many boundaries; rank 0 proposes ``command`` at the first of them."""
        for _ in range(count):
            called = self.agreement.arrive()
            self.boundary += 1
            if command is not None:
                self.agreement.propose({"command": command})
                command, called = None, True
            if called and not self.meet():
                return

    def meet(self) -> bool:
        """Whether this rank goes on."""
        payload = self.agreement.called.payload
        try:
            if self.agreement.come_to_place() is None:
                return True
            if self.dies("vote"):
                return False
            self.agreement.decide(self.objection)
            if self.dies("apply"):
                return False
            self.applied.append((self.boundary, payload["command"]))
            self.agreement.conclude(self.report)
        except NotAgreed as no:
            self.said.append(f"no: {no}")
        except RanksParted as parted:
            self.said.append(f"parted: {parted}")
            return False
        return True

    def dies(self, moment: str) -> bool:
        """As a process that is killed: its courier gives no sign any more."""
        if self.dies_before == moment:
            self.ranks.courier.close()
        return self.dies_before == moment


Make = Callable[..., list[Rank]]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Rank] = []

    def ranks(size: int = 2, patience: Patience = PATIENCE) -> list[Rank]:
        store = HashStore()
        made.extend(Rank(store, rank, size, patience) for rank in range(size))
        return made[-size:]

    yield ranks
    for one in made:
        one.ranks.courier.close()


def run(*loops: Callable[[], None]) -> None:
    threads = [threading.Thread(target=loop, daemon=True) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a rank hangs"


def until_called(rank: Rank) -> None:
    """A fast loop: boundaries without end, until it was called and met."""
    deadline = time.monotonic() + 30
    while not rank.applied and not rank.said and time.monotonic() < deadline:
        rank.boundaries(1)


def test_ranks_that_are_at_different_steps_apply_at_the_same_one(make: Make) -> None:
    leader, second, third = make(3)
    second.boundaries(4)  # ahead, and at no boundary now
    third.boundaries(1)

    def lead() -> None:
        leader.boundaries(1, command="go back")
        until_called(leader)

    run(lead, lambda: until_called(second), lambda: until_called(third))
    assert leader.applied == second.applied == third.applied
    assert leader.applied[0][0] >= 4
    assert leader.said == second.said == third.said == []


def test_one_command_after_the_other(make: Make) -> None:
    leader, second = make()

    def lead() -> None:
        for number in range(3):
            leader.boundaries(1, command=number)
            while len(leader.applied) == number:
                leader.boundaries(1)

    def follow() -> None:
        while len(second.applied) < 3:
            second.boundaries(1)

    run(lead, follow)
    assert leader.applied == second.applied
    assert [command for _, command in leader.applied] == [0, 1, 2]


def test_one_objection_and_nobody_applies_anything(make: Make) -> None:
    leader, second = make()
    second.objection = "the checkpoint is torn"
    run(lambda: (leader.boundaries(1, command="go back"), until_called(leader)), lambda: until_called(second))
    assert leader.applied == second.applied == []
    assert leader.said == second.said == ["no: rank 1: the checkpoint is torn"]


def test_a_rank_that_dies_before_its_vote_is_a_no(make: Make) -> None:
    leader, second, third = make(3, patience=SHORT)
    third.dies_before = "vote"
    run(
        lambda: (leader.boundaries(1, command="go back"), until_called(leader)),
        lambda: until_called(second),
        lambda: third.boundaries(1_000_000) if not third.applied else None,
    )
    assert leader.applied == second.applied == []
    assert leader.said == second.said
    assert leader.said[0].startswith("no: rank 2 has given no sign of life") or "did not come" in leader.said[0]


def test_a_rank_that_dies_between_commit_and_apply_halts_all_the_others(make: Make) -> None:
    leader, second, third = make(3, patience=SHORT)
    third.dies_before = "apply"
    run(
        lambda: (leader.boundaries(1, command="go back"), until_called(leader)),
        lambda: until_called(second),
        lambda: third.boundaries(1_000_000),
    )
    assert [command for _, command in leader.applied] == ["go back"]
    assert leader.said == second.said
    assert leader.said[0].startswith("parted: rank 2 ") or "did not come" in leader.said[0]


def test_a_leader_that_dies_after_the_votes_leaves_nobody_half_way(make: Make) -> None:
    leader, second, third = make(3, patience=SHORT)
    leader.dies_before = "vote"
    run(
        lambda: (leader.boundaries(1, command="go back"), leader.boundaries(1_000_000)),
        lambda: until_called(second),
        lambda: until_called(third),
    )
    assert second.applied == third.applied == []
    assert second.said == third.said
    assert "rank 0 has given no sign of life" in second.said[0] or "nothing was decided" in second.said[0]


def test_ranks_that_are_not_the_same_afterwards_halt(make: Make) -> None:
    leader, second = make()
    second.report = {"revision": 2}
    run(lambda: (leader.boundaries(1, command="go back"), until_called(leader)), lambda: until_called(second))
    assert leader.said == second.said == ["parted: revision is 1 on rank 0 and 2 on rank 1"]


def test_a_rank_that_has_let_go_is_not_waited_for(make: Make) -> None:
    leader, second = make()
    second.ranks.end("has finished")
    run(lambda: leader.boundaries(1, command="go back"))
    assert leader.said == ["no: rank 1 has finished"]


def test_a_rank_that_never_comes_costs_one_wait_and_then_none(make: Make) -> None:
    """It has used up its share of the data and only shadows the others' collectives; its courier lives on."""
    leader, _ = make(patience=Patience(check_seconds=1, hear_seconds=20, silence_seconds=20, answer_seconds=20))
    run(lambda: (leader.boundaries(1, command="first"), leader.boundaries(3)))
    assert leader.said == ["no: rank 1 did not come within 1 s"]
    run(lambda: leader.boundaries(1, command="second"))
    assert leader.said[1] == "no: rank 1 did not come the last time and has made no step since"


def test_a_paused_rank_is_called_where_it_stands(make: Make) -> None:
    leader, second = make()
    second.boundaries(1)
    second.agreement.stay()

    def paused() -> None:
        while not second.agreement.look_again():
            second.agreement.stay()
            time.sleep(0.01)
        second.meet()

    run(lambda: leader.boundaries(1, command="resume"), paused)
    assert leader.applied == second.applied == [(0, "resume")]


class DeadStore(HashStore):
    """One whose process is gone."""

    def check(self, keys: list[str]) -> bool:
        raise RuntimeError("Connection reset by peer")

    set = get = compare_set = check  # type: ignore[assignment]


def test_a_store_that_is_gone_is_said_and_not_waited_for() -> None:
    with pytest.raises(BoardUnreachable, match="does not answer .Connection reset by peer.; mostly because rank 0"):
        Board(DeadStore()).look("anything")
    leader = Rank(DeadStore(), 0, 2, SHORT)
    leader.agreement.arrive()
    with pytest.raises(NotAgreed, match="could not be told"):
        leader.agreement.propose({"command": "go back"})
    assert not leader.agreement.arrive()
    leader.ranks.courier.close()


def test_a_store_that_hangs_holds_nobody_up() -> None:
    class Hanging(HashStore):
        def check(self, keys: list[str]) -> bool:
            time.sleep(2)
            return False

    leader = Rank(Hanging(), 0, 2, Patience(answer_seconds=0.2))
    began = time.monotonic()
    with pytest.raises(BoardUnreachable, match=r"did not answer within 0\.2 s"):
        leader.ranks.ask(lambda board: board.look("anything"))
    assert time.monotonic() - began < 1.9
    leader.ranks.courier.close(10)

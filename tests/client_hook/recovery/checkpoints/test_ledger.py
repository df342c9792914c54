from __future__ import annotations

from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from client_hook.recovery.checkpoints import CheckpointLedger, CheckpointRecord
from client_hook.recovery.checkpoints.ledger import PENDING_KEPT
from trainguard.wire import CheckpointReport


def record(step: int, *, attempt: int = 0, state: str = "candidate") -> CheckpointRecord:
    return CheckpointRecord(uuid4(), attempt, step, state, saved_at=float(step), size_bytes=10)  # type: ignore[arg-type]


def ledger_of(*steps: int, keep: int = 3, confirmed: bool = True) -> CheckpointLedger:
    ledger = CheckpointLedger(keep, quiet_steps=50)
    for step in steps:
        ledger.added(record(step))
    if confirmed:
        ledger.quiet(max(steps) + 50)
    return ledger


def states(ledger: CheckpointLedger) -> dict[int, str]:
    return {page.step: page.state for page in ledger.reports()}


def steps_of(ledger: CheckpointLedger, ids: list[UUID]) -> list[int]:
    return [page.step for page in ledger.reports() if page.checkpoint_id in ids]


def rotate(ledger: CheckpointLedger) -> None:
    for checkpoint_id in ledger.rotation():
        ledger.removed(checkpoint_id)


def test_a_checkpoint_begins_as_a_candidate() -> None:
    ledger = CheckpointLedger(quiet_steps=50)
    (report,) = ledger.added(record(200))
    assert (report.state, report.step, report.size_bytes) == ("candidate", 200, 10)
    assert ledger.reports() == [report]


def test_a_quiet_stretch_confirms_it_once() -> None:
    ledger = ledger_of(200, 240, confirmed=False)
    assert ledger.quiet(249) == []
    (report,) = ledger.quiet(250)
    assert (report.step, report.state, report.reason) == (200, "confirmed", "The 50 steps after it were quiet.")
    assert ledger.quiet(251) == []
    assert states(ledger) == {200: "confirmed", 240: "candidate"}


def test_all_that_hold_the_update_of_the_onset_are_suspect_confirmed_or_not() -> None:
    ledger = ledger_of(100, 200, 201)
    ledger.added(record(300))
    changed = ledger.suspect_from(200, "the loss diverges")
    assert [(page.step, page.state, page.reason) for page in changed] == [
        (201, "suspect", "the loss diverges"),
        (300, "suspect", "the loss diverges"),
    ]
    # The checkpoint of step 200 was taken before update 200 was made.
    assert states(ledger)[200] == "confirmed"
    assert ledger.suspect_from(200, "again") == []


def test_a_suspect_is_never_confirmed() -> None:
    ledger = ledger_of(200, confirmed=False)
    ledger.suspect_from(100, "spike")
    assert ledger.quiet(10_000) == []


def test_one_that_cannot_be_read_is_distrusted() -> None:
    ledger = ledger_of(100, 200)
    first = ledger.reports()[0].checkpoint_id
    (report,) = ledger.distrust(first, "it is torn")
    assert (report.state, report.reason) == ("suspect", "it is torn")
    assert ledger.distrust(first, "again") == []
    assert ledger.distrust(uuid4(), "unknown") == []


def test_what_the_abandoned_branch_saved_goes() -> None:
    ledger = ledger_of(100, 200, 300)
    ledger.added(record(400))
    changed = ledger.rolled_back(200, attempt=1)
    assert [page.step for page in changed] == [300, 400]
    assert "attempt 1 began at step 200" in changed[0].reason
    assert steps_of(ledger, ledger.rotation()) == [300, 400]
    ledger.added(record(300, attempt=1))
    rotate(ledger)
    assert [(page.step, page.attempt) for page in ledger.reports()] == [(100, 0), (200, 0), (300, 1)]


def test_the_newest_confirmed_ones_stay_and_older_ones_at_growing_distances() -> None:
    ledger = CheckpointLedger(3, quiet_steps=50)
    for step in range(0, 100_001, 100):
        ledger.added(record(step))
        ledger.quiet(step)
        rotate(ledger)
    confirmed = [page.step for page in ledger.reports() if page.state == "confirmed"]
    assert confirmed[-3:] == [99_700, 99_800, 99_900]
    distances = [99_900 - step for step in reversed(confirmed[:-3])]
    assert ledger.distant - 2 <= len(distances) <= ledger.distant
    assert all(1 < further / nearer <= 4 for nearer, further in pairwise(distances))
    assert distances[-1] > 4_000


def test_the_last_one_from_before_an_open_trend_stays_whatever_keep_says() -> None:
    ledger = CheckpointLedger(1, quiet_steps=50, distant=0)
    for step in range(0, 3_001, 100):
        ledger.added(record(step))
        ledger.quiet(step)
        ledger.hold(min(step, 1_250))
        rotate(ledger)
    assert [page.step for page in ledger.reports() if page.state == "confirmed"] == [1_200, 2_900]


def test_without_a_quiet_stretch_candidates_stay_bounded_and_the_oldest_is_not_lost() -> None:
    ledger = ledger_of(0)
    for step in range(100, 10_000, 100):
        ledger.added(record(step))
        rotate(ledger)
    waiting = [page.step for page in ledger.reports() if page.state == "candidate"]
    assert len(waiting) == PENDING_KEPT
    assert (waiting[0], waiting[-1]) == (100, 9_900)
    assert states(ledger)[0] == "confirmed"


def test_the_newest_suspects_stay_for_a_person_to_look_into() -> None:
    ledger = ledger_of(0, 100, 200, 300, keep=2)
    ledger.suspect_from(50, "drift")
    assert steps_of(ledger, ledger.rotation()) == [100]


def test_the_first_state_stays_as_long_as_nothing_else_is_confirmed() -> None:
    ledger = CheckpointLedger(1, quiet_steps=50, distant=0)
    ledger.added(record(0, state="confirmed"))
    ledger.added(record(100))
    assert ledger.rotation() == []
    ledger.quiet(150)
    assert steps_of(ledger, ledger.rotation()) == [0]


def test_what_is_removed_says_why_and_is_forgotten() -> None:
    ledger = ledger_of(100, 200, keep=1)
    ledger.suspect_from(150, "drift")
    older, newer = ledger.reports()
    assert [(page.state, page.reason) for page in ledger.removed(older.checkpoint_id)] == [
        ("removed", "It made room for newer ones.")
    ]
    assert [page.reason for page in ledger.removed(newer.checkpoint_id)] == ["drift"]
    assert ledger.reports() == []
    assert ledger.removed(older.checkpoint_id) == []


def test_its_records_give_the_same_ledger_again() -> None:
    ledger = ledger_of(100, 200, 300)
    ledger.suspect_from(250, "spike")
    again = CheckpointLedger(quiet_steps=50)
    again.load(CheckpointReport.model_validate_json(page.model_dump_json()) for page in ledger.records())
    assert again.reports() == ledger.reports()
    assert again.rotation() == ledger.rotation()


@pytest.mark.parametrize("options", [{"keep": 0}, {"quiet_steps": -1}, {"distant": -1}])
def test_numbers_that_make_no_sense_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        CheckpointLedger(**options)  # type: ignore[arg-type]


class Life(RuleBasedStateMachine):
    """Any life of a run: whatever happens, there is something to go back to and the disk stays bounded."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = CheckpointLedger(2, quiet_steps=5, distant=3)
        self.ledger.added(record(0, state="confirmed"))
        self.step, self.attempt = 0, 0

    @rule(steps=st.integers(1, 40))
    def train_and_save(self, steps: int) -> None:
        self.step += steps
        self.ledger.added(record(self.step, attempt=self.attempt))
        self.rotate()

    @rule()
    def stay_quiet(self) -> None:
        self.step += 6
        before = {page.checkpoint_id: page for page in self.ledger.reports()}
        for page in self.ledger.quiet(self.step):
            assert before[page.checkpoint_id].state == "candidate"
        self.rotate()

    @rule(back=st.integers(0, 60))
    def get_into_trouble_and_roll_back(self, back: int) -> None:
        onset = max(self.step - back, 0)
        self.ledger.suspect_from(onset, "trouble")
        target = [page for page in self.ledger.reports() if page.state == "confirmed"][-1]
        assert target.step <= onset
        self.attempt += 1
        self.step = target.step
        self.ledger.rolled_back(target.step, self.attempt)
        self.rotate()
        assert all(page.step <= target.step for page in self.ledger.reports())
        assert target in self.ledger.reports()

    @rule()
    def restart(self) -> None:
        again = CheckpointLedger(2, quiet_steps=5, distant=3)
        again.load(self.ledger.records())
        assert again.reports() == self.ledger.reports()
        self.ledger = again

    def rotate(self) -> None:
        confirmed = [page for page in self.ledger.reports() if page.state == "confirmed"]
        rotate(self.ledger)
        assert confirmed[-2:] == [page for page in self.ledger.reports() if page.state == "confirmed"][-2:]

    @invariant()
    def something_to_go_back_to(self) -> None:
        assert any(page.state == "confirmed" for page in self.ledger.reports())

    @invariant()
    def bounded(self) -> None:
        assert len(self.ledger.reports()) <= 2 + 3 + PENDING_KEPT + 2

    @invariant()
    def rotation_is_settled(self) -> None:
        assert self.ledger.rotation() == []


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@settings(max_examples=50, deadline=None)
@given(
    steps=st.lists(st.integers(0, 10**9), min_size=1, max_size=40),
    keep=st.integers(1, 4),
    distant=st.integers(0, 5),
)
def test_the_newest_confirmed_are_never_rotated_away(steps: list[int], keep: int, distant: int) -> None:
    ledger = CheckpointLedger(keep, quiet_steps=0, distant=distant)
    for step in steps:
        ledger.added(record(step))
    ledger.quiet(max(steps))
    newest = [page.checkpoint_id for page in ledger.reports()][-keep:]
    going = ledger.rotation()
    assert not set(newest) & set(going)
    assert len(ledger.reports()) - len(going) <= keep + distant

from __future__ import annotations

from uuid import UUID

from client_hook.delivery.chronicle import Chronicle
from client_hook.delivery.packing import MAX_REPORTS
from tests.client_hook.delivery.bench import acknowledgement, observation
from trainguard.wire import AttemptReport, CheckpointReport


def began(attempt: int) -> AttemptReport:
    return AttemptReport(attempt=attempt, start_step=attempt, reason="rollback", began_at=1000.0)


def saved(number: int) -> CheckpointReport:
    return CheckpointReport(checkpoint_id=UUID(int=number), attempt=0, step=number, state="candidate", saved_at=1000.0)


def test_only_attempts_and_checkpoints_are_told_again() -> None:
    chronicle = Chronicle()
    chronicle.note([observation(0), saved(1), acknowledgement(1), "a mark", began(1)])
    assert chronicle.tell() == [began(1), saved(1)]


def test_it_stays_small_and_keeps_the_latest() -> None:
    chronicle = Chronicle()
    for number in range(1, 2_000):
        chronicle.note([began(number), saved(number)])
    told = chronicle.tell()
    assert len(told) == 2 * Chronicle.MOST <= MAX_REPORTS
    assert told[-1] == saved(1_999)
    assert told[Chronicle.MOST - 1] == began(1_999)


def test_later_news_of_a_checkpoint_make_it_the_latest() -> None:
    chronicle = Chronicle()
    chronicle.note([saved(1)])
    for number in range(2, Chronicle.MOST + 1):
        chronicle.note([saved(number)])
    chronicle.note([saved(1).model_copy(update={"state": "confirmed"})])
    chronicle.note([saved(5_000)])
    kept = {report.checkpoint_id.int for report in chronicle.tell() if isinstance(report, CheckpointReport)}
    assert 1 in kept
    assert 2 not in kept

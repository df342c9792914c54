from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from client_hook.recovery import journal as journal_module
from client_hook.recovery.errors import FolderUnusable, JournalLocked, JournalNotWritten, JournalUnreadable
from client_hook.recovery.journal import HANDLED_KEPT, Journal, JournalLike, MemoryJournal
from trainguard.policy import LadderMemory, PolicyMemory
from trainguard.wire import Acknowledgement, CheckpointReport, Command, LowerLearningRate, Rollback


def command(command_id: UUID | None = None) -> Command:
    return Command(
        command_id=command_id or uuid4(),
        attempt=0,
        revision=0,
        orders=(Rollback(checkpoint_id=uuid4()), LowerLearningRate(factor=0.5)),
        issued_at=1.0,
        expires_at=2.0,
        reason="the loss diverged",
    )


def answer(command_id: UUID | None = None, *, status: str = "applied", revision: int = 1) -> Acknowledgement:
    return Acknowledgement(
        command_id=command_id or uuid4(),
        status=status,  # type: ignore[arg-type]
        action="rollback",
        attempt=1,
        revision=revision,
        step=9,
        next_step=4,
        handled_at=3.0,
        reason="rolled back",
        changes={"learning_rates": [[0.1]], "checksum": "ab"},
    )


def checkpoint(step: int) -> CheckpointReport:
    return CheckpointReport(
        checkpoint_id=uuid4(), attempt=0, step=step, state="confirmed", saved_at=5.0, reason="quiet"
    )


@pytest.fixture(params=["memory", "folder"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> JournalLike:
    return MemoryJournal("gpt") if request.param == "memory" else Journal(tmp_path, "gpt")


def test_a_new_journal_knows_nothing(journal: JournalLike) -> None:
    assert (journal.attempt, journal.revision, journal.lr_scale, journal.rewarm_steps) == (0, 0, 1.0, 0)
    assert (journal.policy_memory, journal.checkpoints, journal.interrupted) == (None, (), None)
    assert not journal.is_resumed
    assert journal.handled(uuid4()) is None


def test_a_completed_command_is_known_with_its_answer(journal: JournalLike) -> None:
    order = command()
    journal.begin(order)
    journal.complete(answer(order.command_id), attempt=1, lr_scale=0.5, rewarm_steps=20)
    known = journal.handled(order.command_id)
    assert known is not None
    assert known.status == "applied"
    assert (journal.attempt, journal.revision, journal.lr_scale, journal.rewarm_steps) == (1, 1, 0.5, 20)


def test_a_refusal_is_known_and_changes_nothing_else(journal: JournalLike) -> None:
    refusal = answer(status="refused", revision=7)
    journal.remember_handled(refusal)
    assert journal.handled(refusal.command_id) == refusal
    assert (journal.attempt, journal.revision) == (0, 0)


def test_what_is_remembered_leaves_the_rest_alone(journal: JournalLike) -> None:
    memory, pages = PolicyMemory(rollbacks=2), (checkpoint(4),)
    journal.remember(policy_memory=memory)
    journal.remember(checkpoints=pages)
    journal.remember(attempt=3)
    assert (journal.policy_memory, journal.checkpoints, journal.attempt) == (memory, pages, 3)


def test_the_newest_thousand_answers_are_kept() -> None:
    journal = MemoryJournal("gpt")
    answers = [answer() for _ in range(HANDLED_KEPT + 2)]
    for each in answers:
        journal.remember_handled(each)
    assert [journal.handled(each.command_id) is None for each in answers[:3]] == [True, True, False]
    assert journal.handled(answers[-1].command_id) == answers[-1]


def test_everything_outlives_the_process(tmp_path: Path) -> None:
    first = Journal(tmp_path, "gpt")
    order = command()
    memory = PolicyMemory(ladders={"instability": LadderMemory(rung=2, last_step=40)}, rollbacks=1)
    pages = (checkpoint(4), checkpoint(8))
    first.begin(order)
    first.complete(answer(order.command_id), attempt=1, lr_scale=1 / 3, rewarm_steps=20)
    first.remember(policy_memory=memory, checkpoints=pages)
    first.close()

    second = Journal(tmp_path, "gpt")
    assert second.is_resumed
    assert second.run_id == first.run_id
    assert (second.attempt, second.revision, second.lr_scale, second.rewarm_steps) == (1, 1, 1 / 3, 20)
    assert (second.policy_memory, second.checkpoints, second.interrupted) == (memory, pages, None)
    assert second.handled(order.command_id) == first.handled(order.command_id)


def test_a_command_that_the_process_died_over_is_known_as_interrupted_until_it_is_answered(tmp_path: Path) -> None:
    first = Journal(tmp_path, "gpt")
    order = command()
    first.begin(order)
    first.close()

    second = Journal(tmp_path, "gpt")
    assert second.interrupted == order
    assert second.handled(order.command_id) is None
    second.remember_handled(answer(order.command_id, status="failed"))
    assert second.interrupted is None
    second.close()
    assert Journal(tmp_path, "gpt").interrupted is None


@pytest.mark.parametrize(("state", "is_resumed"), [("finished", False), ("halted", False), ("failed", True)])
def test_a_run_that_came_to_its_end_is_not_taken_up(tmp_path: Path, state: str, is_resumed: bool) -> None:
    first = Journal(tmp_path, "gpt")
    first.finish(state)  # type: ignore[arg-type]
    first.close()
    second = Journal(tmp_path, "gpt")
    assert second.is_resumed is is_resumed
    assert (second.run_id == first.run_id) is is_resumed


@pytest.mark.parametrize(("run", "resume"), [("gpt", False), ("another", True)])
def test_a_new_run_keeps_the_former_ones_journal_aside(tmp_path: Path, run: str, resume: bool) -> None:
    first = Journal(tmp_path, "gpt")
    first.remember(attempt=2)
    first.close()
    second = Journal(tmp_path, run, resume=resume)
    assert not second.is_resumed
    assert (second.attempt, second.run_id != first.run_id) == (0, True)
    aside = json.loads((tmp_path / f"journal-{first.run_id}.json").read_text())
    assert (aside["run"], aside["attempt"]) == ("gpt", 2)


def test_a_second_trainer_is_kept_out_and_told_who_is_there(tmp_path: Path) -> None:
    first = Journal(tmp_path, "gpt")
    with pytest.raises(JournalLocked, match="this very process"):
        Journal(tmp_path, "gpt")
    first.close()
    Journal(tmp_path, "gpt").close()


TRAINER = """
import os, sys
from client_hook.recovery.journal import Journal
journal = Journal(sys.argv[1], "gpt")
journal.remember(attempt=5)
if "fork" in sys.argv:
    child = os.fork()
    if child == 0:
        os.close(1)
        sys.stdin.read()  # a data-loader worker that outlives its trainer
        os._exit(0)
print("open", flush=True)
sys.stdin.read()
"""


def trainer(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINER, str(folder), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while process.stdout.readline() != "open\n":
        assert process.poll() is None
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_living_trainer_is_named_and_a_killed_one_is_taken_over_from(tmp_path: Path) -> None:
    process = trainer(tmp_path)
    with pytest.raises(JournalLocked, match=f"process {process.pid}"):
        Journal(tmp_path, "gpt")
    end(process)
    with closing(Journal(tmp_path, "gpt")) as journal:
        assert journal.is_resumed
        assert journal.attempt == 5
    assert (tmp_path / "journal.lock").read_text() == f"{os.getpid()}\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_worker_forked_by_a_killed_trainer_does_not_hold_its_folder(tmp_path: Path) -> None:
    process = trainer(tmp_path, "fork")
    process.send_signal(signal.SIGKILL)
    process.wait()
    try:
        Journal(tmp_path, "gpt").close()
    finally:
        process.communicate()  # closes the child's stdin: it ends


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "Invalid JSON"),
        ('{"written_by": "trainguard", "version": 1, "run_', "Invalid JSON"),
        ("[1, 2]", "valid dictionary|object"),
        ('{"epoch": 3}', "written_by: Field required"),
        ('{"written_by": "trainguard", "version": 2}', "version: .*less than or equal to 1"),
        ("\x00" * 300, "Invalid JSON"),
    ],
)
def test_a_torn_foreign_or_newer_journal_is_refused_and_a_copy_kept(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "journal.json"
    path.write_text(text)
    for _ in range(2):
        with pytest.raises(JournalUnreadable, match=complaint) as refusal:
            Journal(tmp_path, "gpt")
    assert "otherwise remove it" in str(refusal.value)
    assert path.read_text() == text
    copies = list(tmp_path.glob("journal.unreadable-*.json"))
    assert [copy.read_text() for copy in copies] == [text]
    path.unlink()
    Journal(tmp_path, "gpt").close()  # the lock was let go of


def test_every_cut_of_a_journal_is_noticed(tmp_path: Path) -> None:
    Journal(tmp_path, "gpt").close()
    path = tmp_path / "journal.json"
    text = path.read_bytes()
    for length in range(0, len(text) - 1, 17):
        path.write_bytes(text[:length])
        with pytest.raises(JournalUnreadable):
            Journal(tmp_path, "gpt")


class FullDisk:
    """Refuses every write while ``is_full``."""

    is_full = False

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = journal_module.write_bytes_durably

        def write(*arguments: object) -> None:
            if self.is_full:
                raise OSError(28, "No space left on device")
            real(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(journal_module, "write_bytes_durably", write)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    return FullDisk(monkeypatch)


def test_on_a_full_disk_no_command_begins(tmp_path: Path, disk: FullDisk) -> None:
    journal = Journal(tmp_path, "gpt")
    disk.is_full = True
    with pytest.raises(JournalNotWritten, match="No space left"):
        journal.begin(command())
    journal.close()
    disk.is_full = False
    assert Journal(tmp_path, "gpt").interrupted is None


def test_on_a_full_disk_what_was_done_is_kept_in_memory_and_written_later(
    tmp_path: Path, disk: FullDisk, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path, "gpt")
    order = command()
    journal.begin(order)
    disk.is_full = True
    with caplog.at_level(logging.WARNING):
        journal.complete(answer(order.command_id), attempt=1, lr_scale=0.5)
        journal.remember(policy_memory=PolicyMemory(rollbacks=1))
    assert len(caplog.records) == 1
    assert journal.handled(order.command_id) is not None
    disk.is_full = False
    journal.remember(attempt=2)
    journal.close()
    resumed = Journal(tmp_path, "gpt")
    assert resumed.handled(order.command_id) is not None
    assert (resumed.lr_scale, resumed.attempt, resumed.policy_memory) == (0.5, 2, PolicyMemory(rollbacks=1))


def test_a_disk_that_is_full_from_the_start_is_an_error_at_attach(tmp_path: Path, disk: FullDisk) -> None:
    disk.is_full = True
    with pytest.raises(FolderUnusable, match="free some space"):
        Journal(tmp_path, "gpt")
    disk.is_full = False
    Journal(tmp_path, "gpt").close()


def test_a_closed_journal_writes_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    late = Journal(tmp_path, "gpt")
    late.close()
    late.close()
    successor = Journal(tmp_path, "gpt")
    successor.remember(attempt=4)
    late.remember(attempt=9)
    with pytest.raises(JournalNotWritten):
        late.begin(command())
    assert "let go" in caplog.text
    successor.close()
    assert Journal(tmp_path, "gpt").attempt == 4


def test_leftovers_of_a_process_that_died_while_writing_are_removed(tmp_path: Path) -> None:
    leftover = tmp_path / ".trainguard-journal.json.123.tmp"
    leftover.write_text("half")
    Journal(tmp_path, "gpt")
    assert not leftover.exists()


def test_threads_may_write_at_the_same_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "gpt")
    answers = [answer(status="refused") for _ in range(20)]
    threads = [threading.Thread(target=journal.remember_handled, args=(each,)) for each in answers]
    threads += [
        threading.Thread(target=journal.remember, kwargs={"policy_memory": PolicyMemory(rollbacks=1)}) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    resumed = Journal(tmp_path, "gpt")
    assert all(resumed.handled(each.command_id) == each for each in answers)
    assert resumed.policy_memory == PolicyMemory(rollbacks=1)

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import torch

from client_hook.recovery.checkpoints import CheckpointInvalid, DirectoryCheckpoints, directory
from client_hook.recovery.errors import FolderUnusable
from tests.client_hook.recovery.checkpoints.snapshots import save, snapshot_of, value_of


def file_of(folder: Path, step: int, suffix: str = ".pt") -> Path:
    (path,) = folder.glob(f"step-{step:08d}-*{suffix}")
    return path


def visible(folder: Path) -> set[str]:
    return {path.suffix for path in folder.iterdir()}


def test_everything_outlives_the_process(tmp_path: Path) -> None:
    ids = [save(DirectoryCheckpoints(tmp_path), step, attempt=1) for step in (1, 2)]
    again = DirectoryCheckpoints(tmp_path)
    assert [(record.checkpoint_id, record.step, record.attempt) for record in again.entries()] == [
        (ids[0], 1, 1),
        (ids[1], 2, 1),
    ]
    assert [value_of(again.load(each)) for each in ids] == [1.0, 2.0]


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def tear(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("damage", [flip_a_bit, tear, empty, Path.unlink])
@pytest.mark.parametrize("reopened", [False, True])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_loads(
    damage: Any, reopened: bool, tmp_path: Path
) -> None:
    store = DirectoryCheckpoints(tmp_path)
    good, bad = save(store, 1), save(store, 2)
    damage(file_of(tmp_path, 2))
    if reopened:
        store = DirectoryCheckpoints(tmp_path)
    with pytest.raises(CheckpointInvalid):
        store.verify(bad)
    with pytest.raises(CheckpointInvalid, match="older checkpoint|one that is there"):
        store.load(bad)
    assert value_of(store.load(good)) == 1.0


def test_every_single_flipped_bit_would_be_found(tmp_path: Path) -> None:
    store = DirectoryCheckpoints(tmp_path)
    checkpoint_id = save(store, 1)
    path = file_of(tmp_path, 1)
    content = path.read_bytes()
    for place in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(CheckpointInvalid, match="torn or was changed"):
            store.load(checkpoint_id)
    path.write_bytes(content)
    assert value_of(store.load(checkpoint_id)) == 1.0


@pytest.mark.parametrize("content", ["", '{"written_by": "trainguard", "ver', "[]", '{"epoch": 3}'])
def test_a_torn_or_foreign_manifest_is_passed_over_and_left_alone(content: str, tmp_path: Path) -> None:
    store = DirectoryCheckpoints(tmp_path)
    good, bad = save(store, 1), save(store, 2)
    manifest = file_of(tmp_path, 2, ".json")
    manifest.write_text(content)
    again = DirectoryCheckpoints(tmp_path)
    assert again.exists(good)
    assert not again.exists(bad)
    assert manifest.read_text() == content


def test_a_manifest_cannot_name_a_path(tmp_path: Path) -> None:
    store = DirectoryCheckpoints(tmp_path / "in")
    checkpoint_id = save(store, 1)
    manifest = file_of(tmp_path / "in", 1, ".json")
    inside = file_of(tmp_path / "in", 1)
    outside = tmp_path / inside.name
    inside.rename(outside)
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "file": f"../{outside.name}"}))
    assert not DirectoryCheckpoints(tmp_path / "in").exists(checkpoint_id)


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


def test_a_file_that_carries_code_is_not_run_even_with_a_right_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = DirectoryCheckpoints(tmp_path / "checkpoints")
    checkpoint_id = save(store, 1)
    path = file_of(store.folder, 1)
    torch.save({"format": 1, "model": Bomb()}, path)
    manifest = file_of(store.folder, 1, ".json")
    digest = directory.hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "sha256": digest}))
    with pytest.raises(CheckpointInvalid, match="cannot be read"):
        DirectoryCheckpoints(store.folder).load(checkpoint_id)
    assert not Path("exploded").exists()
    assert pickle.dumps(Bomb())  # the bomb is a real one


def test_a_manifest_without_its_file_is_cleaned_up_at_the_next_start(tmp_path: Path) -> None:
    save(DirectoryCheckpoints(tmp_path), 1)
    file_of(tmp_path, 1).unlink()
    DirectoryCheckpoints(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    others = [tmp_path / name for name in ("model.pt", "step-00000001-final.pt", "notes.json", "journal.json")]
    for path in others:
        path.write_text("theirs")
    store = DirectoryCheckpoints(tmp_path)
    store.remove(save(store, 1))
    assert sorted(path for path in tmp_path.iterdir()) == sorted(others)


@pytest.mark.parametrize("background", [False, True])
def test_on_a_full_disk_saving_is_told_as_failed_and_what_was_stored_stays(background: bool, tmp_path: Path) -> None:
    store = DirectoryCheckpoints(tmp_path, background=background)
    good = save(store, 1)
    assert store.wait(60)
    store.news()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        bad = save(store, 2, elements=100_000)
        assert store.wait(60)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)
    (news,) = store.news()
    assert (news.kind, news.record.checkpoint_id) == ("failed", bad)
    assert f"'{tmp_path}' could not take the checkpoint of step 2" in news.reason
    assert not store.exists(bad)
    assert len(list(tmp_path.iterdir())) == 2  # nothing half-written is left
    assert value_of(store.load(good)) == 1.0
    assert value_of(store.load(save(store, 3, elements=100_000))) == 3.0
    store.close()


@pytest.mark.parametrize("failing", ["write_bytes_durably", "os.replace"])
def test_a_failure_between_the_two_files_leaves_neither(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryCheckpoints(tmp_path)

    def fail(*arguments: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(f"client_hook.recovery.checkpoints.directory.{failing}", fail)
        save(store, 1)
    assert [news.kind for news in store.news()] == ["failed"]
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_could_not_be_read_back_is_told_and_not_written(tmp_path: Path) -> None:
    store = DirectoryCheckpoints(tmp_path)
    snapshot = snapshot_of(1.0)
    snapshot.state["odd"] = {"where": Path("/tmp")}
    assert store.save(snapshot, checkpoint_id=uuid4(), attempt=0, step=1) == 0
    (news,) = store.news()
    assert news.kind == "failed"
    assert "state['odd']['where']" in news.reason
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys, threading
from uuid import UUID
from client_hook.recovery.checkpoints import directory
from tests.client_hook.recovery.checkpoints.snapshots import snapshot_of

moment, folder = sys.argv[1], sys.argv[2]
store = directory.DirectoryCheckpoints(folder)
store.save(snapshot_of(1.0, 50_000), checkpoint_id=UUID(int=1), attempt=0, step=1)

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

if moment == "in the middle of the file":
    real = directory._HashingFile.write
    def write(self, block):
        if self.size_bytes > 20_000:
            self._file.write(block[: len(block) // 2])
            self._file.flush()
            die()
        return real(self, block)
    directory._HashingFile.write = write
elif moment == "before the manifest":
    directory.write_bytes_durably = die
elif moment == "before the renaming":
    directory.os = type("Dying", (), {"replace": die, "__getattr__": lambda self, name: getattr(os, name)})()
elif moment == "before the folder is synced":
    directory.fsync_folder = die
store.save(snapshot_of(2.0, 50_000), checkpoint_id=UUID(int=2), attempt=0, step=2)
"""


@pytest.mark.parametrize(
    ("moment", "is_there"),
    [
        ("in the middle of the file", False),
        ("before the manifest", False),
        ("before the renaming", False),
        ("before the folder is synced", True),
    ],
)
def test_after_kill_9_the_last_good_checkpoint_loads_and_leftovers_go(
    moment: str, is_there: bool, tmp_path: Path
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, moment, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    store = DirectoryCheckpoints(tmp_path)
    assert value_of(store.load(UUID(int=1))) == 1.0
    assert store.exists(UUID(int=2)) is is_there
    if is_there:
        assert value_of(store.load(UUID(int=2))) == 2.0
    assert len(list(tmp_path.iterdir())) == (4 if is_there else 2)


class Gate:
    """Holds every write back until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_reached, self.is_open = threading.Event(), threading.Event()
        real = DirectoryCheckpoints._write_files

        def write(store: DirectoryCheckpoints, *arguments: Any) -> Any:
            self.is_reached.set()
            assert self.is_open.wait(60)
            return real(store, *arguments)

        monkeypatch.setattr(DirectoryCheckpoints, "_write_files", write)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def test_saving_in_the_background_does_not_wait_for_the_disk(tmp_path: Path, gate: Gate) -> None:
    store = DirectoryCheckpoints(tmp_path, background=True)
    checkpoint_id = save(store, 1)
    assert gate.is_reached.wait(60)
    assert not store.wait(0)
    assert value_of(store.load(checkpoint_id)) == 1.0  # from memory
    assert [record.step for record in store.entries()] == [1]
    gate.is_open.set()
    store.close()
    assert value_of(DirectoryCheckpoints(tmp_path).load(checkpoint_id)) == 1.0


def test_a_disk_that_is_too_slow_is_told_and_memory_stays_bounded(tmp_path: Path, gate: Gate) -> None:
    store = DirectoryCheckpoints(tmp_path, background=True, queue=1)
    first = save(store, 1)
    assert gate.is_reached.wait(60)
    second, third = save(store, 2), save(store, 3)
    assert [store.exists(each) for each in (first, second, third)] == [True, True, False]
    (news,) = store.news()
    assert (news.kind, news.record.step) == ("failed", 3)
    assert "save less often" in news.reason
    gate.is_open.set()
    store.close()


def test_one_that_is_removed_while_it_is_written_does_not_come_back(tmp_path: Path, gate: Gate) -> None:
    store = DirectoryCheckpoints(tmp_path, background=True, queue=4)
    first, second = save(store, 1), save(store, 2)
    assert gate.is_reached.wait(60)
    store.remove(first)
    store.remove(second)
    assert not store.exists(first)
    gate.is_open.set()
    assert store.wait(60)
    assert store.entries() == []
    assert list(tmp_path.iterdir()) == []
    store.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_neither_writes_nor_waits(tmp_path: Path, gate: Gate) -> None:
    store = DirectoryCheckpoints(tmp_path, background=True)
    save(store, 1)
    assert gate.is_reached.wait(60)
    child = os.fork()
    if child == 0:  # nothing but what is tested may run here, and no exception may leave
        is_fine = store.wait(60) and save_is_refused(store)
        store.close()
        os._exit(0 if is_fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    gate.is_open.set()
    store.close()
    assert len(list(tmp_path.iterdir())) == 2


def save_is_refused(store: DirectoryCheckpoints) -> bool:
    return store.save(snapshot_of(2.0), checkpoint_id=uuid4(), attempt=0, step=2) == 0


def test_a_folder_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FolderUnusable, match="does not exist"):
        DirectoryCheckpoints(tmp_path / "missing" / "checkpoints")

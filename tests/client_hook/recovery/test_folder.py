from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from client_hook.recovery.errors import FolderUnusable
from client_hook.recovery.folder import usable_folder


def test_the_folder_is_made_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    folder = usable_folder(tmp_path / "checkpoints")
    assert folder.is_dir()
    assert list(folder.iterdir()) == []
    assert usable_folder(str(folder)) == folder


def test_its_parent_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FolderUnusable, match="does not exist; make that folder first or correct the path"):
        usable_folder(tmp_path / "mistyped" / "checkpoints")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_that_name_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(FolderUnusable, match="is a file, not a folder"):
        usable_folder(tmp_path / "checkpoints")


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(FolderUnusable, match="an empty name"):
        usable_folder(" ")


def test_one_that_cannot_be_written_is_found_out_by_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write anywhere, so the refusal is the file system's: read-only, or full.
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    with pytest.raises(FolderUnusable, match="Read-only file system"):
        usable_folder(tmp_path)

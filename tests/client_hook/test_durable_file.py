from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pytest

from client_hook.durable_file import remove_leftovers, temporary_name, write_durably


def test_the_new_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text in (b"old", b"new"):
        write_durably(path, lambda out, text=text: _write(out, text))  # type: ignore[misc]
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def _write(out: BinaryIO, text: bytes) -> None:
    out.write(text)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_breaks_off_in_the_middle_leaves_the_old_content_and_nothing_else(
    error: BaseException, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def break_off(out: BinaryIO) -> None:
        out.write(b"ne")
        raise error

    with pytest.raises(type(error)):
        write_durably(path, break_off)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_are_removed_and_counted_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"whole")
    temporary_name(path).write_bytes(b"half")
    assert remove_leftovers(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [path]

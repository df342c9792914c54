"""Opening a log, packed by gzip or not."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from trainguard.replay.errors import LogUnreadable

HEAD_BYTES = 8192
_GZIP = b"\x1f\x8b"


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """The file's bytes, unpacked; what the system or the packing says against it becomes `LogUnreadable`."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            if not packed:
                yield file
                return
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield unpacked
    except FileNotFoundError:
        raise LogUnreadable(path, "there is no such file; check the name") from None
    except IsADirectoryError:
        raise LogUnreadable(path, "this is a folder; name a file in it") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise LogUnreadable(path, f"it is damaged gzip ({error}); copy or pack it again") from None
    except OSError as error:
        raise LogUnreadable(path, f"it cannot be read ({error.strerror or error})") from None


def head_of(path: Path) -> bytes:
    """The first bytes, unpacked. Raises `LogUnreadable` for an empty file."""
    with opened(path) as file:
        head = file.read(HEAD_BYTES)
    if not head.strip():
        raise LogUnreadable(path, "it is empty; give a log with at least a few steps")
    return head


def lines_of(path: Path) -> Iterator[str]:
    """The file as lines of text. Raises `LogUnreadable`, with the line, where it is no UTF-8."""
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                why = "it is no text in UTF-8; save it so, or name a log of a known format"
                raise LogUnreadable(path, why, f"line {number}") from None


def text_of(path: Path) -> str:
    """The whole file as text."""
    return "".join(lines_of(path))

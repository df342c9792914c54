"""Records that go over LevelDB's blocks, as they do in every run that is longer than a minute."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from trainguard.replay import LogUnreadable, read_log

BLOCK = 32 * 1024


def varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def history(step: int, cells: dict[str, object]) -> bytes:
    items = b"".join(
        field(1, field(2, key.encode()) + field(16, json.dumps(cell).encode())) for key, cell in cells.items()
    )
    return field(2, items + field(2, varint(1 << 3) + varint(step)))


def framed(records: list[bytes]) -> bytes:
    """As LevelDB's log writer does: chunks of one record never cross a block, a rest of under 7 bytes is zeros."""
    out = bytearray(b":W&B" + struct.pack("<HB", 0xBEE1, 0))
    for record in records:
        begun = False
        rest = record
        while rest or not begun:
            left = BLOCK - len(out) % BLOCK
            if left < 7:
                out += bytes(left)
                left = BLOCK
            chunk, rest = rest[: left - 7], rest[left - 7 :]
            kind = (3 if rest else 4) if begun else (2 if rest else 1)
            out += struct.pack("<IHB", 0, len(chunk), kind) + chunk
            begun = True
    return bytes(out)


@pytest.mark.parametrize("padding", [0, 1, 2, 3, 11, 500, 40_000, 70_000])
def test_records_of_every_length_come_out_whole(tmp_path: Path, padding: int) -> None:
    count = 400 if padding < 1000 else 12
    path = tmp_path / "run-x.wandb"
    records = [history(step, {"loss": 2.0 + step / 1000, "note": "x" * (padding + step % 13)}) for step in range(count)]
    path.write_bytes(framed(records))
    run = read_log(path)
    assert list(run.steps) == list(range(count))
    assert [one.signals["loss"] for one in run.observations()] == [2.0 + step / 1000 for step in range(count)]


def test_a_chunk_of_an_unknown_kind_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "run-x.wandb"
    path.write_bytes(framed([history(0, {"loss": 2.0})]) + struct.pack("<IHB", 0, 3, 9) + b"abc")
    with pytest.raises(LogUnreadable, match="record 2: it has a chunk of the unknown kind 9"):
        read_log(path)

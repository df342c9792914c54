"""The spool by itself: what was written is there again, in order, within its bound, whatever happened to the disk."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client_hook.delivery.packing import Addressee, pack
from client_hook.delivery.spool import Spool, read_spool
from tests.client_hook.delivery.bench import DESCRIPTION, RUN, acknowledgement, observation, steps_of
from trainguard.wire import Envelope

SENDER = UUID(int=9)


def envelope(sequence: int, *items: object) -> Envelope:
    return pack(
        items or [observation(sequence)],
        Addressee(RUN, SENDER),
        sequence=sequence,
        sent_at=1000.0,
        attempt=0,
        revision=0,
        state="running",
        observations_lost=0,
        drop=lambda row, error: pytest.fail(str(error)),
    )


def drained(spool: Spool) -> list[Envelope]:
    envelopes = []
    while (oldest := spool.oldest()) is not None:
        assert spool.oldest() == oldest  # the same one until it was delivered
        assert oldest.run == DESCRIPTION
        envelopes.append(oldest.envelope)
        spool.delivered()
    return envelopes


def filled(folder: Path, count: int, *, segment_bytes: int = 1000, max_bytes: int = 10**9) -> list[Envelope]:
    spool = Spool(folder, DESCRIPTION, segment_bytes=segment_bytes, max_bytes=max_bytes)
    envelopes = [envelope(number) for number in range(1, count + 1)]
    for one in envelopes:
        spool.append(one)
    return envelopes


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(1, 4), max_size=5), segment_bytes=st.sampled_from([1, 900, 10**6]))
def test_what_several_processes_wrote_comes_out_in_order(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], segment_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("spools") / "spool"
    expected = []
    for count in counts:
        expected += filled(folder, count, segment_bytes=segment_bytes)
    spool = Spool(folder, DESCRIPTION)
    assert spool.is_empty == (not counts)
    assert drained(spool) == expected
    assert spool.is_empty
    assert spool.size_bytes == 0
    assert not list(folder.glob("*"))


def test_not_a_number_survives_the_disk(tmp_path: Path) -> None:
    Spool(tmp_path / "spool", DESCRIPTION).append(envelope(1, observation(3, loss=math.nan, grad_norm=math.inf)))
    (one,) = drained(Spool(tmp_path / "spool", DESCRIPTION))
    (row,) = one.blocks[0].rows()
    assert math.isnan(row.signals["loss"])
    assert row.signals["grad_norm"] == math.inf


def test_what_was_delivered_is_not_read_again_and_the_rest_is(tmp_path: Path) -> None:
    expected = filled(tmp_path / "spool", 9)
    spool = Spool(tmp_path / "spool", DESCRIPTION)
    for _ in range(5):
        spool.oldest()
        spool.delivered()
    left = drained(Spool(tmp_path / "spool", DESCRIPTION))
    # A segment goes when all of it was receipted: what is sent again has its old number, and is a duplicate.
    assert left == expected[-len(left) :]
    assert 4 <= len(left) < 9


@pytest.mark.parametrize("cut", [1, 7, 30], ids=str)
def test_a_torn_line_costs_itself_only(tmp_path: Path, cut: int) -> None:
    expected = filled(tmp_path / "spool", 4, segment_bytes=10**6)
    (segment,) = (tmp_path / "spool").glob("*.spool")
    os.truncate(segment, segment.stat().st_size - cut)
    spool = Spool(tmp_path / "spool", DESCRIPTION)
    spool.append(envelope(1, observation(99)))
    assert steps_of(drained(spool)) == [*steps_of(expected[:3]), 99]
    assert spool.damaged == 1


def test_a_changed_byte_costs_its_line_only(tmp_path: Path) -> None:
    expected = filled(tmp_path / "spool", 4, segment_bytes=10**6)
    (segment,) = (tmp_path / "spool").glob("*.spool")
    lines = segment.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"sequence":2', b'"sequence":7')
    segment.write_bytes(b"".join(lines))
    spool = Spool(tmp_path / "spool", DESCRIPTION)
    assert drained(spool) == [expected[0], *expected[2:]]
    assert spool.damaged == 1
    assert list(read_spool(segment)) == [] if segment.exists() else True


def test_a_segment_whose_beginning_is_rubbish_holds_up_nothing(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "00000001.spool").write_bytes(b"\x00" * 5000)
    (tmp_path / "spool" / "00000002.spool").write_bytes(b"")
    expected = filled(tmp_path / "spool", 2)
    spool = Spool(tmp_path / "spool", DESCRIPTION)
    assert drained(spool) == expected
    assert spool.damaged == 2


def test_at_its_bound_the_oldest_observations_go_and_reports_stay(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", DESCRIPTION, max_bytes=20_000, segment_bytes=4_000)
    for number in range(1, 201):
        items = [observation(number), *([acknowledgement(number)] if number % 50 == 0 else [])]
        spool.append(envelope(number, *items))
        assert spool.size_bytes < 24_000
    envelopes = drained(spool)
    assert [one.command_id.int for each in envelopes for one in each.acknowledgements] == [50, 100, 150, 200]
    kept = steps_of(envelopes)
    assert kept == list(range(kept[0], 201))
    # Every loss is told once, by a sender of its own, and adds up.
    told = {each.sender: each.observations_lost for each in envelopes}
    assert sum(told.values()) == spool.observations_lost == 200 - len(kept)


def test_the_envelope_on_its_way_stays_what_it_is(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", DESCRIPTION, max_bytes=8_000, segment_bytes=2_000)
    spool.append(envelope(1))
    on_its_way = spool.oldest()
    for number in range(2, 60):
        spool.append(envelope(number))
    assert spool.oldest() == on_its_way
    assert spool.observations_lost > 0


def test_a_full_disk_is_said_and_spoils_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "spool", DESCRIPTION)
    spool.append(envelope(1))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            spool.append(envelope(2))
    spool.append(envelope(2))
    assert [one.sequence for one in drained(Spool(tmp_path / "spool", DESCRIPTION))] == [1, 2]

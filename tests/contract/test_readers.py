"""What every member of READERS must do, without being told who it is."""

from __future__ import annotations

import gzip
from contextlib import suppress
from math import isnan
from pathlib import Path
from random import Random

import pytest

from tests.replay.logs import BAD, POINTS, WRITERS
from trainguard.replay import READERS, LogUnreadable, logs_in, read_log, replay
from trainguard.replay.readers import reader_of

every_reader = pytest.mark.parametrize("name", [reader.name for reader in READERS])


@every_reader
def test_it_is_chosen_by_what_its_file_looks_like(name: str, tmp_path: Path) -> None:
    assert reader_of(WRITERS[name](tmp_path)).name == name


@every_reader
def test_it_gives_every_point_with_its_loss(name: str, tmp_path: Path) -> None:
    run = read_log(WRITERS[name](tmp_path))
    assert list(run.steps) == list(range(POINTS))
    losses = [observation.signals["loss"] for observation in run.observations()]
    assert isnan(losses[BAD])
    assert [round(loss, 3) for loss in losses[:4]] == [2.0, 2.05, 2.1, 2.15]
    assert run.notes == []


@every_reader
def test_the_same_trouble_is_found_in_it(name: str, tmp_path: Path) -> None:
    findings = replay(read_log(WRITERS[name](tmp_path))).findings
    assert [(one.kind, one.step) for one in findings if one.severity != "info"] == [("non_finite", BAD)]


@every_reader
def test_it_is_found_in_a_folder_also_packed(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path)
    assert logs_in(tmp_path) == [(path,)]
    packed = tmp_path / f"{path.name}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert list(read_log(packed).steps) == list(range(POINTS))


@every_reader
def test_an_end_that_was_torn_off_costs_the_end_only(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 5])
    if name == "Hugging Face trainer_state.json":
        # One document: without its end it is none.
        with pytest.raises(LogUnreadable, match="no JSON"):
            read_log(path)
    else:
        assert POINTS // 4 < len(read_log(path)) < POINTS


@every_reader
def test_damage_is_read_or_said_and_never_raises_anything_else(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path)
    whole = path.read_bytes()
    chance = Random(7)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        with suppress(LogUnreadable):
            replay(read_log(path))


@every_reader
def test_an_empty_file_is_called_so(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path)
    path.write_bytes(b"\n")
    with pytest.raises(LogUnreadable, match="it is empty"):
        read_log(path)

"""Every later version must read what wire version 1 wrote, and lose none of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainguard import wire

GOLDEN = sorted((Path(__file__).parent / "golden").glob("v*/*.json"))


def test_every_message_has_a_golden_file() -> None:
    tested = {path.stem for path in GOLDEN if path.parent.name == "v1"}
    messages = (
        "RunDescription ObservationBlock Evaluation Finding Command Acknowledgement AttemptReport CheckpointReport "
        "IncidentReport DecisionReport Envelope Receipt"
    )
    assert tested == set(messages.split())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_golden_file_is_read_whole(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    model: type[wire.WireModel] = getattr(wire, path.stem)
    message = model.model_validate_json(text)
    written = json.loads(message.model_dump_json())

    def covers(new: object, old: object, where: str) -> None:
        if isinstance(old, dict):
            assert isinstance(new, dict), where
            for key, value in old.items():
                assert key in new, f"{where}.{key} was lost"
                covers(new[key], value, f"{where}.{key}")
        elif isinstance(old, list):
            assert isinstance(new, list), where
            assert len(new) == len(old), where
            for index, (one, other) in enumerate(zip(new, old)):
                covers(one, other, f"{where}[{index}]")
        else:
            assert new == old, where

    covers(written, json.loads(text), path.stem)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_fields_of_a_later_version_are_ignored(path: Path) -> None:
    later = {**json.loads(path.read_text(encoding="utf-8")), "added_in_version_99": {"x": [1]}}
    model: type[wire.WireModel] = getattr(wire, path.stem)
    assert model.model_validate_json(json.dumps(later)).model_dump_json() is not None

"""A playbook of somebody's own: what it may say, and where it is told to be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainguard.playbooks import (
    PlaybookUnreadable,
    as_yaml,
    parse_playbook,
    playbook_from_mapping,
    read_playbook,
    tell_playbook,
    yaml_lines,
)
from trainguard.policy import Playbook
from trainguard.wire import KINDS

FAULTY = """\
extends: default
probation_step: 100
budget:
  rollbacks: -1
ladders:
  divergenc:
    treatment: advise
  divergence:
    rungs:
      - name: a
        learning_rate_factor: 2
      - name: b
        rewarm_step: 3
        loss_scale: much
  plateau:
    treatment: treat
"""


def faults_of(text: str) -> list[tuple[int | None, str]]:
    with pytest.raises(PlaybookUnreadable) as caught:
        parse_playbook(text, "mine.yaml")
    return caught.value.faults


def test_every_fault_is_told_with_its_line() -> None:
    faults = faults_of(FAULTY)
    assert [line for line, _ in faults] == [2, 4, 6, 11, 13, 14, 14, 15]
    told = dict(faults)
    assert told[2] == "probation_step: unknown key; did you mean 'probation_steps'?"
    assert "known are dead_layers" in told[6]
    assert "learning_rate_factor: Input should be less than or equal to 1" in told[11]
    assert "did you mean 'rewarm_steps'?" in told[13]
    assert "rungs is empty" in told[15]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("ladders:\n  divergence: [\n", 3, "no YAML"),
        ("extends: default\nextends: safe\n", 2, "second time; the first is in line 1"),
        ("- a\n- b\n", 1, "a playbook is a mapping"),
        ("", 1, "a playbook is a mapping"),
        ("name: x\nextends: mine\n", 2, "it can be 'default' or 'safe'"),
        ("name: x\n", 1, "ladders: this is missing"),
        ("extends: default\nladders:\n  divergence:\n    rungs:\n      - rollback: before_onset\n", 5, "name: this is"),
        (
            "extends: default\nladders:\n  plateau:\n    rungs:\n      - {name: x, rollback: none,\n"
            "         learning_rate_factor: 1, factor_from_evidence: false}\n",
            5,
            "rung 'x' does nothing",
        ),
    ],
    ids=["syntax", "twice", "a list", "empty", "extends", "no ladders", "no name", "does nothing"],
)
def test_a_fault_names_its_line(text: str, line: int, words: str) -> None:
    [(found, sentence), *_] = faults_of(text)
    assert found == line
    assert words in sentence


def test_extending_replaces_the_ladders_that_are_given_and_keeps_the_rest() -> None:
    mine = parse_playbook("extends: default\nladders:\n  loss_spike:\n    treatment: advise\n", "/home/me/calm.yaml")
    assert mine.name == "calm"
    assert mine.ladder("loss_spike").treatment == "advise"
    assert mine.ladder("divergence") == Playbook.default().ladder("divergence")


@pytest.mark.parametrize("playbook", [Playbook.default(), Playbook.safe()], ids=["default", "safe"])
def test_what_is_shown_as_yaml_reads_as_the_same(playbook: Playbook) -> None:
    assert parse_playbook(as_yaml(playbook)) == playbook
    told = "\n".join(tell_playbook(playbook))
    assert all(kind in told for kind in KINDS)


def test_every_kind_of_trouble_has_a_ladder_or_advice() -> None:
    for kind in KINDS:
        ladder = Playbook.default().ladder(kind)
        assert ladder.rungs or ladder.advice, kind


def test_a_mapping_needs_no_yaml_and_a_file_says_that_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_lines, "yaml", None)
    assert playbook_from_mapping({"extends": "safe"}).budget.rollbacks == 2
    path = tmp_path / "mine.yaml"
    path.write_text("extends: default\n")
    with pytest.raises(PlaybookUnreadable, match=r"mine\.yaml: reading YAML needs PyYAML: pip install"):
        read_playbook(path)


def test_a_file_that_is_no_text_or_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"extends: default\nname: \xff\n")
    with pytest.raises(PlaybookUnreadable, match="line 2: this is no UTF-8"):
        read_playbook(path)
    with pytest.raises(PlaybookUnreadable, match="No such file"):
        read_playbook(tmp_path / "y.yaml")

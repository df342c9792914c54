"""The example of the documentation is a playbook, and the documentation shows the whole of it."""

from __future__ import annotations

from pathlib import Path

from trainguard.playbooks import read_playbook
from trainguard.policy import Playbook

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "playbook.yaml"


def test_the_example_is_a_playbook() -> None:
    playbook = read_playbook(EXAMPLE)
    assert playbook.name == "careful"
    assert playbook.ladder("divergence").rungs[0].learning_rate_factor == 0.25
    assert playbook.ladder("loss_spike").treatment == "advise"
    assert playbook.ladder("non_finite") == Playbook.default().ladder("non_finite")


def test_the_documentation_shows_the_whole_of_it() -> None:
    shown = (ROOT / "docs" / "recovery.md").read_text().split("```yaml\n")[1].split("```")[0]
    assert shown == EXAMPLE.read_text()


def test_the_documentation_says_what_the_default_playbook_does() -> None:
    told = (ROOT / "docs" / "recovery.md").read_text()
    playbook = Playbook.default()
    first, second, third, last = playbook.ladder("divergence").rungs
    assert f"rate × {first.learning_rate_factor:g}, {first.skip_batches} batches or" in told
    assert (
        f"rate × {second.learning_rate_factor:g}, the optimizer's moments reset, {second.skip_batches} batches" in told
    )
    assert f"rate × {third.learning_rate_factor:g}, {third.skip_batches} batches" in told
    assert last.halt
    assert f"{playbook.budget.rollbacks} rollbacks in all; or {playbook.budget.without_progress} remedies" in told

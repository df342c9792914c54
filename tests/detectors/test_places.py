"""Where a trouble sits reaches the evidence, and survives a restart."""

from __future__ import annotations

import json
from math import inf

from trainguard.detectors import Panel
from trainguard.wire import Finding, Observation

LAYERS = ("embedding", "block.0", "block.1", "head")


def observations(*, looked_at: int | None) -> list[Observation]:
    """A run that diverges at 100, with its layers looked at every fifty steps and once after the first finding."""
    made = []
    for step in range(120):
        bad = step >= 100
        signals = {"loss": (4.0 if bad else 2.0) + 0.05 * (step % 4), "grad_norm": 30.0 if bad else 1.0}
        if step % 50 == 0 or step == looked_at:
            for layer in LAYERS:
                signals[f"grad_norm/{layer}"] = 40.0 if bad and layer == "block.1" else 0.5
        made.append(Observation(0, step, 0.0, signals))
    return made


def critical(panel: Panel, stream: list[Observation]) -> Finding:
    found = [finding for observation in stream for finding in panel.update(observation)]
    return next(one for one in found if one.severity == "critical")


def test_the_layer_that_grew_is_in_the_evidence_of_the_next_finding() -> None:
    finding = critical(Panel(), observations(looked_at=101))
    assert finding.evidence["grad_norm/block.1_before"] == 0.5
    assert finding.evidence["grad_norm/block.1_at"] == 40.0
    assert not any("block.0" in name for name in finding.evidence)


def test_a_restart_in_between_forgets_no_place() -> None:
    stream = observations(looked_at=101)
    panel = Panel()
    for observation in stream[:103]:
        panel.update(observation)
    other = Panel()
    other.load_state_dict(json.loads(json.dumps(panel.state_dict(), allow_nan=False)))
    assert critical(other, stream[103:]).evidence["grad_norm/block.1_at"] == 40.0
    older = {name: part for name, part in panel.state_dict().items() if name != "places"}
    other.load_state_dict(older)


def test_a_value_that_is_no_number_is_told_and_never_becomes_usual() -> None:
    panel = Panel()
    for step in range(60):
        panel.update(Observation(0, step, 0.0, {"loss": 2.0 + 0.01 * (step % 3), "grad_norm/head": 1.0}))
    [finding] = panel.update(Observation(0, 60, 0.0, {"loss": float("nan"), "grad_norm/head": inf}))
    assert finding.evidence["grad_norm/head_before"] == 1.0
    assert finding.evidence["grad_norm/head_at"] == 1e300
    json.dumps(panel.state_dict(), allow_nan=False)

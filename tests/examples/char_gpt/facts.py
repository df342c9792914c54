"""A finished demo in miniature, for the tests of what is told about it."""

from __future__ import annotations

import math
from typing import Any

from examples.char_gpt.faults import Fault
from examples.char_gpt.report import Outcome
from examples.char_gpt.story import Story, rollbacks_of
from examples.char_gpt.training import Recipe, TrainingRecord

INCIDENT: dict[str, Any] = {
    "incident_id": "i1",
    "kind": "divergence",
    "state": "resolved",
    "severity": "critical",
    "onset_step": 60,
    "detected_step": 63,
    "opened_at": 1.0,
    "summary": "the loss left its band",
    "outcome": "Recovered.",
}
DECISION: dict[str, Any] = {
    "decision_id": "d1",
    "incident_id": "i1",
    "command_id": "c1",
    "decided_at": 2.0,
    "decided_by": "server",
    "verdict": "act",
    "attempt": 0,
    "step": 64,
    "reason": "Roll back to the confirmed checkpoint of step 50, because the loss left its band.",
}
FINDING: dict[str, Any] = {"attempt": 0, "step": 63, "onset_step": 60, "severity": "critical", "recorded_at": 1.0}
ANSWER: dict[str, Any] = {
    "command_id": "c1",
    "status": "applied",
    "action": "rollback",
    "handled_at": 3.0,
    "step": 65,
    "next_step": 50,
    "changes": {"lr_scale": 0.03125},
    "reason": "Rolled back to the checkpoint of step 50, 16 steps back.",
}


def record(final_loss: float, steps: list[int], *, level: float = 2.0) -> TrainingRecord:
    losses = [level + 2 * math.exp(-step / 30) for step in steps]
    return TrainingRecord(steps, losses, [1e-3] * len(steps), {50: level + 0.1, 100: level}, final_loss)


def outcome_of(healthy: float, unprotected: float, protected: float, *, rollbacks: bool = True) -> Outcome:
    straight = list(range(100))
    story = Story(
        state="finished",
        attempts=2,
        rollbacks=rollbacks_of([INCIDENT], [DECISION], [ANSWER] if rollbacks else [], [FINDING]),
        incidents=(INCIDENT,),
        decisions=(DECISION,),
    )
    return Outcome(
        fault=Fault("lr-bug", 60, "the rate is multiplied by 32"),
        recipe=Recipe(steps=100),
        healthy=record(healthy, straight),
        unprotected=record(unprotected, straight, level=3.0),
        protected=record(protected, list(range(66)) + list(range(50, 100))),
        story=story,
        seconds=12.34,
    )

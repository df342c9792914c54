"""The judgement: findings in, decisions out, each with a reason. Pure; `now` is an argument.

Six stages in this order, the same in the service and in the trainer's local brain: `follow` moves incidents
along their life, `correlate` lets findings join or open them, `diagnose` says what may be behind them, `suppress`
says where nothing need be decided, `decide` chooses the rung, `return_rate` gives back a rate
that was lowered for a passing cause. No clock, no chance, no input or output may live
here. A new remedy is a rung in `playbook` and an order in `trainguard.wire.command`; a new stage is a line in
`STAGES`.
"""

from __future__ import annotations

from collections.abc import Callable

from trainguard.policy.correlation import correlate
from trainguard.policy.decision import decide
from trainguard.policy.diagnosis import diagnose
from trainguard.policy.incident import Incident
from trainguard.policy.life import follow
from trainguard.policy.memory import LadderMemory, PolicyMemory
from trainguard.policy.others import adopt, given_up, learn_from
from trainguard.policy.playbook import Budget, Ladder, Playbook, RateReturn, Rung
from trainguard.policy.rate_return import return_rate
from trainguard.policy.situation import Judgement, Notice, Situation
from trainguard.policy.suppression import suppress

__all__ = [
    "STAGES",
    "Budget",
    "Incident",
    "Judgement",
    "Ladder",
    "LadderMemory",
    "Notice",
    "Playbook",
    "PolicyMemory",
    "RateReturn",
    "Rung",
    "Situation",
    "adopt",
    "correlate",
    "decide",
    "diagnose",
    "follow",
    "given_up",
    "judge",
    "learn_from",
    "return_rate",
    "suppress",
]

Stage = Callable[[Judgement, Situation, Playbook, float], Judgement]

STAGES: tuple[Stage, ...] = (follow, correlate, diagnose, suppress, decide, return_rate)
"""The way from observation to decision, in order."""


def judge(memory: PolicyMemory, situation: Situation, playbook: Playbook, now: float) -> Judgement:
    """Run every stage on one moment of one run; ``now`` in seconds since 1970 (UTC)."""
    judgement = Judgement.begin(memory)
    for stage in STAGES:
        judgement = stage(judgement, situation, playbook, now)
    return judgement

"""The ranked answer: what every cause says about an incident, the best supported first."""

from __future__ import annotations

from trainguard.policy.diagnosis.causes import CAUSES
from trainguard.policy.diagnosis.symptoms import Symptoms
from trainguard.wire import Hypothesis

MOST = 5
"""Hypotheses told: a list of everything is no diagnosis."""
MOST_EVIDENCE = 16
"""Sentences that the wire takes."""
_RANK = {"strong": 0, "some": 1, "weak": 2}


def hypotheses(symptoms: Symptoms) -> tuple[Hypothesis, ...]:
    """What may be behind it, ranked; equals in the order of the table. Never empty."""
    said = [hypothesis for cause in CAUSES if (hypothesis := cause(symptoms)) is not None]
    ranked = sorted(said, key=lambda hypothesis: _RANK[hypothesis.support])[:MOST]
    if not ranked:
        return (_unexplained(symptoms),)
    if symptoms.places:
        # Where it sits speaks for no cause more than for another: it is told once, with the likeliest.
        room = MOST_EVIDENCE - len(symptoms.places)
        located = (*ranked[0].evidence[:room], *symptoms.places)
        ranked[0] = ranked[0].model_copy(update={"evidence": located})
    return tuple(ranked)


def _unexplained(symptoms: Symptoms) -> Hypothesis:
    return Hypothesis(
        cause="unexplained",
        support="weak",
        statement="Nothing that was measured explains it.",
        evidence=(symptoms.incident.summary,) if symptoms.incident.summary else (),
        next_step=(
            f"Repeat {symptoms.steps} from the checkpoint before: what repeats lies in the data or the state, "
            "what does not lies in the hardware or in non-determinism."
        ),
    )

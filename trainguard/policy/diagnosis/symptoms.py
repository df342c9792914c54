"""One incident beside the set-up it happened in, with the questions that causes ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from trainguard.policy.diagnosis.set_up import SetUp
from trainguard.wire import IncidentReport

EARLY_STEPS = 500
EARLY_SHARE = 0.05
"""A trouble this early in a run, by either measure, is one of beginnings: warm-up, initialisation, set-up."""
INSTABILITY = ("non_finite", "loss_spike", "divergence", "grad_explosion")


@dataclass(frozen=True)
class Symptoms:
    """What a cause may look at."""

    incident: IncidentReport
    set_up: SetUp

    @property
    def kind(self) -> str:
        """Of the incident."""
        return self.incident.kind

    @property
    def evidence(self) -> Mapping[str, float]:
        """The numbers behind the incident."""
        return self.incident.evidence

    @property
    def is_instability(self) -> bool:
        """Whether the loss or the gradient left its band upwards, or is no number."""
        return self.kind in INSTABILITY

    @property
    def is_early(self) -> bool:
        """Whether it began in the run's first stretch."""
        total = self.set_up.total_steps
        return self.incident.onset_step < max(EARLY_STEPS, EARLY_SHARE * total if total else 0)

    @property
    def steps(self) -> str:
        """The stretch in which it began, in words."""
        onset, seen = self.incident.onset_step, self.incident.detected_step
        return f"step {onset}" if onset == seen else f"steps {onset} to {seen}"

    def number(self, name: str) -> float | None:
        """A finite number of the evidence, or ``None``."""
        value = self.evidence.get(name)
        return value if value is not None and isfinite(value) else None

    def growth(self, signal: str) -> float | None:
        """How many times its healthy value a signal is; ``None`` where either is not known."""
        before, at = self.number(f"{signal}_before"), self.number(f"{signal}_at")
        if before is None or at is None or before <= 0 or at < 0:
            return None
        return at / before

    def change(self, signal: str, words: str) -> str:
        """The change of a signal as a sentence of evidence; empty where it is not known."""
        growth = self.growth(signal)
        if growth is None:
            return ""
        before, at = self.number(f"{signal}_before"), self.number(f"{signal}_at")
        return f"{words} was {before:.3g} before and {at:.3g} from step {self.incident.onset_step} on ({growth:.3g} ×)."

    @property
    def places(self) -> tuple[str, ...]:
        """Where it sits, in sentences: the layers, groups and ranks that left their usual size."""
        said = []
        for beginning, words in _PLACES.items():
            grown = sorted(
                (
                    (self.growth(name) or 0.0, name)
                    for key in self.evidence
                    if key.startswith(beginning) and (name := key.removesuffix("_at")) != key
                ),
                reverse=True,
            )
            if grown:
                named = ", ".join(f"{name[len(beginning) :]} ({_times(times)})" for times, name in grown)
                said.append(f"{words}: {named}.")
        return tuple(said)

    @property
    def late_growth(self) -> float | None:
        """How the applied rate has changed: since before the onset, or, where that is forgotten, of late."""
        growth = self.growth("learning_rate")
        earlier, now = self.number("learning_rate_earlier"), self.number("learning_rate_at")
        if growth is not None or earlier is None or now is None or earlier <= 0:
            return growth
        return now / earlier

    @property
    def rate_was_raised(self) -> bool:
        """Whether the applied rate had just been raised by half or more."""
        return (self.growth("learning_rate") or 0.0) >= 1.5


_PLACES = {
    "grad_norm/": "The gradient grew most in",
    "update_ratio/": "The update grew most in",
    "effective_learning_rate/": "The applied rate rose in parameter group",
    "loss/rank": "The loss rose on rank",
}


def _times(times: float) -> str:
    return f"{times:.3g} ×" if times < 1e9 else "not finite"


def known(*sentences: str) -> tuple[str, ...]:
    """Those that say something.

    >>> known("The rate rose.", "")
    ('The rate rose.',)
    """
    return tuple(sentence for sentence in sentences if sentence)

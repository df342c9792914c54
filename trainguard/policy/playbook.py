"""Playbooks: the ladders of remedies as data, so that a team can read, change and review them.

A ladder is climbed one rung per failed remedy. What was tried is remembered for the run (never rewound by
a rollback) and forgiven only after a long healthy stretch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from trainguard.wire import KINDS

SMALLEST_FACTOR = 1 / 32
"""No single decision cuts the rate further: a ×30 bug is undone in one move, a typo cannot freeze the run."""

Treatment = Literal["treat", "watch", "advise"]
"""treat: a remedy at once; watch: wait for it to heal, then treat; advise: words for a person only."""


class _Data(BaseModel):
    """Frozen, and strict about names: a misspelt key in somebody's playbook must not be ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Rung(_Data):
    """One remedy: everything in it is applied together, at one step boundary."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    rollback: Literal["none", "before_onset", "deeper"] = "before_onset"
    learning_rate_factor: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.5
    factor_from_evidence: bool = True
    """Cut deeper than ``learning_rate_factor`` where the run's own numbers say by how much."""
    reset_moments: bool = False
    rewarm_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    skip_batches: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Batches of ``hook.batches`` to pass over; 0 passes over none."""
    halt: bool = False
    """Stop the training with a report. A halting rung does nothing else."""


class Ladder(_Data):
    """The remedies for one kind of incident, mildest first."""

    treatment: Treatment = "treat"
    heal_within_steps: Annotated[int, Field(ge=1)] = 30
    """A warning that has not healed after so many steps is treated like a critical finding."""
    rungs: tuple[Rung, ...] = ()
    advice: str = ""
    """For ``advise``: what a person could do."""

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if self.treatment != "advise" and not self.rungs:
            raise ValueError(f"rungs is empty, but treatment is {self.treatment!r}: add a rung or set 'advise'")
        for rung in self.rungs[:-1]:
            if rung.halt:
                raise ValueError(f"rungs: {rung.name!r} halts, so nothing after it can be reached; put it last")
        return self


class Budget(_Data):
    """How often, and how soon again."""

    rollbacks: Annotated[int, Field(ge=0)] = 8
    """Rollbacks per run until a long healthy stretch forgives them."""
    forgive_after_steps: Annotated[int, Field(ge=1)] = 20_000
    """Healthy steps after the last incident until rungs and budget count from zero again."""
    attempts_per_rung: Annotated[int, Field(ge=1)] = 3
    """Commands for one rung that may be refused or expire before a person is asked."""


class Playbook(_Data):
    """Ladders by kind of incident, and how patient to be.

    >>> Playbook.default().ladder("divergence").rungs[0].name
    'roll back, halve the rate'
    >>> Playbook.default().ladder("plateau").treatment
    'advise'
    """

    name: Annotated[str, Field(min_length=1, max_length=80)] = "default"
    probation_steps: Annotated[int, Field(ge=1)] = 50
    """A recovered run is watched until so many steps beyond the place where it failed."""
    healed_after_steps: Annotated[int, Field(ge=1)] = 8
    """Steps back in the former band before a trouble counts as healed."""
    budget: Budget = Budget()
    ladders: dict[str, Ladder]

    @model_validator(mode="after")
    def _known_kinds(self) -> Self:
        for kind in self.ladders:
            if kind not in KINDS:
                raise ValueError(f"ladders.{kind} is no kind of incident; known are {', '.join(sorted(KINDS))}")
        return self

    def ladder(self, kind: str) -> Ladder:
        """The ladder for ``kind``; a kind without one is only told, never treated."""
        return self.ladders.get(kind, _ONLY_TOLD)

    @classmethod
    def default(cls) -> Playbook:
        """What a run gets that names no playbook of its own."""
        return _DEFAULT

    @classmethod
    def safe(cls) -> Playbook:
        """For the local brain while its server is out of reach: two mild remedies, and it never halts."""
        return _SAFE


_ONLY_TOLD = Ladder(treatment="advise", advice="Look at the evidence; no remedy is known to be safe for this.")

_FIRST = Rung(
    name="roll back, halve the rate",
    rollback="before_onset",
    learning_rate_factor=0.5,
    rewarm_steps=10,
    skip_batches=16,
)
_SECOND = Rung(
    name="roll back deeper, halve the rate, reset moments",
    rollback="deeper",
    learning_rate_factor=0.5,
    reset_moments=True,
    rewarm_steps=20,
    skip_batches=64,
)
_THIRD = Rung(
    name="roll back deeper, quarter the rate",
    rollback="deeper",
    learning_rate_factor=0.25,
    reset_moments=True,
    rewarm_steps=20,
    skip_batches=128,
)
_HALT = Rung(name="halt with a report", rollback="none", halt=True)

_RUNGS = (_FIRST, _SECOND, _THIRD, _HALT)

_PLATEAU_ADVICE = (
    "Consider annealing the rate, checking regularisation and the data order, or ending the run; "
    "raising the rate on a plateau is how many runs diverge."
)

_DEFAULT = Playbook(
    name="default",
    ladders={
        "divergence": Ladder(treatment="treat", rungs=_RUNGS),
        # Where it does harm it is critical after three steps; a skipped update harms nothing, and bad data passes.
        "non_finite": Ladder(treatment="watch", heal_within_steps=40, rungs=_RUNGS),
        "loss_spike": Ladder(treatment="watch", heal_within_steps=40, rungs=_RUNGS),
        "grad_explosion": Ladder(treatment="watch", heal_within_steps=40, rungs=_RUNGS),
        "plateau": Ladder(treatment="advise", advice=_PLATEAU_ADVICE),
    },
)

_SAFE = Playbook(
    name="safe",
    ladders={
        kind: ladder.model_copy(update={"rungs": (_FIRST, _SECOND)}) if ladder.rungs else ladder
        for kind, ladder in _DEFAULT.ladders.items()
    },
    budget=Budget(rollbacks=2),
)

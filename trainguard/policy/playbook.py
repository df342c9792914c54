"""Playbooks: the ladders of remedies as data, so that a team can read, change and review them.

A ladder is climbed one rung per failed remedy. What was tried is remembered for the run (never rewound by
a rollback) and forgiven only after a long healthy stretch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from trainguard.wire import KINDS

SMALLEST_FACTOR = 1 / 32
"""No single decision cuts the rate further: a ×30 bug is undone in one move, a typo cannot freeze the run."""

Treatment = Literal["treat", "watch", "advise"]
"""treat: a remedy at once; watch: wait for it to heal, then treat; advise: words for a person only."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Data(BaseModel):
    """Frozen, and strict about names: a misspelt key in somebody's playbook must not be ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Rung(_Data):
    """One remedy: everything in it is applied together, at one step boundary."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    rollback: Literal["none", "before_onset", "deeper"] = "before_onset"
    """How far back: to the newest confirmed checkpoint from before the onset, or to an older one than last time."""
    steps_before_onset: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """So many steps before the onset at least must the checkpoint lie, where there is one."""
    learning_rate_factor: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.5
    factor_from_evidence: bool = True
    """Cut deeper than ``learning_rate_factor`` where the run's own numbers say by how much."""
    reset_moments: bool = False
    rewarm_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    skip_batches: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Batches of ``hook.batches`` to pass over; 0 passes over none."""
    skip_updates: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Steps whose updates are left out: the weights stay, the losses go on being measured."""
    clip_norm: Positive | None = None
    """Hold gradient norms at or below this from now on."""
    clip_times_healthy: Positive | None = None
    """The same as a multiple of the run's healthy gradient norm, where that is known and was exceeded."""
    loss_scale: Literal["keep", "initial"] | Positive = "keep"
    """Set the GradScaler's scale: to a number, or to the ``initial`` one. Refused where there is no scaler."""
    halt: bool = False
    """Stop the training with a report. A halting rung does nothing else."""

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        cuts = self.learning_rate_factor < 1 or self.factor_from_evidence
        steps = self.rewarm_steps or self.skip_batches or self.skip_updates
        limits = self.clip_norm or self.clip_times_healthy or self.loss_scale != "keep"
        if not (self.halt or self.rollback != "none" or cuts or steps or limits or self.reset_moments):
            raise ValueError(f"rung {self.name!r} does nothing: give it a remedy, or leave it out")
        return self


class Ladder(_Data):
    """The remedies for one kind of incident, mildest first."""

    treatment: Treatment = "treat"
    heal_within_steps: Annotated[int, Field(ge=1)] = 30
    """A warning that has not healed after so many steps is treated like a critical finding."""
    nonfinite_in_a_row: Annotated[int, Field(ge=1)] | None = None
    """So is one with so many steps in a row that were not finite: bad batches come singly or in short pockets, so it
    is likelier a lost state or a longer stretch, and to wait on is to lose a batch at every step."""
    rungs: tuple[Rung, ...] = ()
    by_cause: dict[Annotated[str, Field(min_length=1, max_length=80)], Rung] = Field(default_factory=dict)
    """What is done first where the diagnosis finds strong support for a cause, by the cause's name: once each, in the
    place of the rung that would be next."""
    heals_once_within: Annotated[int, Field(ge=1)] | None = None
    """A trouble with such a cause is waited for once in so many steps: what comes again will go on coming."""
    at_most: Annotated[int, Field(ge=1)] | None = None
    """How often: remedies of this ladder until a long healthy stretch forgives them; then it ends as if climbed."""
    again_after_steps: Annotated[int, Field(ge=0)] = 0
    """How soon again: steps that the run makes after a remedy before the next one is chosen."""
    advice: Annotated[str, Field(max_length=2_000)] = ""
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
    """How often, and how soon again, whatever the kind of incident."""

    rollbacks: Annotated[int, Field(ge=0)] = 8
    """Rollbacks per run until a long healthy stretch forgives them."""
    without_progress: Annotated[int, Field(ge=1)] = 3
    """Remedies in a row after which the run failed again before it was past the place where it had failed."""
    forgive_after_steps: Annotated[int, Field(ge=1)] = 20_000
    """Healthy steps after the last incident until rungs and budget count from zero again."""
    attempts_per_rung: Annotated[int, Field(ge=1)] = 3
    """Commands for one rung that may be refused or expire before a person is asked."""


class RateReturn(_Data):
    """How a rate that was lowered for a passing cause (bad data, a flipped bit) comes back after probation, and the
    limit for gradient norms that was set with it."""

    is_wanted: bool = True
    step_factor: Annotated[float, Field(gt=1, le=100, allow_inf_nan=False)] = 2.0
    """The multiplier is raised by this factor at a time."""
    every_steps: Annotated[int, Field(ge=1)] = 50
    """Healthy steps between two raises."""
    limit_raises: Annotated[int, Field(ge=0, le=100)] = 2
    """A limit that was set for gradient norms is raised by the same factor so often, and then lifted."""


def _known_kind(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"{kind} is no kind of incident; known are {', '.join(sorted(KINDS))}")
    return kind


class Playbook(_Data):
    """Ladders by kind of incident, and how patient to be.

    ``extends`` (``default`` or ``safe``) fills in what is not said: a ladder that is given replaces that of its kind.

    >>> Playbook.default().ladder("divergence").rungs[0].name
    'roll back, halve the rate'
    >>> Playbook.default().ladder("plateau").treatment
    'advise'
    >>> Playbook.model_validate({"extends": "default", "probation_steps": 99}).ladder("plateau").treatment
    'advise'
    """

    name: Annotated[str, Field(min_length=1, max_length=80)] = "default"
    probation_steps: Annotated[int, Field(ge=1)] = 50
    """A recovered run is watched until so many steps beyond the place where it failed."""
    healed_after_steps: Annotated[int, Field(ge=1)] = 8
    """Steps back in the former band before a trouble counts as healed."""
    proposal_valid_seconds: Annotated[float, Field(gt=0, le=30 * 86_400, allow_inf_nan=False)] = 3_600.0
    """A proposal of mode ``advise`` can be approved for so long; then it is made anew, of the run as it then is."""
    budget: Budget = Budget()
    rate_return: RateReturn = RateReturn()
    ladders: dict[Annotated[str, AfterValidator(_known_kind)], Ladder]

    @model_validator(mode="before")
    @classmethod
    def _extended(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or "extends" not in given:
            return given
        base = {"default": _DEFAULT, "safe": _SAFE}.get(given["extends"])
        if base is None:
            raise ValueError(f"extends is {given['extends']!r}; it can be 'default' or 'safe'")
        inherited = {name: getattr(base, name) for name in cls.model_fields}
        ladders = given.get("ladders") or {}
        own = {name: value for name, value in given.items() if name != "extends"}
        if isinstance(ladders, Mapping):
            own["ladders"] = {**base.ladders, **ladders}
        return {**inherited, **own}

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

    def for_the_local_brain(self) -> Playbook:
        """The same while its service is out of reach: two mild remedies a ladder, two rollbacks, and it never halts.

        >>> Playbook.default().for_the_local_brain() == Playbook.safe()
        True
        """
        if self == _DEFAULT:
            return _SAFE
        return _made_safe(self, name=f"{self.name[:73]} (safe)")


def _made_safe(playbook: Playbook, name: str) -> Playbook:
    ladders = {}
    for kind, ladder in playbook.ladders.items():
        rungs = tuple(rung for rung in ladder.rungs[:2] if not rung.halt)
        is_left = bool(rungs) or ladder.treatment == "advise"
        ladders[kind] = ladder.model_copy(update={"rungs": rungs}) if is_left else _ONLY_TOLD
    budget = playbook.budget.model_copy(update={"rollbacks": min(2, playbook.budget.rollbacks)})
    return playbook.model_copy(update={"name": name, "ladders": ladders, "budget": budget})


_ONLY_TOLD = Ladder(treatment="advise", advice="Look at the evidence; no remedy is known to be safe for this.")

_FIRST = Rung(
    name="roll back, halve the rate",
    rollback="before_onset",
    learning_rate_factor=0.5,
    rewarm_steps=10,
    skip_batches=16,
    clip_times_healthy=4.0,
)
_SECOND = Rung(
    name="roll back deeper, halve the rate, reset moments",
    rollback="deeper",
    learning_rate_factor=0.5,
    reset_moments=True,
    rewarm_steps=20,
    skip_batches=64,
    clip_times_healthy=4.0,
)
_THIRD = Rung(
    name="roll back deeper, quarter the rate",
    rollback="deeper",
    learning_rate_factor=0.25,
    reset_moments=True,
    rewarm_steps=20,
    skip_batches=128,
    clip_times_healthy=4.0,
)
_HALT = Rung(name="halt with a report", rollback="none", halt=True)

_RUNGS = (_FIRST, _SECOND, _THIRD, _HALT)

_NOT_FINITE = Rung(
    # Updates that are not finite are left out, so the weights are those of a healthy rate: it is no suspect, unless it
    # was raised. A moment, a running statistic or the data is.
    name="roll back, keep the rate",
    rollback="before_onset",
    learning_rate_factor=1.0,
    rewarm_steps=10,
    skip_batches=16,
    clip_times_healthy=4.0,
)

_HELD = Rung(
    name="roll back, hold the gradient",
    rollback="before_onset",
    learning_rate_factor=1.0,
    factor_from_evidence=False,
    rewarm_steps=10,
    skip_batches=16,
    clip_times_healthy=2.0,
)
_WARMED_UP = Rung(
    # As long as is usual for a run's beginning: nothing lasting is taken from a rate that only came too soon.
    name="roll back, warm up",
    rollback="before_onset",
    learning_rate_factor=1.0,
    factor_from_evidence=False,
    rewarm_steps=100,
)
_BY_CAUSE = {"clipping_missing": _HELD, "warm_up_missing": _WARMED_UP}

_LOSS_SCALE = Rung(
    name="roll back, keep the rate, initial loss scale",
    rollback="before_onset",
    learning_rate_factor=1.0,
    factor_from_evidence=False,
    loss_scale="initial",
    skip_batches=16,
)

ADVICE: dict[str, str] = {
    "plateau": (
        "Consider annealing the rate, checking regularisation and the data order, or ending the run; "
        "raising the rate on a plateau is how many runs diverge."
    ),
    "grad_vanishing": "Compare gradient norms layer by layer; look at depth, initialisation and normalisation.",
    "update_ratio": "An update is usually a thousandth of its parameter; change the rate of the groups that differ.",
    "no_update": "See that the optimizer owns the parameters, that they require gradients, and that step() runs.",
    "oscillation": "Lower the momentum to 0.9, or halve the rate.",
    "dead_layers": "Start again from before the onset at a lower rate; consider GELU or leaky ReLU.",
    "overfitting": "Stop at the best evaluation, or regularise: more data, dropout, weight decay, augmentation.",
    "rank_disagreement": "Compare the ranks' weights and data; take the rank that differs out before going on.",
    "slow_step": "Look at the data loader, the other processes on the machine, and the network between ranks.",
    "silent": "See whether the process still lives, and what it waits for.",
    "learning_rate": "Check that scheduler.step() runs once per step, and that nothing else writes the groups' lr.",
}
"""What a person could do about the kinds that no automatic remedy is safe for."""

_DEFAULT = Playbook(
    name="default",
    ladders={
        "divergence": Ladder(treatment="treat", rungs=_RUNGS, by_cause=_BY_CAUSE),
        # Where it does harm it is critical after three steps; a skipped update harms nothing, and bad data passes.
        "non_finite": Ladder(
            treatment="watch",
            heal_within_steps=40,
            nonfinite_in_a_row=8,
            rungs=(_NOT_FINITE, *_RUNGS),
            by_cause=_BY_CAUSE,
            heals_once_within=500,
        ),
        "loss_spike": Ladder(
            treatment="watch", heal_within_steps=40, rungs=_RUNGS, by_cause=_BY_CAUSE, heals_once_within=500
        ),
        "grad_explosion": Ladder(
            treatment="watch", heal_within_steps=40, rungs=_RUNGS, by_cause=_BY_CAUSE, heals_once_within=500
        ),
        # The scaler halves its scale at each overflow; where it goes on and on, the state makes infinities.
        "loss_scale_collapse": Ladder(treatment="watch", heal_within_steps=40, rungs=(_LOSS_SCALE, *_RUNGS)),
        **{kind: Ladder(treatment="advise", advice=advice) for kind, advice in ADVICE.items()},
    },
)

_SAFE = _made_safe(_DEFAULT, name="safe")

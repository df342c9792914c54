"""What the API answers, beside the messages of the wire themselves.

Read by the service and by `monitor_server.client` alike, so that nothing but pydantic may be imported here.
"""

from __future__ import annotations

from uuid import UUID

from pydantic import Field, JsonValue

from trainguard.policy.diagnosis import Advice, Task
from trainguard.wire import (
    Acknowledgement,
    AttemptReport,
    CheckpointReport,
    Command,
    DecisionReport,
    Evaluation,
    Finding,
    FindingKind,
    IncidentReport,
    Mode,
    RunDescription,
    SignalValue,
    WireModel,
)


class RecentLoss(WireModel):
    """The last stretch of the attempt in force, for a sparkline. ``values`` are means; NaN where a step's was none."""

    steps: list[int]
    values: list[SignalValue]


class RunSummary(WireModel):
    """A run as a list shows it. Times in seconds since 1970 (UTC)."""

    run_id: UUID
    run: str
    project: str
    mode: Mode
    state: str
    """running, silent, finished, halted or failed"""
    attempt: int
    revision: int
    step: int | None
    """The last step of the attempt in force; null before the first."""
    total_steps: int | None
    loss: SignalValue | None
    lr_scale: float
    signals: dict[str, SignalValue]
    """The latest value of every signal with a column of its own."""
    registered_at: float
    last_seen_at: float
    last_observed_at: float | None
    ended_at: float | None
    observations: int
    observations_lost: int
    rollbacks: int
    escalations: int
    findings: dict[str, int]
    """By ``"kind/severity"``."""
    last_decision: str
    active_incident: IncidentReport | None
    """The incident that a person should see first: a living one, else one that was escalated."""
    recent_loss: RecentLoss | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    """Of its trainer and of people; where both name one, people's holds."""
    notes: str = ""
    archived_at: float | None = None
    """Since when it is put away; null where it is not."""


class RunDetail(RunSummary):
    """A run and how its trainer described it."""

    description: RunDescription


class RunPage(WireModel):
    """Runs, the latest registered first; ``next`` is the cursor of the page after, null at the end."""

    runs: list[RunSummary]
    next: str | None


class SignalBuckets(WireModel):
    """One signal, a value per bucket; null where no step of the bucket measured a number.

    The smallest and the largest value are kept, so that no spike is lost; NaN is counted apart.
    """

    minimum: list[SignalValue | None]
    maximum: list[SignalValue | None]
    mean: list[SignalValue | None]
    nan_count: list[int]


class AttemptBuckets(WireModel):
    """Neighbouring steps of one attempt, in order. A bucket of one step holds exactly its value."""

    attempt: int
    first_steps: list[int]
    last_steps: list[int]
    counts: list[int]
    signals: dict[str, SignalBuckets]


class ObservationBuckets(WireModel):
    """Every attempt that has observations in the range, abandoned ones too."""

    run_id: UUID
    attempts: list[AttemptBuckets]


class ObservationRow(WireModel):
    """All signals of one step, exactly as recorded."""

    attempt: int
    step: int
    observed_at: float
    signals: dict[str, SignalValue]


class ObservationRows(WireModel):
    """Rows in order of (attempt, step); ``next`` is the cursor of the page after, null at the end."""

    rows: list[ObservationRow]
    next: str | None


class Attempts(WireModel):
    """In order."""

    attempts: list[AttemptReport]


class RecordedFinding(Finding):
    """A finding, whose panel saw it, and when it was recorded."""

    source: str
    recorded_at: float


class Findings(WireModel):
    """In order of (attempt, step)."""

    findings: list[RecordedFinding]


class Evaluations(WireModel):
    """In order of (attempt, step)."""

    evaluations: list[Evaluation]


class Checkpoints(WireModel):
    """In order of (attempt, step)."""

    checkpoints: list[CheckpointReport]


class RecordedCommand(Command):
    """A command and what became of it: pending, applied, refused, failed or expired."""

    state: str = "pending"
    settled_at: float | None = None


class RecordedIncident(IncidentReport):
    """An incident, its run, and whose brain keeps it: ``server`` or ``local``."""

    run_id: UUID
    run: str
    project: str
    brain: str
    acknowledged_by: str | None = None
    """Who was the first to say that somebody has seen it."""
    acknowledged_at: float | None = None


class RecordedRemark(WireModel):
    """What a person said or did about an incident: acknowledged, comment, approved, declined or resolved."""

    remark_id: UUID
    kind: str
    made_at: float
    made_by: str
    comment: str


class IncidentDetail(WireModel):
    """An incident and everything about it, each list in the order of time."""

    incident: RecordedIncident
    silenced: bool
    """Whether a silence keeps people from being told of it now."""
    proposal: DecisionReport | None
    """What waits for a person's yes or no."""
    findings: list[RecordedFinding]
    decisions: list[DecisionReport]
    commands: list[RecordedCommand]
    acknowledgements: list[Acknowledgement]
    remarks: list[RecordedRemark]


class Incidents(WireModel):
    """The latest first."""

    incidents: list[RecordedIncident]


class Decisions(WireModel):
    """In the order of time."""

    decisions: list[DecisionReport]


class Commands(WireModel):
    """In the order of issue."""

    commands: list[RecordedCommand]


class Acknowledgements(WireModel):
    """In the order in which the trainer handled the commands."""

    acknowledgements: list[Acknowledgement]


class RecordedSilence(WireModel):
    """A wish not to be told until ``ends_at`` of what fits run, project and kind; null fits all."""

    silence_id: UUID
    run_id: UUID | None
    project: str | None
    kind: FindingKind | None
    created_at: float
    ends_at: float
    created_by: str
    reason: str


class Silences(WireModel):
    """In the order in which they were made."""

    silences: list[RecordedSilence]


class RecordedToken(WireModel):
    """A token without its secret, which nobody can read any more. Times in seconds since 1970 (UTC); null: never."""

    token_id: str
    name: str
    project: str | None
    """The only project it is good for; null: all."""
    scopes: list[str]
    state: str
    """active, expired or revoked"""
    created_at: float
    created_by: str
    expires_at: float | None
    rotated_at: float | None
    former_until: float | None
    """Until when the secret of before the rotation is good."""
    revoked_at: float | None
    last_used_at: float | None
    """Noted at most once a minute."""


class NewToken(RecordedToken):
    """A token at the only moment at which its secret is shown."""

    token: str


class Tokens(WireModel):
    """In the order in which they were made."""

    tokens: list[RecordedToken]


class AuditEntry(WireModel):
    """One thing that a person, the policy or a trainer's local brain did."""

    entry_id: int
    done_at: float
    actor_kind: str
    """person, policy or local"""
    actor: str
    token_id: str | None
    action: str
    project: str | None
    run_id: UUID | None
    target: str
    document: dict[str, JsonValue]


class Audit(WireModel):
    """The latest first; ``next`` is the cursor of the page after, null at the end."""

    entries: list[AuditEntry]
    next: str | None


class Session(WireModel):
    """Who is asking, and what he may do."""

    needs_token: bool
    """Whether one has to sign in here."""
    name: str | None
    scopes: list[str]
    project: str | None


class RunAnnotation(WireModel):
    """What people say of a run, beside its trainer."""

    tags: dict[str, str]
    notes: str
    archived_at: float | None
    """Since when it is put away: lists leave it out unless asked."""
    changed_at: float | None
    changed_by: str


class ProjectPlaybook(WireModel):
    """What is done about which trouble, in the runs of a project that bring no playbook of their own."""

    project: str
    changed_at: float
    changed_by: str
    document: dict[str, JsonValue]


class ProjectPlaybooks(WireModel):
    """By project."""

    playbooks: list[ProjectPlaybook]


class CheckedPlaybook(WireModel):
    """A playbook that is valid: what it does in plain words, and whole, with every default filled in."""

    name: str
    words: list[str]
    document: dict[str, JsonValue]


class AdviceOnRun(WireModel):
    """Advice on a run's set-up; ``task`` says whose published ranges were applied, null where all were."""

    run_id: UUID
    run: str
    task: Task | None
    advice: tuple[Advice, ...]


class Project(WireModel):
    """A project, its runs, and how many of them may still say something."""

    project: str
    runs: int
    living: int


class Projects(WireModel):
    """By name."""

    projects: list[Project]


class IncidentTally(WireModel):
    """Incidents of one kind and one likeliest cause ("" where none is known).

    ``seconds_lost`` is each run's steps lost by its own latest time for a step.
    """

    kind: str
    cause: str
    runs: int
    incidents: int
    living: int
    recovered: int
    """Resolved after a remedy."""
    healed: int
    """Resolved without one."""
    escalated: int
    steps_lost: int
    seconds_lost: float


class Fleet(WireModel):
    """What went wrong how often, what it cost, and what was kept.

    ``steps_saved`` are the steps in force that rescued runs have made beyond the place where each failed for the
    first time: what would have been trained on a spoilt model, or not at all, as long as nobody had noticed.
    """

    runs: dict[str, int]
    """By state."""
    tallies: list[IncidentTally]
    """The commonest first."""
    steps_lost: int
    seconds_lost: float
    runs_saved: int
    steps_saved: int
    seconds_saved: float
    is_complete: bool
    """False where there were more incidents than are counted."""


class LayerLooks(WireModel):
    """Looks at every layer in one attempt: ``values[i][j]`` is layer *j* at ``steps[i]``, null where it had none."""

    attempt: int
    steps: list[int]
    values: list[list[SignalValue | None]]


class Layers(WireModel):
    """``layers`` in the order in which the model first named them."""

    run_id: UUID
    signal: str
    layers: list[str]
    attempts: list[LayerLooks]


class Health(WireModel):
    """The service is up."""

    status: str = "ok"
    version: str = Field(description="Of trainguard.")

"""The same panel and the same policy over a past run: what they would have found, and what they would have done.

What a remedy would have changed nobody can know: the log goes on as it did without one. So policy is asked in mode
``advise``, and every decision says what it *would* do at that moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from statistics import median
from uuid import UUID, uuid5

from trainguard.detectors import Panel
from trainguard.policy import Judgement, Playbook, PolicyMemory, Situation, judge
from trainguard.policy.incident import family_of
from trainguard.replay.past_run import PastRun
from trainguard.wire import CheckpointReport, DecisionReport, Finding, IncidentReport, RunDescription, RunState

CHECKPOINT_EVERY = 200
QUIET_STEPS = 50
"""A checkpoint that was followed by so many steps without trouble would have been confirmed, as in the hook."""
CLOSE_LOOK = 512
"""Points after a finding in which policy looks at every one; later, while nothing new is found, at every 16th."""
GLANCE_EVERY = 16
TOLD_EVERY = 4_096
STRIDES_LOOKED_AT = 2_000
_RUN = UUID("7d0c7d39-6d6f-5c0c-9f2e-2f4b3a0f6b11")
"""A past run has no identity of its own; ids made from this one are the same in every replay."""


@dataclass(frozen=True)
class Settings:
    """How a past run is judged."""

    sensitivity: str = "normal"
    overrides: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Thresholds by detector and name, as `Panel` takes them."""
    detectors: Sequence[str] | None = None
    checkpoint_every: int = CHECKPOINT_EVERY
    """Steps between the checkpoints that the run is taken to have had."""
    playbook: Playbook = field(default_factory=Playbook.default)

    def panel(self) -> Panel:
        """Detectors for one run; ``ValueError`` names what is not known."""
        return Panel(sensitivity=self.sensitivity, overrides=self.overrides, detectors=self.detectors)


@dataclass
class PastIncident:
    """An incident of a past run with its decisions, in order."""

    report: IncidentReport
    decisions: list[DecisionReport] = field(default_factory=list)
    ended_step: int | None = None
    """The step at which it was over; ``None`` where it lasted to the end of the log."""

    @property
    def would_have_acted(self) -> DecisionReport | None:
        """The first remedy that would have been applied in mode ``act``."""
        return next((one for one in self.decisions if one.verdict in ("propose", "act", "halt")), None)


@dataclass
class Replay:
    """What came of a replay."""

    run: PastRun
    settings: Settings
    findings: list[Finding] = field(default_factory=list)
    incidents: list[PastIncident] = field(default_factory=list)

    def decisions_at(self) -> dict[tuple[int, int], DecisionReport]:
        """The last decision of each moment, by attempt and step."""
        return {
            (decision.attempt, decision.step): decision
            for incident in self.incidents
            for decision in incident.decisions
        }


def replay(run: PastRun, settings: Settings | None = None, progress: Callable[[int], None] | None = None) -> Replay:
    """Run panel and policy over ``run``; ``progress`` is told every so often how many points are done.

    Raises:
        ValueError: an override names a detector or a threshold that does not exist.
    """
    settings = settings or Settings()
    panel = settings.panel()
    judging = _Judging(run, settings, panel)
    result = Replay(run, settings)
    update = panel.update
    for done, observation in enumerate(run.observations(), start=1):
        findings = update(observation)
        if findings:
            result.findings.extend(findings)
        if findings or judging.has_something_open:
            judging.look(observation.attempt, observation.step, findings)
        if progress is not None and done % TOLD_EVERY == 0:
            progress(done)
    result.incidents = judging.finish()
    return result


def usual_stride(run: PastRun) -> int:
    """Steps from one point of the log to the next, as a rule.

    A log of every hundredth step is judged as though each of its points were a step: detectors count points anyway.
    """
    strides = [after - before for before, after in pairwise(run.steps[:STRIDES_LOOKED_AT]) if after > before]
    return int(median(strides)) if strides else 1


def patient(playbook: Playbook, stride: int) -> Playbook:
    """The playbook with everything that waits a number of steps waiting so many points."""
    if stride == 1:
        return playbook
    ladders = {
        kind: ladder.model_copy(update={"heal_within_steps": ladder.heal_within_steps * stride})
        for kind, ladder in playbook.ladders.items()
    }
    steps = {"probation_steps": playbook.probation_steps, "healed_after_steps": playbook.healed_after_steps}
    return playbook.model_copy(update={"ladders": ladders, **{name: count * stride for name, count in steps.items()}})


class _Judging:
    """Asks policy as the trainer's local brain does: at every observation while something is open."""

    def __init__(self, run: PastRun, settings: Settings, panel: Panel) -> None:
        self._panel = panel
        self._settings = settings
        self._playbook = patient(settings.playbook, usual_stride(run))
        self._memory = PolicyMemory()
        self._incidents: dict[UUID, PastIncident] = {}
        self._last_finding = 0
        self._looks = count()
        self._at = (0, 0)
        self._description = RunDescription(
            run_id=_RUN,
            run=run.path.name[:200] or "log",
            started_at=0.0,
            total_steps=max(run.steps, default=0) + 1,
            sensitivity=settings.sensitivity,
        )
        self.has_something_open = False

    def look(self, attempt: int, step: int, findings: Sequence[Finding]) -> None:
        look = next(self._looks)
        self._at = (attempt, step)
        if findings:
            self._last_finding = look
        elif look - self._last_finding > CLOSE_LOOK and look % GLANCE_EVERY:
            return
        self._judge(findings, "running")

    def finish(self) -> list[PastIncident]:
        """The end of the log is the end of the run."""
        if self.has_something_open:
            self._judge((), "finished")
        return list(self._incidents.values())

    def _judge(self, findings: Sequence[Finding], state: RunState) -> None:
        attempt, step = self._at
        situation = Situation(
            run_id=_RUN,
            mode="advise",
            attempt=attempt,
            revision=0,
            step=step,
            vitals=self._panel.vitals(),
            findings=findings,
            checkpoints=self._checkpoints(findings, attempt, step),
            decided_by="local",
            run_state=state,
            description=self._description,
        )
        judgement = judge(self._memory, situation, self._playbook, 0.0)
        self._memory = judgement.memory
        self.has_something_open = bool(self._memory.active())
        if judgement.changed or judgement.decisions:
            self._note(judgement, step, is_end=state != "running")

    def _note(self, judgement: Judgement, step: int, *, is_end: bool) -> None:
        for report in judgement.incidents:
            known = self._incidents.setdefault(report.incident_id, PastIncident(report))
            known.report = report
            if report.state in ("resolved", "escalated") and known.ended_step is None and not is_end:
                known.ended_step = step
        for decision in judgement.decisions:
            self._incidents[decision.incident_id].decisions.append(decision)

    def _checkpoints(self, findings: Sequence[Finding], attempt: int, step: int) -> list[CheckpointReport]:
        """The newest checkpoint before each onset in question that would have been confirmed by now."""
        active = self._memory.active()
        onsets = [finding.onset_step for finding in findings]
        onsets += [incident.onset_step for incident in active]
        # Nothing is confirmed in the middle of a trouble: a quiet stretch ends where the first of it was seen.
        quiet_until = min([step, *(one.detected_step for one in active if family_of(one.kind) == "instability")])
        places = {self._confirmed(onset, quiet_until) for onset in onsets}
        return [self._checkpoint(attempt, place) for place in sorted(places)]

    def _confirmed(self, onset: int, quiet_until: int) -> int:
        every = self._settings.checkpoint_every
        quiet = min(QUIET_STEPS, every // 2)
        place = onset // every * every
        while place > 0 and (place + quiet > quiet_until or self._is_troubled(place, place + quiet, onset)):
            place -= every
        return max(place, 0)

    def _is_troubled(self, first: int, last: int, onset: int) -> bool:
        return any(
            one.report.onset_step <= last
            and (one.ended_step is None or one.ended_step >= first)
            and one.report.onset_step < onset
            and family_of(one.report.kind) == "instability"
            for one in self._incidents.values()
        )

    def _checkpoint(self, attempt: int, place: int) -> CheckpointReport:
        return CheckpointReport(
            checkpoint_id=uuid5(_RUN, f"checkpoint:{place}"),
            attempt=attempt,
            step=place,
            state="confirmed",
            place="other",
            saved_at=0.0,
            reason="A run is taken to have had one every so many steps.",
        )

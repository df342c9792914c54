"""Thresholds proposed from a user's own past runs: quieter where alarms came to nothing, never deaf to what mattered.

What mattered is judged by what became of it: an incident that healed by itself without a remedy came to nothing; one
that was still there at the end, was critical, or would have been treated, mattered. Where a person says that the runs
were healthy, every alarm came to nothing. A threshold is raised in steps, by the smallest factor that is enough, and
only as far as everything that mattered is still seen nearly as soon. What was still waited for when the log ended says
nothing either way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from trainguard.detectors import DETECTORS, thresholds_of
from trainguard.policy.incident import family_of
from trainguard.replay.past_run import PastRun
from trainguard.replay.replaying import PastIncident, Replay, Settings, replay
from trainguard.wire import Finding

LOUDNESS: dict[str, tuple[str, ...]] = {
    "loss_spike": ("z", "long_z", "instant_z", "together"),
    "grad_explosion": ("z", "ratio"),
    "divergence": ("z", "factor", "drift", "drift_z"),
    "plateau": ("patience",),
    "learning_rate": ("jump",),
    "update_ratio": ("rise", "fall"),
    "oscillation": ("wider",),
    "overfitting": ("rise",),
    "rank_disagreement": ("z",),
    "slow_step": ("factor",),
    "data_starvation": ("patience_seconds",),
}
"""By detector: the thresholds that make it quieter when they are raised together. What is not a matter of degree (a
NaN, a frozen parameter) is not here."""
FACTORS = (1.25, 1.5, 2.0, 3.0, 4.0)
ALLOWED_PER_10K = 1.0
"""Alarms that came to nothing, per ten thousand points and detector, that need no tuning."""
LATER_AT_MOST = 8
"""Points by which what mattered may be seen later than before."""
_POINTS = 10_000


@dataclass(frozen=True)
class Proposal:
    """Thresholds for one detector, and what they would have changed; none where nothing is better."""

    detector: str
    thresholds: dict[str, float]
    present: dict[str, float]
    """The same thresholds as they are."""
    idle_before: int
    """Findings that came to nothing, with the thresholds as they are."""
    idle_after: int
    needed: int
    """Findings that mattered; the trouble that they told of is still seen."""
    reason: str


@dataclass
class Tuning:
    """What came of tuning over several runs."""

    points: int
    idle: int
    needed: int
    proposals: list[Proposal] = field(default_factory=list)
    before: list[Replay] = field(default_factory=list)
    after: list[Replay] = field(default_factory=list)
    """Every run again with all proposals together; the same as ``before`` where there are none."""

    @property
    def overrides(self) -> dict[str, dict[str, float]]:
        """What to give to ``attach(detectors=…)``."""
        return {one.detector: one.thresholds for one in self.proposals if one.thresholds}


@dataclass(frozen=True)
class _Alarm:
    run: int
    place: int
    """Index of its point in the log."""
    finding: Finding
    mattered: bool
    is_alone: bool
    """Whether nobody else's critical word told of the same trouble, so that it must not fall silent."""


def tune(
    runs: Sequence[PastRun],
    settings: Settings | None = None,
    *,
    are_healthy: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Tuning:
    """Propose thresholds from ``runs``.

    Args:
        runs: past runs of the user's own kind.
        settings: what is to be improved on; its overrides are the thresholds as they are.
        are_healthy: nothing in these runs was trouble, so that every alarm came to nothing.
        progress: told in words what is being done.
    """
    settings = settings or Settings()
    tell = progress or (lambda words: None)
    before = []
    for run in runs:
        tell(f"judging {run.path.name}")
        before.append(replay(run, settings))
    alarms = [alarm for index, one in enumerate(before) for alarm in _alarms(index, one, are_healthy)]
    tuning = Tuning(
        points=sum(len(run) for run in runs),
        idle=sum(not alarm.mattered for alarm in alarms),
        needed=sum(alarm.mattered for alarm in alarms),
        before=before,
    )
    for name in DETECTORS:
        mine = [alarm for alarm in alarms if alarm.finding.detector == name]
        proposal = _propose(name, mine, runs, settings, tuning.points, tell)
        if proposal is not None:
            tuning.proposals.append(proposal)
    if tuning.overrides:
        together = replace(settings, overrides={**settings.overrides, **tuning.overrides})
        for run in runs:
            tell(f"checking {run.path.name}")
            tuning.after.append(replay(run, together))
    else:
        tuning.after = before
    return tuning


def _alarms(index: int, judged: Replay, are_healthy: bool) -> list[_Alarm]:
    places = {(judged.run.attempt_of(place), step): place for place, step in enumerate(judged.run.steps)}
    critical = [finding for finding in judged.findings if finding.severity == "critical"]
    alarms: list[_Alarm] = []
    for finding in judged.findings:
        if finding.severity == "info":
            continue
        belongs = [one for one in judged.incidents if _belongs(finding, one)]
        if not are_healthy and belongs and all(_is_unknown(one) for one in belongs):
            continue
        needed = [one for one in belongs if _was_needed(one)]
        mattered = not are_healthy and (finding.severity == "critical" or bool(needed))
        others = [one for one in critical if one.detector != finding.detector]
        is_told = any(_belongs(other, incident) for incident in needed for other in others)
        place = places[finding.attempt, finding.step]
        is_alone = mattered and (finding.severity == "critical" or not is_told)
        alarms.append(_Alarm(index, place, finding, mattered, is_alone))
    return alarms


def _belongs(finding: Finding, incident: PastIncident) -> bool:
    report = incident.report
    if family_of(finding.kind) != family_of(report.kind) or finding.step < report.detected_step:
        return False
    return incident.ended_step is None or finding.step <= incident.ended_step


def _was_needed(incident: PastIncident) -> bool:
    return (
        incident.ended_step is None or incident.would_have_acted is not None or incident.report.severity == "critical"
    )


def _is_unknown(incident: PastIncident) -> bool:
    """The log ended before it could heal: nobody knows whether it mattered."""
    return incident.ended_step is None and all(decision.verdict == "wait" for decision in incident.decisions)


def _propose(
    name: str,
    alarms: Sequence[_Alarm],
    runs: Sequence[PastRun],
    settings: Settings,
    points: int,
    tell: Callable[[str], None],
) -> Proposal | None:
    idle = [alarm for alarm in alarms if not alarm.mattered]
    needed = [alarm for alarm in alarms if alarm.mattered]
    allowed = int(ALLOWED_PER_10K * points / _POINTS)
    if len(idle) <= allowed:
        return None
    if name not in LOUDNESS:
        reason = "what it tells is not a matter of degree, so no threshold is proposed"
        return Proposal(name, {}, {}, len(idle), len(idle), len(needed), reason)
    present = {**thresholds_of(DETECTORS[name]), **settings.overrides.get(name, {})}
    concerned = sorted({alarm.run for alarm in alarms})
    best: tuple[int, dict[str, float]] | None = None
    for factor in FACTORS:
        thresholds = {threshold: float(f"{present[threshold] * factor:.3g}") for threshold in LOUDNESS[name]}
        tell(f"{name}: {factor:g} times")
        # The other detectors do not matter to this one, and policy does not matter to any.
        alone = replace(
            settings, detectors=[name], overrides={name: {**settings.overrides.get(name, {}), **thresholds}}
        )
        made = [(index, place) for index in concerned for place in _places(runs[index], alone)]
        if not all(_is_still_seen(alarm, made) for alarm in needed if alarm.is_alone):
            break
        matched = sum(_is_still_seen(alarm, made) for alarm in needed)
        left = max(0, len(made) - matched)
        if best is None or left < best[0]:
            best = (left, thresholds)
        if left <= allowed:
            break
    if best is None or best[0] > len(idle) / 2:
        reason = "quieter thresholds would have missed what mattered, or would have helped little; they stay"
        return Proposal(name, {}, {}, len(idle), len(idle), len(needed), reason)
    reason = "all that mattered is still seen" if needed else "nothing in these runs mattered"
    return Proposal(
        name, best[1], {threshold: present[threshold] for threshold in best[1]}, len(idle), best[0], len(needed), reason
    )


def _places(run: PastRun, settings: Settings) -> list[int]:
    """Points at which a panel makes findings that are more than a line."""
    panel = settings.panel()
    return [
        place
        for place, observation in enumerate(run.observations())
        if any(finding.severity != "info" for finding in panel.update(observation))
    ]


def _is_still_seen(alarm: _Alarm, made: Sequence[tuple[int, int]]) -> bool:
    return any(run == alarm.run and -1 <= place - alarm.place <= LATER_AT_MOST for run, place in made)

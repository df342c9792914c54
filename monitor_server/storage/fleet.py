"""All runs at once: what went wrong how often, what it cost, and what was kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection, case, func, select

from monitor_server.storage.runs import LIVING_STATES
from monitor_server.storage.tables import incidents, runs
from trainguard.wire import IncidentReport


@dataclass(frozen=True, slots=True)
class ProjectCount:
    """A project, its runs, and how many of them may still say something."""

    project: str
    runs: int
    living: int


@dataclass(slots=True)
class Tally:
    """Incidents of one kind and one likeliest cause. Seconds are steps by each run's own latest time for a step."""

    kind: str
    cause: str
    incidents: int = 0
    living: int = 0
    recovered: int = 0
    """Resolved after a remedy."""
    healed: int = 0
    """Resolved without one."""
    escalated: int = 0
    steps_lost: int = 0
    seconds_lost: float = 0.0
    run_ids: set[UUID] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Saved:
    """What recovered runs have made of it: steps in force beyond the place where each failed for the first time."""

    runs: int
    steps: int
    seconds: float


def projects(connection: Connection) -> list[ProjectCount]:
    """Every project, by name."""
    living = func.sum(case((runs.c.state.in_(LIVING_STATES), 1), else_=0))
    statement = select(runs.c.project, func.count(), living).group_by(runs.c.project).order_by(runs.c.project)
    return [ProjectCount(project, count, int(alive)) for project, count, alive in connection.execute(statement)]


def tally(
    connection: Connection, *, project: str | None, opened_after: float, limit: int
) -> tuple[list[Tally], Saved, bool]:
    """Incidents that opened after a time, by kind and cause, the commonest first; what was kept; whether there were
    more than ``limit``, of which the latest were counted."""
    statement = (
        select(
            incidents.c.run_id,
            incidents.c.document,
            runs.c.last_step,
            runs.c.last_signals,
            runs.c.state,
        )
        .join(runs, runs.c.run_id == incidents.c.run_id)
        .where(incidents.c.opened_at > opened_after)
        .order_by(incidents.c.opened_at.desc())
        .limit(limit + 1)
    )
    if project is not None:
        statement = statement.where(runs.c.project == project)
    rows = connection.execute(statement).all()
    told = [
        _Told(run_id, IncidentReport.model_validate(document), last_step, _step_seconds(signals), state)
        for run_id, document, last_step, signals, state in rows[:limit]
    ]
    return _by_kind_and_cause(told), _saved(told), len(rows) > limit


@dataclass(frozen=True, slots=True)
class _Told:
    run_id: UUID
    incident: IncidentReport
    last_step: int | None
    step_seconds: float
    run_state: str


def _by_kind_and_cause(told: Iterable[_Told]) -> list[Tally]:
    found: dict[tuple[str, str], Tally] = {}
    for one in told:
        incident = one.incident
        cause = incident.diagnosis[0].cause if incident.diagnosis else ""
        row = found.setdefault((incident.kind, cause), Tally(incident.kind, cause))
        row.incidents += 1
        row.living += incident.state in ("open", "recovering", "watching")
        row.recovered += incident.state == "resolved" and incident.rung > 0
        row.healed += incident.state == "resolved" and incident.rung == 0
        row.escalated += incident.state == "escalated"
        row.steps_lost += incident.steps_lost
        row.seconds_lost += incident.steps_lost * one.step_seconds
        row.run_ids.add(one.run_id)
    return sorted(found.values(), key=lambda row: (-row.incidents, row.kind, row.cause))


def _saved(told: Iterable[_Told]) -> Saved:
    """A run that was rescued and then lost all the same has kept nothing."""
    first: dict[UUID, _Told] = {}
    lost = {one.run_id for one in told if one.run_state in ("failed", "halted")}
    for one in told:
        is_rescue = one.incident.state in ("resolved", "watching") and one.incident.rung > 0
        known = first.get(one.run_id, one)
        if is_rescue and one.run_id not in lost and one.incident.detected_step <= known.incident.detected_step:
            first[one.run_id] = one
    kept = [(max(0, (one.last_step or 0) - one.incident.detected_step), one.step_seconds) for one in first.values()]
    return Saved(len(first), sum(steps for steps, _ in kept), sum(steps * seconds for steps, seconds in kept))


def _step_seconds(signals: dict[str, object]) -> float:
    # NaN travels as a string inside JSON.
    seconds = float(signals.get("step_seconds", 0.0))  # type: ignore[arg-type]
    return seconds if 0.0 <= seconds < float("inf") else 0.0

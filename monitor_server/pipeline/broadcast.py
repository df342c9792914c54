"""Broadcast: what changed goes into the event table, in the same transaction, for whoever is looking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Literal

from monitor_server.pipeline.case import Bench, Case
from monitor_server.storage import RunRow, events
from monitor_server.storage.audit import Entry
from monitor_server.storage.audit import add as add_to_audit
from monitor_server.storage.events import Event
from monitor_server.storage.remarks import Remark
from trainguard.wire import Acknowledgement, Command, DecisionReport, IncidentReport

EventKind = Literal[
    "run", "incident", "decision", "command", "acknowledgement", "checkpoint", "finding", "remark", "silence"
]


def broadcast(case: Case, bench: Bench) -> Case:
    """Events of all that this envelope changed; one that only brings observations makes none."""
    assert case.judgement is not None
    run, envelope, now = case.run, case.envelope, case.now
    state = envelope.state if case.is_current else run.state
    happened: list[Event] = []
    if state != run.state or case.attempt != run.attempt:
        happened.append(of_run(run, now, state=state, attempt=case.attempt))
    happened += [event(run, "finding", now, dict(one, source="server")) for one in case.findings]
    happened += [event(run, "checkpoint", now, dict(one)) for one in envelope.checkpoints]
    happened += [of_incident(run, one, now) for one in case.judgement.incidents]
    happened += [of_incident(run, one, now, brain="local") for one in envelope.incidents]
    happened += [of_decision(run, one, now) for one in (*case.judgement.decisions, *envelope.decisions)]
    happened += [of_command(run, one, now) for one in case.judgement.commands]
    happened += [_of_acknowledgement(run, one, now) for one in case.acknowledgements]
    if happened:
        bench.ledger.later(events.add, happened)
    entries = _commanded_locally(run, envelope.decisions, now)
    if entries:
        bench.ledger.later(add_to_audit, entries)
    return case


def event(run: RunRow, kind: EventKind, now: float, document: Mapping[str, Any]) -> Event:
    """Something about a run."""
    return Event(kind=kind, project=run.project, run_id=run.run_id, happened_at=now, document=document)


def of_run(run: RunRow, now: float, **changed: Any) -> Event:
    """The run itself changed: it is new, its state or its attempt is another, people wrote something on it."""
    told = {"run": run.name, "state": run.state, "attempt": run.attempt, "step": run.last_step, "mode": run.mode}
    return event(run, "run", now, told | changed)


def of_incident(run: RunRow, report: IncidentReport, now: float, *, brain: str = "server") -> Event:
    """An incident as it is now."""
    return event(run, "incident", now, dict(report, brain=brain, run=run.name))


def of_decision(run: RunRow, report: DecisionReport, now: float) -> Event:
    """A decision was made."""
    return event(run, "decision", now, dict(report))


def of_command(run: RunRow, command: Command, now: float) -> Event:
    """A command was issued."""
    return event(run, "command", now, dict(command, state="pending"))


def of_remark(run: RunRow, remark: Remark, now: float) -> Event:
    """A person said or did something about an incident."""
    return event(run, "remark", now, asdict(remark))


def _of_acknowledgement(run: RunRow, answer: Acknowledgement, now: float) -> Event:
    return event(run, "acknowledgement", now, dict(answer))


def _commanded_locally(run: RunRow, decisions: Iterable[DecisionReport], now: float) -> list[Entry]:
    return [
        Entry(
            done_at=now,
            actor_kind="local",
            actor="local brain",
            action="command",
            project=run.project,
            run_id=run.run_id,
            target=str(one.command_id or one.decision_id),
            document={"orders": one.orders, "reason": one.reason, "incident_id": one.incident_id},
        )
        for one in decisions
        if one.verdict in ("act", "halt")
    ]

"""By hand: commands that a person gives, and a person's yes or no to what was proposed.

They meet the same fence as every other command.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from uuid import UUID, uuid4

from sqlalchemy import Connection

from monitor_server.pipeline.broadcast import of_command, of_decision, of_incident, of_remark
from monitor_server.pipeline.refusals import CommandRefused, UnknownRun
from monitor_server.storage import RunRow, audit, commands, events, incidents, remarks, reports, runs
from monitor_server.storage.audit import Entry
from monitor_server.storage.remarks import Remark, RemarkKind
from trainguard.policy import Incident, PolicyMemory
from trainguard.wire import ACTIONS, Command, DecisionReport, Order, RerunTest, Rollback, UnknownOrder


def order(
    connection: Connection,
    run_id: UUID,
    *,
    orders: Sequence[Order],
    issued_by: str,
    now: float,
    ttl_seconds: float,
    reason: str = "",
    token_id: str | None = None,
) -> Command:
    """Issue a person's command for the run as it stands; the next receipts carry it.

    Raises `UnknownRun`, and `CommandRefused` where the trainer would refuse it anyway: said here, by name.
    """
    run = _locked(connection, run_id)
    _check_may_command(connection, run, now)
    _check_orders(connection, run, orders)
    command = Command(
        command_id=uuid4(),
        attempt=run.attempt,
        revision=run.revision,
        orders=tuple(orders),
        issued_at=now,
        expires_at=now + ttl_seconds,
        issued_by=issued_by,
        reason=reason,
    )
    commands.add(connection, run_id, [command])
    events.add(connection, [of_command(run, command, now)])
    _write_down(connection, run, "command", command, issued_by, token_id, now)
    return command


def approve(
    connection: Connection,
    run_id: UUID,
    decision_id: UUID,
    *,
    approved_by: str,
    now: float,
    ttl_seconds: float,
    comment: str = "",
    token_id: str | None = None,
) -> Command:
    """Turn a proposal into a command. From here on its incident goes the way of every other: recovering, watching.

    Raises `UnknownRun`, and `CommandRefused` for a decision that proposes nothing or does not stand any more.
    """
    run = _locked(connection, run_id)
    _check_may_command(connection, run, now)
    proposal = _standing_proposal(connection, run, decision_id)
    memory = PolicyMemory.model_validate(run.policy_memory or {})
    incident = _open_incident(memory, proposal)
    if proposal.expires_at is not None and proposal.expires_at < now:
        raise CommandRefused(
            "decision_id",
            f"this proposal expired {now - proposal.expires_at:.0f} s ago, and the run has moved on; "
            "approve the next one, which comes with the run's next report",
        )
    _check_orders(connection, run, proposal.orders)

    reason = f"{approved_by} approved: {proposal.reason}"[:4000]
    approval = proposal.model_copy(
        update={
            "decision_id": uuid4(),
            "decided_at": _after(proposal, now),
            "decided_by": "person",
            "verdict": "halt" if proposal.orders[0].action == "halt" else "act",
            "reason": reason,
            "command_id": uuid4(),
            "expires_at": None,
        }
    )
    assert approval.command_id is not None
    command = Command(
        command_id=approval.command_id,
        incident_id=incident.incident_id,
        decision_id=approval.decision_id,
        attempt=run.attempt,
        revision=run.revision,
        orders=proposal.orders,
        issued_at=now,
        expires_at=now + ttl_seconds,
        issued_by=approved_by,
        reason=reason,
    )
    recovering = incident.obeying(command, reason, now)
    commands.add(connection, run_id, [command])
    incidents.save(connection, run_id, [recovering.report()], "server")
    incidents.add_decisions(connection, run_id, [approval])
    values = {
        # The version rises: no process may go on with what it remembers from before the approval.
        "version": run.version + 1,
        "last_decision": reason,
        "policy_memory": memory.with_incident(recovering).model_dump(mode="json"),
    }
    runs.change(connection, run_id, values)
    remark = _remark(run, incident, "approved", approved_by, comment, now)
    remarks.add(connection, remark)
    told = [of_incident(run, recovering.report(), now), of_decision(run, approval, now), of_command(run, command, now)]
    events.add(connection, [*told, of_remark(run, remark, now)])
    _write_down(connection, run, "approve", command, approved_by, token_id, now)
    return command


def decline(
    connection: Connection,
    run_id: UUID,
    decision_id: UUID,
    *,
    declined_by: str,
    now: float,
    comment: str = "",
    token_id: str | None = None,
) -> DecisionReport:
    """Say no to a proposal: nothing is done, and the same thing is not proposed again.

    The incident stays open: it may heal, a graver sign is decided on anew, and a person may resolve it.
    Raises `UnknownRun`, and `CommandRefused` for a decision that proposes nothing or does not stand any more.
    """
    run = _locked(connection, run_id)
    proposal = _standing_proposal(connection, run, decision_id)
    memory = PolicyMemory.model_validate(run.policy_memory or {})
    incident = _open_incident(memory, proposal)
    reason = f"Nothing, because {declined_by} declined" + (f": {comment}" if comment else ".")
    refusal = proposal.model_copy(
        update={
            "decision_id": uuid4(),
            "decided_at": _after(proposal, now),
            "decided_by": "person",
            "verdict": "nothing",
            "orders": (),
            "reason": reason[:4000],
            "command_id": None,
            "expires_at": None,
        }
    )
    # Nor when the proposal would expire, or its checkpoint goes: what was declined is this very trouble's remedy.
    kept = incident.model_copy(
        update={
            "declined": incident.circumstances,
            "proposal_expires_at": None,
            "updated_at": now,
            "outcome": refusal.reason,
        }
    )
    incidents.save(connection, run_id, [kept.report()], "server")
    incidents.add_decisions(connection, run_id, [refusal])
    values = {
        "version": run.version + 1,
        "last_decision": refusal.reason,
        "policy_memory": memory.with_incident(kept).model_dump(mode="json"),
    }
    runs.change(connection, run_id, values)
    remark = _remark(run, incident, "declined", declined_by, comment, now)
    remarks.add(connection, remark)
    told = [of_incident(run, kept.report(), now), of_decision(run, refusal, now), of_remark(run, remark, now)]
    events.add(connection, told)
    entry = Entry(
        done_at=now,
        actor_kind="person",
        actor=declined_by,
        token_id=token_id,
        action="decline",
        project=run.project,
        run_id=run_id,
        target=str(decision_id),
        document={"orders": proposal.orders, "reason": comment, "incident_id": incident.incident_id},
    )
    audit.add(connection, [entry])
    return refusal


def _locked(connection: Connection, run_id: UUID) -> RunRow:
    run = runs.lock(connection, [run_id]).get(run_id)
    if run is None:
        raise UnknownRun(run_id)
    return run


def _check_may_command(connection: Connection, run: RunRow, now: float) -> None:
    if run.state not in runs.LIVING_STATES:
        raise CommandRefused("run_id", f"the run is {run.state}; nobody is there to carry out a command")
    if run.mode == "observe":
        raise CommandRefused("run_id", "the run is only observed (mode observe); attach it with mode='act' to allow it")
    waiting = commands.pending(connection, run.run_id, now)
    if waiting:
        raise CommandRefused(
            "run_id",
            f"command {waiting[0].command_id} ({waiting[0].action}) is on its way already; "
            "wait until it is answered or has expired",
        )


def _check_orders(connection: Connection, run: RunRow, orders: Sequence[Order]) -> None:
    for index, one in enumerate(orders):
        if isinstance(one, UnknownOrder):
            raise CommandRefused(
                f"orders.{index}.action", f"{one.action!r} is no action; known are {', '.join(ACTIONS)}"
            )
        if one.action == "halt" and len(orders) > 1:
            raise CommandRefused(f"orders.{index}.action", "halt stands alone; what else is ordered could not happen")
        if isinstance(one, RerunTest) and run.described().world_size > 1:
            raise CommandRefused(
                f"orders.{index}.action",
                "several ranks would not make the same passes; test one rank's batch in a single process",
            )
        if isinstance(one, Rollback):
            known = {report.checkpoint_id for report in reports.checkpoints_of(connection, run.run_id)}
            if one.checkpoint_id not in known:
                raise CommandRefused(
                    f"orders.{index}.checkpoint_id",
                    f"{one.checkpoint_id} is no checkpoint that this run still has; choose one of its list",
                )


def _standing_proposal(connection: Connection, run: RunRow, decision_id: UUID) -> DecisionReport:
    decision = incidents.decision(connection, run.run_id, decision_id)
    if decision is None:
        raise CommandRefused("decision_id", f"{decision_id} is no decision on this run")
    if decision.verdict != "propose":
        raise CommandRefused("decision_id", f"this decision proposes nothing; its verdict is {decision.verdict}")
    latest = incidents.latest_decision(connection, run.run_id, decision.incident_id)
    if latest != decision or decision.attempt != run.attempt:
        raise CommandRefused("decision_id", "a later decision has taken the place of this one; look at the latest")
    return decision


def _after(proposal: DecisionReport, now: float) -> float:
    """Later than what it answers, also where the clock says the same: the latest decision is the one that stands."""
    return max(now, math.nextafter(proposal.decided_at, math.inf))


def _open_incident(memory: PolicyMemory, proposal: DecisionReport) -> Incident:
    incident = next((one for one in memory.active() if one.incident_id == proposal.incident_id), None)
    if incident is None or incident.state != "open":
        raise CommandRefused("decision_id", "the incident that this decision is about is not open any more")
    return incident


def _remark(run: RunRow, incident: Incident, kind: RemarkKind, made_by: str, comment: str, now: float) -> Remark:
    return Remark(
        run_id=run.run_id,
        incident_id=incident.incident_id,
        remark_id=uuid4(),
        kind=kind,
        made_at=now,
        made_by=made_by,
        comment=comment,
    )


def _write_down(
    connection: Connection, run: RunRow, action: str, command: Command, actor: str, token_id: str | None, now: float
) -> None:
    entry = Entry(
        done_at=now,
        actor_kind="person",
        actor=actor,
        token_id=token_id,
        action=action,
        project=run.project,
        run_id=run.run_id,
        target=str(command.command_id),
        document={"orders": command.orders, "reason": command.reason, "incident_id": command.incident_id},
    )
    audit.add(connection, [entry])

"""Issue: a decision becomes command rows, which every receipt repeats until they are answered or expire."""

from __future__ import annotations

from monitor_server.pipeline.case import Bench, Case
from monitor_server.storage import audit, commands
from monitor_server.storage.audit import Entry


def issue(case: Case, bench: Bench) -> Case:
    """Write the new commands down; the receipt reads them back with the older ones."""
    assert case.judgement is not None
    if case.judgement.commands:
        bench.ledger.later(commands.add, case.run.run_id, case.judgement.commands)
        entries = [
            Entry(
                done_at=case.now,
                actor_kind="policy",
                actor=command.issued_by,
                action="command",
                project=case.run.project,
                run_id=case.run.run_id,
                target=str(command.command_id),
                document={"orders": command.orders, "reason": command.reason, "incident_id": command.incident_id},
            )
            for command in case.judgement.commands
        ]
        bench.ledger.later(audit.add, entries)
    return case

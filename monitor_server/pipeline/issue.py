"""Issue: a decision becomes command rows, which every receipt repeats until they are answered or expire."""

from __future__ import annotations

from monitor_server.pipeline.case import Bench, Case
from monitor_server.storage import commands


def issue(case: Case, bench: Bench) -> Case:
    """Write the new commands down; the receipt reads them back with the older ones."""
    assert case.judgement is not None
    if case.judgement.commands:
        bench.ledger.later(commands.add, case.run.run_id, case.judgement.commands)
    return case

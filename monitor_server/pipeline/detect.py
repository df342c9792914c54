"""Detect: the service's own panel looks at what is new."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

from monitor_server.live import begin_attempt
from monitor_server.pipeline.case import Bench, Case
from monitor_server.storage import reports, snapshots
from trainguard.wire import Finding


def detect(case: Case, bench: Bench) -> Case:
    """Show the fresh observations to the run's detectors; where an attempt begins, rewind them first."""
    live = bench.live_run(case.run)
    findings: list[Finding] = []
    for attempt, rows in groupby(case.fresh, key=lambda row: row.attempt):
        if attempt > live.attempt:
            live = begin_attempt(bench.connection, live, attempt, case.now)
        findings += live.see(rows)
    if case.attempt > live.attempt:
        live = begin_attempt(bench.connection, live, case.attempt, case.now)
    if live.is_snapshot_due:
        bench.ledger.later(snapshots.save, case.run.run_id, live.snapshot(), case.now)
    bench.taken[case.run.run_id] = live
    if findings:
        bench.ledger.later(reports.add_findings, case.run.run_id, findings, "server", case.now)
    return replace(case, live=live, findings=tuple(findings))

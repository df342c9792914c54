"""The way of one envelope: the list, and the walk along it."""

from __future__ import annotations

from uuid import UUID

from monitor_server.pipeline.announce import announce
from monitor_server.pipeline.broadcast import broadcast
from monitor_server.pipeline.case import Bench, Case, Stage
from monitor_server.pipeline.detect import detect
from monitor_server.pipeline.issue import issue
from monitor_server.pipeline.judge import assess, conclude, judged_by
from monitor_server.pipeline.record import record
from monitor_server.pipeline.refusals import UnknownRun
from monitor_server.pipeline.roll_up import roll_up
from monitor_server.pipeline.settle import settle
from monitor_server.storage import RunRow
from trainguard import policy
from trainguard.wire import Envelope

STAGES: tuple[Stage, ...] = (
    record,
    detect,
    roll_up,
    assess,
    # follow → correlate → diagnose → suppress → decide, the very functions that the trainer's local brain runs
    *(judged_by(stage) for stage in policy.STAGES),
    conclude,
    issue,
    announce,
    broadcast,
    settle,
)
"""In order. A duplicate leaves after the first."""


def walk(run: RunRow | None, run_id: UUID, envelope: Envelope, now: float, bench: Bench) -> Case:
    """Lead one envelope through every stage. The caller writes what is left in the ledger, and commits.

    Raises `UnknownRun` where ``run`` is None, and `EnvelopeRefused`.
    """
    if run is None:
        raise UnknownRun(run_id)
    case = Case(run=run, envelope=envelope, now=now)
    for stage in STAGES:
        case = stage(case, bench)
        if case.is_duplicate:
            break
    return case

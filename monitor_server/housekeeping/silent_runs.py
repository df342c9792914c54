"""Silent runs: a trainer that was killed cannot say so; that nothing comes any more is the only sign."""

from __future__ import annotations

from monitor_server.housekeeping.chore import Desk
from monitor_server.pipeline.announce import letters
from monitor_server.pipeline.broadcast import of_run
from monitor_server.storage import events, notifications, reports, runs, silences
from trainguard.wire import Finding


def call_silent(desk: Desk) -> int:
    """Call running runs silent that were not heard of for ``silent_after_seconds``, and tell people once.

    That it fell silent is recorded as a finding of kind ``silent`` at its last step. The next envelope makes such a
    run running again.
    """
    patience = desk.settings.silent_after_seconds
    # After an outage of the service every run looks silent: the trainers get their time to come back first.
    if desk.now - desk.started_at < patience:
        return 0
    fallen = runs.mark_silent(desk.connection, seen_before=desk.now - patience)
    events.add(desk.connection, [of_run(run, desk.now, state="silent") for run in fallen])
    for run in fallen:
        minutes = (desk.now - run.last_seen_at) / 60
        where = "before its first step" if run.last_step is None else f"at step {run.last_step}"
        sentence = f"Nothing was heard of it for {minutes:.0f} minutes; it was last seen {where}."
        # In the run's history whether or not somebody wants to be told: when it fell silent is a question for later.
        step = run.last_step or 0
        finding = Finding(
            kind="silent",
            severity="warning",
            detector="silent_runs",
            attempt=run.attempt,
            step=step,
            onset_step=step,
            evidence={"silent_seconds": desk.now - run.last_seen_at},
            message=sentence,
        )
        reports.add_findings(desk.connection, run.run_id, [finding], "server", desk.now)
        unwanted = silences.silenced_kinds(desk.connection, run.run_id, desk.now)
        if "silent" in unwanted or silences.is_silenced(desk.connection, run.run_id, desk.now):
            continue
        told = letters(desk.settings, run, "silent", sentence, desk.now, name=f"silent:{run.version}")
        notifications.post(desk.connection, told)
    return len(fallen)

"""Record: whatever the trainer says goes into the database, once."""

from __future__ import annotations

from dataclasses import replace

from monitor_server.pipeline.case import Bench, Case
from monitor_server.pipeline.refusals import EnvelopeRefused
from monitor_server.storage import RunRow, attempts, commands, incidents, observations, reports
from monitor_server.storage.senders import SenderRow
from trainguard.wire import AttemptReport, Envelope, Observation

_REPORTS = ("attempts", "evaluations", "findings", "checkpoints", "acknowledgements", "incidents", "decisions")


def record(case: Case, bench: Bench) -> Case:
    """Store the envelope, unless ``(run, sender, sequence)`` was stored before.

    Observations of an attempt that is already abandoned are history: stored, never judged.
    Raises `EnvelopeRefused` for an envelope that contradicts itself.
    """
    envelope, run_id = case.envelope, case.run.run_id
    connection = bench.connection
    sender_key = run_id, envelope.sender
    known = bench.senders.get(sender_key)
    if known is not None and envelope.sequence <= known.last_sequence:
        return replace(
            case,
            is_duplicate=True,
            last_sequence=known.last_sequence,
            attempt=case.run.attempt,
            revision=case.run.revision,
        )
    confessed = known.observations_lost if known is not None else 0
    sender = SenderRow(
        last_sequence=envelope.sequence,
        observations_lost=max(confessed, envelope.observations_lost),
        first_seen_at=known.first_seen_at if known is not None else case.now,
    )
    bench.ledger.senders[sender_key] = sender
    lost = sender.observations_lost - confessed
    if bench.is_together:
        for block in envelope.blocks:
            bench.ledger.observations += observations.pack(run_id, block)
        fresh = tuple(row for block in envelope.blocks for row in block.rows())
        return replace(
            case, last_sequence=envelope.sequence, attempt=case.run.attempt,
            revision=max(case.run.revision, envelope.revision), lost=lost, fresh=fresh, stored=len(fresh),
        )  # fmt: skip
    case = replace(
        case, last_sequence=envelope.sequence, attempt=case.run.attempt, revision=case.run.revision, lost=lost
    )
    _check(envelope)

    rollbacks = _record_attempts(case, bench)
    rows = _sorted_out(case)
    stored = observations.add(connection, run_id, rows)
    reports.add_evaluations(connection, run_id, envelope.evaluations)
    reports.add_findings(connection, run_id, envelope.findings, "trainer", case.now)
    reports.save_checkpoints(connection, run_id, envelope.checkpoints)
    answers = reports.add_acknowledgements(connection, run_id, envelope.acknowledgements)
    commands.settle(connection, run_id, answers, case.now)
    escalated = incidents.newly_escalated(connection, run_id, envelope.incidents)
    incidents.save(connection, run_id, envelope.incidents, "local")
    incidents.add_decisions(connection, run_id, envelope.decisions)

    return replace(
        case,
        attempt=max(case.run.attempt, envelope.attempt),
        # A trainer of an abandoned attempt knows nothing of the revision in force.
        revision=max(case.run.revision, envelope.revision) if case.is_current else case.run.revision,
        fresh=tuple(row for row, judged in rows if judged),
        late=tuple(row for row, judged in rows if not judged),
        stored=stored,
        rollbacks=rollbacks,
        acknowledgements=tuple(answers),
        escalated_locally=tuple(escalated),
    )


def is_plain(run: RunRow, envelope: Envelope) -> bool:
    """Whether it holds only the next steps of the attempt in force, as all but a few envelopes do.

    Recording one reads nothing that its neighbours in the transaction may have written, and no step of it is in
    the database, so that its rows can wait and be written with theirs.
    """
    if run.last_step is None or envelope.attempt != run.attempt or any(getattr(envelope, name) for name in _REPORTS):
        return False
    last_step = run.last_step
    for block in envelope.blocks:
        if block.attempt != run.attempt or block.steps[0] <= last_step:
            return False
        last_step = block.steps[-1]
    return True


def _check(envelope: Envelope) -> None:
    named = [(f"blocks.{index}", block.attempt) for index, block in enumerate(envelope.blocks)]
    named += [(f"attempts.{index}", report.attempt) for index, report in enumerate(envelope.attempts)]
    for path, attempt in named:
        if attempt > envelope.attempt:
            raise EnvelopeRefused(
                f"{path}.attempt",
                f"attempt {attempt} is later than the envelope's own attempt {envelope.attempt}; "
                "send the attempt in force when the envelope was packed",
            )
    for index, report in enumerate(envelope.attempts):
        if report.parent is not None and report.parent >= report.attempt:
            raise EnvelopeRefused(
                f"attempts.{index}.parent",
                f"attempt {report.attempt} cannot come from attempt {report.parent}; a parent is an earlier attempt",
            )


def _record_attempts(case: Case, bench: Bench) -> int:
    run_id, envelope = case.run.run_id, case.envelope
    seen = {block.attempt: block for block in reversed(envelope.blocks)}
    begun = sorted({report.attempt for report in envelope.attempts} | {*seen, envelope.attempt})
    # The common case by far: nothing but the attempt that the database knows already.
    if case.run.last_step is not None and not envelope.attempts and begun == [case.run.attempt]:
        return 0
    known = {report.attempt for report in attempts.of_run(bench.connection, run_id)}
    attempts.save(bench.connection, run_id, envelope.attempts)
    for number in begun:
        first = seen[number].steps[0] if number in seen else _next_step(case)
        missing = AttemptReport(
            attempt=number,
            parent=max((one for one in known if one < number), default=None),
            start_step=first if number else 0,
            reason="restart" if number else "start",
            began_at=case.now,
            note="seen in its observations; the trainer did not report how it began",
        )
        attempts.assume(bench.connection, run_id, missing)
        known.add(number)
    newer = (report for report in envelope.attempts if report.attempt > case.run.attempt)
    return len({report.attempt for report in newer if report.reason == "rollback"})


def _sorted_out(case: Case) -> list[tuple[Observation, bool]]:
    """Every observation, and whether the detectors are to see it: in the order of time, none twice."""
    attempt = case.run.attempt
    last_step = -1 if case.run.last_step is None else case.run.last_step
    rows: list[tuple[Observation, bool]] = []
    for block in case.envelope.blocks:
        if block.attempt > attempt:
            attempt, last_step = block.attempt, block.steps[0] - 1
        for row in block.rows():
            judged = row.attempt == attempt and row.step > last_step
            if judged:
                last_step = row.step
            rows.append((row, judged))
    return rows


def _next_step(case: Case) -> int:
    return 0 if case.run.last_step is None else case.run.last_step + 1

"""The lineage of an attempt: which steps of which attempts made the model what it is."""

from __future__ import annotations

from collections.abc import Sequence

from monitor_server.storage.observations import Stretch
from trainguard.wire import AttemptReport


def lineage(attempts: Sequence[AttemptReport], attempt: int) -> list[Stretch]:
    """The stretches that lead to ``attempt``, the earliest first; abandoned steps are in none of them.

    An attempt owns the steps from its start; before it, its parent's steps up to there count, and so on.

    >>> def report(attempt, parent, start):
    ...     return AttemptReport(attempt=attempt, parent=parent, start_step=start, reason="rollback", began_at=0)
    >>> for stretch in lineage([report(0, None, 0), report(1, 0, 400), report(2, 1, 300)], 2):
    ...     print(stretch)
    Stretch(attempt=0, from_step=0, before_step=300)
    Stretch(attempt=2, from_step=300, before_step=None)
    """
    known = {report.attempt: report for report in attempts}
    stretches: list[Stretch] = []
    before_step: int | None = None
    current: int | None = attempt
    while current is not None:
        report = known.get(current)
        start = report.start_step if report is not None else 0
        if before_step is None or start < before_step:
            stretches.append(Stretch(current, start, before_step))
        before_step = start if before_step is None else min(before_step, start)
        parent = report.parent if report is not None else None
        # A parent is always earlier; anything else would be a ring.
        current = parent if parent is not None and parent < current else None
    return stretches[::-1]

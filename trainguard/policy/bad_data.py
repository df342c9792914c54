"""A stretch of bad data that is longer than what was passed over: the way on is past it, not deeper or slower."""

from __future__ import annotations

from collections.abc import Iterable

from trainguard.policy.cause import STEADY
from trainguard.policy.incident import Incident
from trainguard.policy.remedy import Remedy
from trainguard.wire import CheckpointReport, Order, RewarmUp, Rollback, SkipDataWindow, SkipUpdate

MOST_RETRIES = 5
"""16 batches doubled five times are 512: more bad data in a row than that is not a pocket, it is the data."""
AT_ONCE = 1
"""Steps after the rollback within which nothing but the data can have done it: no update was made, or a tiny one."""
LEAST = 16
MOST_UPDATES = 1_000


def is_of_the_data(incident: Incident) -> bool:
    """Whether the trouble was there again at the first loss after the rollback, on weights that are known good.

    Neither the rate nor the checkpoint can do that, only the batch. A rate that was raised is told apart: there the
    first update does the harm.
    """
    restored = incident.restored_step
    if restored is None or not incident.relapses or not incident.rung or incident.retries >= MOST_RETRIES:
        return False
    if incident.onset_step > restored + AT_ONCE:
        return False
    if incident.cause == "rate":
        return False
    before, at = incident.evidence.get("learning_rate_before"), incident.evidence.get("learning_rate_at")
    return before is None or at is None or before <= 0 or at <= STEADY[1] * before


def retry(incident: Incident, checkpoints: Iterable[CheckpointReport]) -> Remedy | None:
    """The same checkpoint again and twice as much data passed over; ``None`` where it is there no longer.

    Where the loop does not take its data from ``hook.batches``, as many updates are left out instead: the bad
    batches come and go, and the weights stay as they are.
    """
    again = next((one for one in checkpoints if one.state == "confirmed" and one.step == incident.restored_step), None)
    if again is None:
        return None
    batches = 2 * max(incident.skipped, LEAST)
    orders: tuple[Order, ...] = (Rollback(checkpoint_id=again.checkpoint_id), SkipDataWindow(batches=batches))
    words = f"pass over the next {batches} batches"
    if not incident.passes_over_data:
        batches = min(batches, MOST_UPDATES)
        orders = (*orders, SkipUpdate(updates=batches))
        words = f"leave out the next {batches} updates"
    orders = (*orders, RewarmUp(steps=10))
    return Remedy(orders, f"go back to the checkpoint of step {again.step} once more and {words}")

"""What ``observe`` tells the loop."""

from __future__ import annotations

from typing import NamedTuple


class StepOutcome(NamedTuple):
    """The answer of ``hook.observe``: what was just made, and what to make now.

    >>> StepOutcome(step=7, next_step=8, data_step=8).rolled_back
    False
    """

    step: int
    """Index (from 0) of the step just made."""
    next_step: int
    """The one to make now: ``step + 1``, or the restored one after a rollback."""
    data_step: int
    """Never goes back: for loops that pick their data by a number."""
    action: str | None = None
    """Name of the action that was applied at this boundary, if any."""
    rolled_back: bool = False
    """Whether the model was restored from a checkpoint at this boundary."""
    reason: str = ""
    """Why, in a sentence: of the applied action, or of a refusal."""

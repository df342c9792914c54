"""The errors a user may see, drawn as a tree.

AttachError(ValueError)     at attach, before the training begins: names the argument and the remedy
TrainingHalted(RuntimeError)  inside the loop, the only one: the ladder of remedies has ended
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class AttachError(ValueError):
    """``attach`` was given something that would fail later, at 3 a.m.; nothing was changed."""


class TrainingHalted(RuntimeError):
    """The training was stopped on purpose: every remedy was tried, or a person asked for it.

    ``report`` holds what was tried and what was seen, as plain JSON values.
    """

    def __init__(self, reason: str, report: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.report: dict[str, Any] = dict(report or {})

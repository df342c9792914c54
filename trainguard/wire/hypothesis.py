"""A possible cause of an incident: what speaks for it, and what a person should do next."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainguard.wire.base import Sentence, WireModel

Support = Literal["strong", "some", "weak"]
"""strong: the run's own numbers show it; some: they fit it; weak: it is common, and nothing speaks against it."""


class Hypothesis(WireModel):
    """One entry of a diagnosis, which is ranked: the best supported first."""

    cause: Annotated[str, Field(min_length=1, max_length=80)]
    """A short name that stays the same, for counting: ``learning_rate_raised``."""
    support: Support
    statement: Sentence
    evidence: Annotated[tuple[Sentence, ...], Field(max_length=16)] = ()
    next_step: Sentence
    """What a person can do to confirm it or to cure it."""

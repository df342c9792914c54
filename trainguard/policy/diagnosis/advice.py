"""What advice is: one thing to say about a set-up before anything has gone wrong."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainguard.wire import WireModel
from trainguard.wire.base import Sentence


class Advice(WireModel):
    """One thing that somebody who knows would say on seeing the set-up."""

    setting: Annotated[str, Field(min_length=1, max_length=80)]
    weight: Literal["note", "warning"]
    """note: unusual, perhaps meant; warning: known to go wrong."""
    statement: Sentence
    remedy: Sentence

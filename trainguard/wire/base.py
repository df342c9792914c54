"""What every message has in common: frozen, tolerant of newer fields, and able to say NaN."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

WIRE_VERSION = 1
"""Raised only when an old reader could misunderstand a new writer; a new optional field does not raise it."""

SignalValue = float
"""A measured number. It may be NaN or infinite, which is the very thing people want to be told.

JSON has no NaN. Left to its default, pydantic writes ``null`` and the receiver answers 422 exactly when it
matters; so `WireModel` writes the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"`` and reads those, the
usual other spellings, and the bare tokens of Python's ``json``. ``null`` means *not measured*.
"""

SignalName = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[A-Za-z_][A-Za-z0-9_.:/\-]*$")]
"""A signal's name: a letter or underscore, then letters, digits and ``_ . : / -``; at most 120 characters."""

Sentence = Annotated[str, Field(max_length=4000)]
"""Words for a person."""

STEP_LIMIT = 2**53
"""Steps stay exact in every JSON reader, JavaScript's included."""

Step = Annotated[int, Field(ge=0, lt=STEP_LIMIT)]
"""The index of an optimizer step, from 0. Repeats after a rollback, which is why `Attempt` stands beside it."""

Attempt = Annotated[int, Field(ge=0, lt=2**31)]
"""Raised at every rollback or restart, from 0."""

Revision = Annotated[int, Field(ge=0, lt=2**31)]
"""Raised by every action applied to a run: the fence between two brains."""

UnixTime = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""Seconds since 1970-01-01 UTC."""


class WireModel(BaseModel):
    """Base of every message.

    >>> class Reading(WireModel):
    ...     value: SignalValue
    >>> Reading(value=float("nan")).model_dump_json()
    '{"value":"NaN"}'
    >>> Reading.model_validate_json('{"value": "-Infinity", "added_in_a_later_version": 1}').value
    -inf
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        allow_inf_nan=True,
        ser_json_inf_nan="strings",
        protected_namespaces=(),
    )

"""Column types that take whatever the wire allows, on both databases alike."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_core import from_json, to_json
from sqlalchemy import JSON, BigInteger, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

LARGEST_COUNT = 2**63 - 1


class SafeText(TypeDecorator[str]):
    """Text without NUL characters: PostgreSQL refuses them, and a trainer's sentence must not be refused."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Put the replacement character where a NUL stood."""
        return None if value is None else value.replace("\x00", "\ufffd")


class Count(TypeDecorator[int]):
    """A non-negative 64-bit integer; a larger one is stored as the largest, since it is not a count of anything."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        """Bound the value."""
        return None if value is None else min(value, LARGEST_COUNT)


Document = JSON(none_as_null=True)
"""JSON as text, not JSONB: JSONB refuses the escape ``\\u0000``, which a configuration may hold."""


def dump_document(value: Any) -> str:
    """JSON for a `Document` column; NaN and infinities become the strings of the wire.

    >>> dump_document({"z": float("nan")})
    '{"z":"NaN"}'
    """
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    return to_json(value, inf_nan_mode="strings").decode()


def load_document(text: str | bytes) -> Any:
    """The inverse of `dump_document`; the strings of NaN stay strings until a wire model reads them."""
    return from_json(text)

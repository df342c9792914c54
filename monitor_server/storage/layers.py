"""Signals of single layers, thinned out over the steps for a picture. They lie in the rows' ``extra``."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, Text, cast, func, select

from monitor_server.storage.tables import observations

LOOK_BACK = 2000
"""Rows with extras, the latest, that are looked through for any layer at all."""
MOST_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One look at every layer; values by the layer's name, NaN and the infinities as numbers."""

    attempt: int
    step: int
    values: dict[str, float]


def looks(
    connection: Connection,
    run_id: UUID,
    *,
    signal: str,
    points: int,
    from_step: int | None = None,
    to_step: int | None = None,
) -> list[LayerRow]:
    """At most ``points`` looks per attempt, evenly over the steps asked for, in order of (attempt, step).

    A long run costs ``points`` small queries and never a reading of all its rows.
    """
    prefix = f"{signal}/"
    if not _has_any(connection, run_id, prefix):
        return []
    in_range = [observations.c.run_id == run_id]
    if from_step is not None:
        in_range.append(observations.c.step >= from_step)
    if to_step is not None:
        in_range.append(observations.c.step <= to_step)
    extents = (
        select(observations.c.attempt, func.min(observations.c.step), func.max(observations.c.step))
        .where(*in_range)
        .group_by(observations.c.attempt)
        .order_by(observations.c.attempt.desc())
        .limit(MOST_ATTEMPTS)
    )
    found: list[LayerRow] = []
    for attempt, low, high in reversed(connection.execute(extents).all()):
        width = max(1, -(-(high - low + 1) // points))
        for begin in range(low, high + 1, width):
            row = _first(connection, run_id, attempt, begin, min(high, begin + width - 1), prefix)
            if row is not None:
                found.append(row)
    return found


def _has_any(connection: Connection, run_id: UUID, prefix: str) -> bool:
    latest = (
        select(observations.c.extra)
        .where(observations.c.run_id == run_id, observations.c.extra.is_not(None))
        .order_by(observations.c.attempt.desc(), observations.c.step.desc())
        .limit(LOOK_BACK)
    )
    return any(name.startswith(prefix) for (extra,) in connection.execute(latest) for name in extra)


def _first(connection: Connection, run_id: UUID, attempt: int, low: int, high: int, prefix: str) -> LayerRow | None:
    statement = (
        select(observations.c.step, observations.c.extra)
        .where(
            observations.c.run_id == run_id,
            observations.c.attempt == attempt,
            observations.c.step.between(low, high),
            cast(observations.c.extra, Text).contains(f'"{prefix}', autoescape=True),
        )
        .order_by(observations.c.step)
        .limit(1)
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    step, extra = row
    values = {name[len(prefix) :]: float(value) for name, value in extra.items() if name.startswith(prefix)}
    return LayerRow(attempt, step, values)

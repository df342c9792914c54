"""The runs: one row each, locked first by every transaction that writes anything of the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Text,
    bindparam,
    case,
    cast,
    exists,
    func,
    or_,
    select,
    tuple_,
    update,
)

from monitor_server.storage.column_types import dump_document
from monitor_server.storage.tables import run_annotations, run_tags, runs
from monitor_server.storage.upsert import insert_new
from trainguard.wire import RunDescription

SortKey = Literal["registered_at", "last_seen_at", "name"]

LIVING_STATES = ("running", "silent")
"""States in which a run may still say something."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as the database has it. Times in seconds since 1970 (UTC)."""

    run_id: UUID
    project: str
    name: str
    mode: str
    state: str
    attempt: int
    revision: int
    lr_scale: float
    last_step: int | None
    registered_at: float
    last_seen_at: float
    last_observed_at: float | None
    ended_at: float | None
    version: int
    observations_total: int
    observations_lost: int
    rollbacks_total: int
    escalations_total: int
    finding_counts: Mapping[str, int]
    """By ``"kind/severity"``."""
    last_signals: Mapping[str, float]
    """The latest measured value of every signal, as numbers; NaN included."""
    last_decision: str
    description: Mapping[str, Any]
    policy_memory: Mapping[str, Any] | None

    def described(self) -> RunDescription:
        """The description as the trainer sent it."""
        return RunDescription.model_validate(self.description)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: what moves with every envelope, and nothing that is long."""

    run_id: UUID
    project: str
    state: str
    attempt: int
    revision: int
    lr_scale: float
    last_step: int | None
    last_seen_at: float
    version: int
    observations_total: int
    rollbacks_total: int
    last_signals: Mapping[str, float]


def register(connection: Connection, description: RunDescription, now: float) -> tuple[RunRow, bool]:
    """Add the run, or renew the description of a known one; the row, and whether it is new.

    A restart may come with another mode, name or project: the latest description holds. What the service knows
    of the run's history stays.
    """
    told = {
        "project": description.project,
        "name": description.run,
        "mode": description.mode,
        "description": description,
    }
    fresh = {
        **told,
        "run_id": description.run_id,
        "state": "running",
        "attempt": 0,
        "revision": 0,
        "lr_scale": 1.0,
        "registered_at": now,
        "last_seen_at": now,
        # Not 0: a run that was deleted and comes back under its id must match nobody's memory of the former one.
        "version": max(0, int(now * 1000)),
        "observations_total": 0,
        "observations_lost": 0,
        "rollbacks_total": 0,
        "escalations_total": 0,
        "finding_counts": {},
        "last_signals": {},
        "last_decision": "",
    }
    is_new = insert_new(connection, runs, [fresh]) == 1
    if not is_new:
        # The version rises, so that no process keeps judging by a former description.
        change(connection, description.run_id, {**told, "last_seen_at": now, "version": runs.c.version + 1})
    row = load(connection, description.run_id)
    assert row is not None
    return row, is_new


def lock(connection: Connection, run_ids: Iterable[UUID]) -> dict[UUID, RunRow]:
    """The rows of ``run_ids``, locked in sorted order, so that two processes never wait for each other in a ring."""
    wanted = sorted(set(run_ids))
    statement = select(runs).where(runs.c.run_id.in_(wanted)).order_by(runs.c.run_id)
    if connection.dialect.name == "postgresql":
        statement = statement.with_for_update()
    return {row["run_id"]: _row(row) for row in connection.execute(statement).mappings()}


def load(connection: Connection, run_id: UUID) -> RunRow | None:
    """One run, not locked."""
    row = connection.execute(select(runs).where(runs.c.run_id == run_id)).mappings().one_or_none()
    return None if row is None else _row(row)


def progress(connection: Connection, run_ids: Iterable[UUID]) -> list[Progress]:
    """How far each of these runs is, those that there are; not locked."""
    columns = [runs.c[field.name] for field in fields(Progress)]
    statement = select(*columns).where(runs.c.run_id.in_(set(run_ids))).order_by(runs.c.run_id)
    return [Progress(**_read(row)) for row in connection.execute(statement).mappings()]


def change(connection: Connection, run_id: UUID, values: Mapping[str, Any]) -> None:
    """Set columns of one run."""
    connection.execute(update(runs).where(runs.c.run_id == run_id).values(**values))


def change_all(connection: Connection, changes: Mapping[UUID, Mapping[str, Any]]) -> None:
    """Set columns of many runs, with one statement for all that set the same ones."""
    ordered = sorted(changes.items(), key=lambda change: sorted(change[1]))
    for names, group in groupby(ordered, key=lambda change: sorted(change[1])):
        statement = update(runs).where(runs.c.run_id == bindparam("which", type_=runs.c.run_id.type))
        statement = statement.values({name: bindparam(f"new_{name}") for name in names})
        connection.execute(
            statement,
            [{"which": run_id, **{f"new_{name}": values[name] for name in names}} for run_id, values in group],
        )


def listing(
    connection: Connection,
    *,
    project: str | None = None,
    name: str | None = None,
    states: Sequence[str] = (),
    search: str = "",
    tags: Sequence[tuple[str, str | None]] = (),
    is_archived: bool | None = None,
    sort: SortKey = "registered_at",
    is_ascending: bool = False,
    beyond: tuple[float | str, UUID] | None = None,
    limit: int = 100,
) -> list[RunRow]:
    """Runs in the order of ``sort``; ``beyond`` is the (sort key, run_id) of the last one of the page before.

    Each of ``tags`` is (name, value), of trainer or people; a value of None stands for any.
    Every word of ``search`` must be in the name, the project or a tag, whatever its case; ``key=value`` is a tag.
    """
    keys = (runs.c[sort], runs.c.run_id)
    order = keys if is_ascending else tuple(key.desc() for key in keys)
    statement = select(runs.c.run_id).order_by(*order).limit(limit)
    for tag, value in tags:
        bears = exists().where(run_tags.c.run_id == runs.c.run_id, run_tags.c.name == tag)
        statement = statement.where(bears if value is None else bears.where(run_tags.c.value == value))
    if is_archived is not None:
        put_away = exists().where(run_annotations.c.run_id == runs.c.run_id, run_annotations.c.archived_at.is_not(None))
        statement = statement.where(put_away if is_archived else ~put_away)
    if project is not None:
        statement = statement.where(runs.c.project == project)
    if name is not None:
        statement = statement.where(runs.c.name == name)
    if states:
        statement = statement.where(runs.c.state.in_(states))
    for word in search.lower().split():
        statement = statement.where(_mentions(word))
    if beyond is not None:
        place = tuple_(*keys)
        statement = statement.where(place > beyond if is_ascending else place < beyond)
    # First which, then what they are: to sort ten thousand whole rows for a hundred of them takes three times as long.
    page = select(runs).where(runs.c.run_id.in_(statement)).order_by(*order)
    return [_row(row) for row in connection.execute(page).mappings()]


def _mentions(word: str) -> ColumnElement[bool]:
    # The tags as the JSON that they are stored as: compact, on both databases.
    tags = func.lower(cast(runs.c.description["tags"], Text))
    key, is_pair, value = word.partition("=")
    if is_pair:
        return tags.contains(f"{dump_document(key)}:{dump_document(value)}", autoescape=True)
    return or_(
        func.lower(runs.c.name).contains(word, autoescape=True),
        func.lower(runs.c.project).contains(word, autoescape=True),
        tags.contains(word, autoescape=True),
    )


def reporting(
    connection: Connection, *, ended_after: float, heard_after: float, first: Select[tuple[UUID]], most: int
) -> tuple[list[RunRow], int]:
    """The runs that metrics speak of one by one, by id, and how many more there are.

    Those that live or ended after ``ended_after``, and were heard of after ``heard_after``. Of more than ``most`` those
    that ``first`` selects come before the others, and then the latest heard of.
    """
    is_one = runs.c.state.in_(LIVING_STATES) | (runs.c.ended_at > ended_after), runs.c.last_seen_at > heard_after
    in_all = int(connection.execute(select(func.count()).select_from(runs).where(*is_one)).scalar_one())
    statement = select(runs).where(*is_one)
    if in_all > most:
        order = case((runs.c.run_id.in_(first), 0), else_=1), runs.c.last_seen_at.desc(), runs.c.run_id
        statement = select(runs).where(
            runs.c.run_id.in_(select(runs.c.run_id).where(*is_one).order_by(*order).limit(most))
        )
    told = [_row(row) for row in connection.execute(statement.order_by(runs.c.run_id)).mappings()]
    return told, in_all - len(told)


def count_by_state(connection: Connection, *, project: str | None = None) -> dict[str, int]:
    """How many runs are in each state, of one project or of all."""
    statement = select(runs.c.state, func.count()).group_by(runs.c.state)
    rows = connection.execute(statement if project is None else statement.where(runs.c.project == project))
    return {row[0]: row[1] for row in rows}


def mark_silent(connection: Connection, *, seen_before: float) -> list[RunRow]:
    """Call running runs silent that were last heard of before ``seen_before``; the rows as they were."""
    statement = select(runs).where(runs.c.state == "running", runs.c.last_seen_at < seen_before)
    if connection.dialect.name == "postgresql":
        statement = statement.with_for_update(skip_locked=True)
    fallen = [_row(row) for row in connection.execute(statement.order_by(runs.c.run_id)).mappings()]
    if fallen:
        silent = [row.run_id for row in fallen]
        connection.execute(update(runs).where(runs.c.run_id.in_(silent)).values(state="silent"))
    return fallen


def _row(row: RowMapping) -> RunRow:
    return RunRow(**_read(row))


def _read(row: RowMapping) -> dict[str, Any]:
    values: dict[str, Any] = dict(row)
    # NaN travels as a string inside JSON.
    values["last_signals"] = {name: float(value) for name, value in values["last_signals"].items()}
    return values

"""Inserts that meet an existing row: the statement that the two databases spell through different classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, literal_column
from sqlalchemy.dialects import postgresql, sqlite

Row = Mapping[str, Any]


def insert_new(connection: Connection, table: Table, rows: Sequence[Row]) -> int:
    """Insert ``rows``, leaving rows whose key exists as they are; the number of rows inserted."""
    if not rows:
        return 0
    statement = _insert(connection, table).on_conflict_do_nothing()
    if connection.dialect.name == "postgresql":
        # psycopg does not count the rows of many statements; what comes back can be counted. Many rows also travel
        # in one statement this way, which is quicker.
        return len(connection.execute(statement.returning(literal_column("1")), list(rows)).all())
    return connection.execute(statement, list(rows)).rowcount


def insert_or_replace(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert ``rows``; where a key exists, the new row's values replace the old ones."""
    if not rows:
        return
    statement = _insert(connection, table)
    keys = [column.name for column in table.primary_key]
    changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), list(rows))


def _insert(connection: Connection, table: Table) -> Any:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)

"""Inserts that meet an existing row: the statement that the two databases spell through different classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table

Row = Mapping[str, Any]


def insert_new(connection: Connection, table: Table, rows: Sequence[Row]) -> int:
    """Insert ``rows``, leaving rows whose key exists as they are; the number of rows inserted."""
    if not rows:
        return 0
    # Without being told, SQLAlchemy forgets the count of an INSERT on psycopg. (RETURNING would count as well, but
    # in one statement of thousands of parameters, which psycopg takes apart at every execution: four times slower.)
    statement = _insert(connection, table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
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
    # Imported by who uses it: either takes some 50 ms of a start.
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)

"""Alembic's entry. The service hands in a connection; `alembic -x database=… revision --autogenerate` makes one."""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import JSON, Connection

from monitor_server.storage.column_types import Count, SafeText
from monitor_server.storage.database import Database
from monitor_server.storage.tables import metadata


def render_item(kind: str, item: object, _context: object) -> str | bool:
    """A migration names plain types: it must still run when our own column types have moved on."""
    if kind == "type" and isinstance(item, SafeText):
        return "sa.Text()"
    if kind == "type" and isinstance(item, Count):
        return "sa.BigInteger()"
    if kind == "type" and isinstance(item, JSON):
        return "sa.JSON()"
    return False


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite cannot alter most things in place: Alembic copies the table instead.
        render_item=render_item,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    address = context.get_x_argument(as_dictionary=True).get("database") or os.environ.get(
        "TRAINGUARD_DATABASE", "sqlite:///trainguard.db"
    )
    with Database(address).write() as own:
        migrate(own)

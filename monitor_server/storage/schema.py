"""The schema's history: finds the migrations in a checkout or a wheel, upgrades, and refuses a newer database."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, insert, inspect, select, text

from monitor_server.storage.database import Database
from monitor_server.storage.tables import metadata

HEAD = "0004"
"""The newest migration, of which `tables` tells the outcome. Known by heart, so that a start need not read them all."""

_ADVISORY_LOCK = 7_265_012_114  # any constant: two replicas that start together must not migrate at once

_written = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""As Alembic makes it."""


class SchemaError(Exception):
    """The database's schema is not the one this version of trainguard works with."""


def migrations_folder() -> Path:
    """Where the migrations lie: inside the installed package, or at the top of a checkout.

    Raises `SchemaError` where neither is there, which means a broken installation.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise SchemaError("the migrations are missing from this installation; install trainguard again")


def upgrade(database: Database, revision: str = "head") -> None:
    """Bring the schema to ``revision``; nothing happens where it is there already.

    An empty database is given the tables at once, which is what all migrations one after the other come to (tested).
    Raises `SchemaError` for a database that a newer trainguard has changed, before touching it.
    """
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        current = current_revision(connection)
        if revision == "head" and current == HEAD:
            return
        if revision == "head" and not inspect(connection).get_table_names():
            metadata.create_all(connection, checkfirst=False)
            _written.create(connection)
            connection.execute(insert(_written).values(version_num=HEAD))
            return
        from monitor_server.storage import migrating  # Alembic, where there is something to migrate

        folder = migrations_folder()
        if current is not None and current not in migrating.known_revisions(folder):
            raise SchemaError(
                f"the database is at schema {current}, which this trainguard does not know: "
                "a newer version made it. Upgrade trainguard, or name another database"
            )
        migrating.up(connection, folder, revision)


def downgrade(database: Database, revision: str) -> None:
    """Take the schema back to ``revision`` (``"base"``: no tables); what only newer tables hold is lost."""
    from monitor_server.storage import migrating  # Alembic, where there is something to migrate

    with database.write() as connection:
        migrating.down(connection, migrations_folder(), revision)


def require_current(connection: Connection) -> None:
    """Raise `SchemaError` unless the schema is exactly this version's."""
    current = current_revision(connection)
    if current != HEAD:
        raise SchemaError(f"the schema is at {current or 'nothing'}, not at {HEAD}; run trainguard serve to upgrade it")


def current_revision(connection: Connection) -> str | None:
    """The revision written in the database, or None for an empty one."""
    if not inspect(connection).has_table(_written.name):
        return None
    return connection.execute(select(_written.c.version_num)).scalar_one_or_none()

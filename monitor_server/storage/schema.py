"""The schema's history: finds the migrations in a checkout or a wheel, upgrades, and refuses a newer database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from monitor_server.storage.database import Database

_ADVISORY_LOCK = 7_265_012_114  # any constant: two replicas that start together must not migrate at once


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

    Raises `SchemaError` for a database that a newer trainguard has changed, before touching it.
    """
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        _refuse_newer(connection)
        command.upgrade(_config(connection), revision)


def downgrade(database: Database, revision: str) -> None:
    """Take the schema back to ``revision`` (``"base"``: no tables); what only newer tables hold is lost."""
    with database.write() as connection:
        command.downgrade(_config(connection), revision)


def require_current(connection: Connection) -> None:
    """Raise `SchemaError` unless the schema is exactly this version's."""
    current, head = current_revision(connection), _scripts().get_current_head()
    if current != head:
        raise SchemaError(f"the schema is at {current or 'nothing'}, not at {head}; run trainguard serve to upgrade it")


def current_revision(connection: Connection) -> str | None:
    """The revision written in the database, or None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(connection: Connection) -> None:
    current = current_revision(connection)
    known = {script.revision for script in _scripts().walk_revisions()}
    if current is not None and current not in known:
        raise SchemaError(
            f"the database is at schema {current}, which this trainguard does not know: "
            "a newer version made it. Upgrade trainguard, or name another database"
        )


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config(None))


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    attributes: dict[str, Any] = config.attributes
    attributes["connection"] = connection
    return config

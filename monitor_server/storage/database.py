"""One database: engine, transactions, and the differences between SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    NoSuchModuleError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from monitor_server.storage.column_types import dump_document, load_document

DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


EVENTS_WRITTEN = "trainguard_events_written"
"""The mark that `events.add` leaves on the connection of its transaction."""


class DatabaseUnavailable(Exception):
    """The database could not be reached or did not answer in time; trying again later may help."""


def parse_database_url(text_: str) -> URL:
    """The SQLAlchemy URL of what a person wrote.

    Raises `ValueError` with the remedy for anything but a SQLite file or a PostgreSQL server.

    >>> parse_database_url("postgresql://db/trainguard").drivername
    'postgresql+psycopg'
    """
    remedy = "write sqlite:///file.db or postgresql+psycopg://user@host/name"
    try:
        url = make_url(text_)
    except (ArgumentError, ValueError) as error:
        raise ValueError(f"is not a database address; {remedy}") from error
    backend = url.drivername.partition("+")[0]
    if backend not in DRIVERS:
        raise ValueError(f"names the unknown database {backend!r}; {remedy}")
    if backend == "sqlite" and (not url.database or url.database == ":memory:"):
        raise ValueError("names a database in memory, which every restart would lose; write sqlite:///file.db")
    return url if "+" in url.drivername else url.set(drivername=DRIVERS[backend])


class Database:
    """Transactions over one engine. ``write()`` is exclusive on SQLite: one writer per process, and one per file.

    Safe to use from many threads.
    """

    def __init__(self, address: str, *, busy_timeout_seconds: float = 15.0) -> None:
        self.url = parse_database_url(address)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._writer = threading.Lock()
        self._leavers: list[Callable[[], None]] = []
        self._listeners: list[Callable[[], None]] = []
        self._busy_timeout_seconds = busy_timeout_seconds
        options: dict[str, Any] = {"json_serializer": dump_document, "json_deserializer": load_document}
        if self.is_sqlite:
            options["connect_args"] = {"timeout": busy_timeout_seconds}
        else:
            options["pool_pre_ping"] = True
            # What a person wrote into the address beats these.
            wishes = {
                "connect_timeout": 5,
                "application_name": "trainguard",
                # A row that somebody keeps locked (a forgotten psql) must not hold up every trainer's answer for ever.
                "options": f"-c lock_timeout={busy_timeout_seconds * 1000:.0f}",
            }
            options["connect_args"] = {name: wish for name, wish in wishes.items() if name not in self.url.query}
        try:
            self.engine: Engine = create_engine(self.url, **options)
        except (NoSuchModuleError, ModuleNotFoundError) as error:
            raise DatabaseUnavailable(
                f"no driver for {self.url.drivername}: pip install 'trainguard[postgres]'"
            ) from error
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    def __repr__(self) -> str:
        return f"Database({self.url.render_as_string(hide_password=True)!r})"

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write: committed at the end, rolled back on any exception.

        Raises `DatabaseUnavailable` when the database is away or stays locked.
        """
        with self.translated():
            if not self.is_sqlite:
                with self.engine.begin() as connection:
                    yield connection
                    has_events = connection.info.pop(EVENTS_WRITTEN, False)
                self._tell(has_events)
                return
            # A second writer would only wait inside SQLite, polling; here it waits in line.
            if not self._writer.acquire(timeout=self._busy_timeout_seconds):
                raise DatabaseUnavailable("another writer holds the database; try again")
            try:
                writing = self.engine.connect().execution_options(trainguard_writes=True)
                with writing as connection, connection.begin():
                    yield connection
                    has_events = connection.info.pop(EVENTS_WRITTEN, False)
            finally:
                self._writer.release()
            self._tell(has_events)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction: one consistent picture, which on SQLite never waits for the writer.

        Raises `DatabaseUnavailable` when the database is away.
        """
        with self.translated(), self.engine.connect() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    def after_events(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` after every commit of this process that wrote events. It must neither block nor raise."""
        self._listeners.append(wake)

    @contextmanager
    def listening(self) -> Iterator[Connection]:
        """A PostgreSQL connection outside of any transaction, for LISTEN; thrown away afterwards.

        Raises `DatabaseUnavailable`.
        """
        with self.translated(), self.engine.connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            try:
                yield connection
            finally:
                connection.invalidate()

    def ping(self) -> None:
        """Raise `DatabaseUnavailable` unless the database answers."""
        with self.read() as connection:
            connection.execute(text("SELECT 1"))

    def probe_writing(self) -> None:
        """Commit something that changes nothing. Raises `DatabaseUnavailable` where nothing can be kept: a full disk,
        a replica that only reads."""
        with self.write() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = version_num"))

    def before_close(self, leave: Callable[[], None]) -> None:
        """Call ``leave`` when the database is closed, while it can still be asked."""
        self._leavers.append(leave)

    def close(self) -> None:
        """Close every idle connection."""
        for leave in self._leavers:
            leave()
        self.engine.dispose()

    def _tell(self, has_events: bool) -> None:
        if has_events:
            for wake in self._listeners:
                wake()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what a driver raises of the database itself into `DatabaseUnavailable`."""
        try:
            yield
        except (DatabaseError, InterfaceError, PoolTimeout) as error:
            if isinstance(error, _OUR_FAULT) and getattr(error.orig, "sqlstate", None) != _ONLY_READS:
                raise
            raise DatabaseUnavailable(f"the database did not answer: {_first_line(error)}") from error


_OUR_FAULT = (DataError, IntegrityError, InternalError, NotSupportedError, ProgrammingError)
"""Errors that speak of a statement; every other one speaks of the database: away, locked, full or damaged."""

_ONLY_READS = "25006"
"""PostgreSQL's word for a write where it may only read: on a replica, or where its disk is nearly full and a person
or a hoster has locked it."""


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().split("\n", 1)[0][:300]


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # sqlite3's own transaction control begins lazily and not at all before a SELECT: switch it off, and begin below.
    connection.isolation_level = None
    # SQLite's own knows the letters of ASCII alone: a search for "müller" would not find "MÜLLER".
    connection.create_function("lower", 1, _lower, deterministic=True)
    cursor = connection.cursor()
    try:
        if cursor.execute("PRAGMA page_count").fetchone()[0] == 0:
            # What retention frees can be given back a few pages at a time; only an empty file can be told so.
            cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
        cursor.execute("PRAGMA journal_mode=WAL")
        # A receipt says "it is in the database". NORMAL survives a killed process, but in WAL mode it does not
        # sync at commit, so a power cut could take back what was acknowledged. Group commit pays for FULL.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA cache_size=-65536")
        cursor.execute("PRAGMA temp_store=MEMORY")
    finally:
        cursor.close()


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE takes the write lock at once: a transaction that reads first and writes later could otherwise
    # fail half-way with SQLITE_BUSY, which no timeout heals.
    writes = connection.get_execution_options().get("trainguard_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

"""Transactions: one writer on SQLite, readers that never wait, and errors that say whose fault it is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from monitor_server.storage import Database, DatabaseUnavailable, commands, runs, schema
from monitor_server.storage.database import parse_database_url
from tests.monitor_server.service import Trainer


@pytest.mark.parametrize(
    ("written", "driver"),
    [
        ("sqlite:///x.db", "sqlite"),
        ("postgres://db/x", "postgresql+psycopg"),
        ("postgresql://db/x", "postgresql+psycopg"),
        ("postgresql+psycopg://db/x", "postgresql+psycopg"),
    ],
)
def test_every_usual_spelling_of_an_address_is_understood(written: str, driver: str) -> None:
    assert parse_database_url(written).drivername == driver


def test_a_password_is_never_shown() -> None:
    assert "secret" not in repr(Database("postgresql://ada:secret@127.0.0.1:9/x"))


def test_what_fails_is_taken_back_whole(database: Database) -> None:
    trainer = Trainer()

    def fail() -> None:
        with database.write() as connection:
            runs.register(connection, trainer.description(), 1.0)
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.read() as connection:
        assert runs.load(connection, trainer.run_id) is None


def test_a_reader_sees_one_picture_and_does_not_wait_for_the_writer(database: Database) -> None:
    trainer = Trainer()
    with database.read() as reading:
        assert runs.count_by_state(reading) == {}
        with database.write() as writing:
            runs.register(writing, trainer.description(), 1.0)
            assert runs.count_by_state(reading) == {}
        assert runs.count_by_state(reading) == {}
    with database.read() as reading:
        assert runs.count_by_state(reading) == {"running": 1}


def test_what_belongs_to_a_run_goes_with_it_and_needs_it(database: Database) -> None:
    trainer = Trainer()
    orphan = (
        "INSERT INTO attempts (run_id, attempt, start_step, reason, began_at, note) VALUES (:run, 0, 0, 'start', 0, '')"
    )
    values = {"run": trainer.run_id.hex if database.is_sqlite else str(trainer.run_id)}
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(text(orphan), values)
    with database.write() as connection:
        runs.register(connection, trainer.description(), 1.0)
        connection.execute(text(orphan), values)
        connection.execute(text("DELETE FROM runs"))
        assert connection.execute(text("SELECT count(*) FROM attempts")).scalar_one() == 0


def test_a_file_that_another_process_keeps_locked_is_unavailable_and_not_a_bug(
    migrated_sqlite: Path, tmp_path: Path
) -> None:
    path = tmp_path / "locked.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    database = Database(f"sqlite:///{path}", busy_timeout_seconds=0.05)
    with pytest.raises(DatabaseUnavailable, match="locked"), database.write():
        pass
    with database.read() as connection:
        assert runs.count_by_state(connection) == {}
    other.execute("ROLLBACK")
    other.close()
    with database.write() as connection:
        assert commands.expire(connection, 0.0) == 0
    database.close()


def test_a_second_writer_of_the_same_process_waits_in_line_and_not_for_ever(
    migrated_sqlite: Path, tmp_path: Path
) -> None:
    path = tmp_path / "line.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    database = Database(f"sqlite:///{path}", busy_timeout_seconds=0.05)
    with database.write(), pytest.raises(DatabaseUnavailable, match="another writer"), database.write():
        pass
    database.close()


def test_a_commit_on_sqlite_is_on_the_disk(migrated_sqlite: Path, tmp_path: Path) -> None:
    path = tmp_path / "wal.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    database = Database(f"sqlite:///{path}")
    with database.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2, "FULL"
        assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
    database.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "letter.db"
    path.write_text("Dear all, this is not a database. " * 100)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(DatabaseUnavailable, match="not a database"):
        schema.upgrade(database)
    database.close()


def test_a_row_that_somebody_keeps_locked_is_not_waited_for_for_ever(address: str, database: Database) -> None:
    impatient = Database(address, busy_timeout_seconds=0.05)
    trainer = Trainer()
    with database.write() as connection:
        runs.register(connection, trainer.description(), 1.0)

    def wait() -> None:
        with impatient.write() as connection:
            runs.lock(connection, [trainer.run_id])

    with database.write() as connection:
        runs.lock(connection, [trainer.run_id])
        with pytest.raises(DatabaseUnavailable, match="lock"):
            wait()
    wait()
    impatient.close()


def test_a_server_that_is_away_is_unavailable() -> None:
    database = Database("postgresql://nobody@127.0.0.1:9/x")
    with pytest.raises(DatabaseUnavailable, match="refused"):
        database.ping()

"""Migrations: there and back with rows in the tables, never behind the tables' definition, and never half."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect

from monitor_server.settings import Settings
from monitor_server.storage import Database, SchemaError, migrating, observations, schema
from monitor_server.storage.tables import metadata
from tests.monitor_server.service import Clock, Service, Trainer, block_of, diverge


def differences(database: Database) -> list[object]:
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, metadata))


def test_the_migrations_make_exactly_the_tables_that_the_code_works_with(database: Database) -> None:
    assert differences(database) == []


def test_alembic_check_finds_no_migration_missing(database: Database) -> None:
    with database.write() as connection:
        migrating.check(connection, schema.migrations_folder())


def test_the_newest_migration_is_known_by_heart() -> None:
    assert migrating.known_revisions(schema.migrations_folder())[0] == schema.HEAD


def written_schema(database: Database) -> list[tuple[object, ...]]:
    """The schema in the database's own words."""
    with database.read() as connection:
        if database.is_sqlite:
            return [(*row,) for row in connection.exec_driver_sql("SELECT name, sql FROM sqlite_master ORDER BY name")]
        columns = (
            "SELECT table_name, ordinal_position, column_name, data_type, character_maximum_length, is_nullable, "
            "column_default, is_identity FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
        )
        indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
        constraints = (
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2"
        )
        asked = (columns, indexes, constraints)
        return [(*row,) for question in asked for row in connection.exec_driver_sql(question)]


def test_an_empty_database_is_given_at_once_what_the_migrations_come_to(empty_address: str) -> None:
    database = Database(empty_address)
    with database.write() as connection:
        migrating.up(connection, schema.migrations_folder(), "head")
    migrated = written_schema(database)
    assert len(migrated) > 40
    with database.write() as connection:
        for name in inspect(connection).get_table_names():
            cascade = "" if database.is_sqlite else " CASCADE"
            connection.exec_driver_sql(f"DROP TABLE {name}{cascade}")
    schema.upgrade(database)
    assert written_schema(database) == migrated
    with database.read() as connection:
        schema.require_current(connection)
    database.close()


def test_up_and_down_and_up_with_rows_in_the_tables(empty_address: str) -> None:
    database = Database(empty_address)
    schema.upgrade(database)
    service = Service(Settings(database=empty_address, webhook_url="http://127.0.0.1:9/"), Clock())
    receipt, known = diverge(service, trainer := Trainer())
    service.send(trainer.obey(receipt.commands[0], known))
    service.send(trainer.envelope(blocks=[block_of(1, 200, [math.nan, 1.0], **{"my/metric": [1.0, None]})]))
    service.stop()

    # One step down and up: what the newer table held is lost, and everything else goes on.
    schema.downgrade(database, "0002")
    schema.upgrade(database)
    assert differences(database) == []
    service = Service(Settings(database=empty_address), Clock())
    service.send(trainer.envelope(blocks=[block_of(1, 1_000, [1.0] * 70)]))
    service.stop()

    schema.downgrade(database, "base")
    with database.read() as connection:
        assert schema.current_revision(connection) is None
        assert inspect(connection).get_table_names() == ["alembic_version"]
        with pytest.raises(SchemaError, match="run trainguard serve to upgrade"):
            schema.require_current(connection)
    schema.upgrade(database)
    assert differences(database) == []
    again = Service(Settings(database=empty_address), Clock())
    again.register(trainer := Trainer())
    again.send(trainer.steps([1.0]))
    with database.read() as connection:
        schema.require_current(connection)
        assert len(observations.read(connection, trainer.run_id)) == 1
    again.stop()
    database.close()


def test_upgrading_an_up_to_date_database_keeps_every_row(service: Service) -> None:
    service.register(trainer := Trainer())
    service.send(trainer.steps([1.0, 2.0]))
    schema.upgrade(service.database)
    assert service.run(trainer.run_id).observations_total == 2


def test_two_replicas_that_start_together_migrate_once(empty_address: str) -> None:
    failures: list[Exception] = []

    def start() -> None:
        database = Database(empty_address)
        try:
            schema.upgrade(database)
        except Exception as error:
            failures.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    database = Database(empty_address)
    assert differences(database) == []
    database.close()


def test_a_database_of_a_newer_version_is_refused(database: Database) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaError, match="a newer version made it"):
        schema.upgrade(database)


def test_an_installed_package_finds_its_migrations() -> None:
    assert (schema.migrations_folder() / "versions").is_dir()
    assert schema.migrations_folder() == Path(__file__).parents[3] / "migrations"


OF_NO_ONE_RUN = {"audit", "events", "playbooks", "silences", "tokens"}
"""Small, or soon forgotten."""


def test_every_key_begins_with_the_run() -> None:
    for table in metadata.sorted_tables:
        if table.name in OF_NO_ONE_RUN:
            continue
        assert next(iter(table.primary_key)).name == "run_id", table.name

"""Databases of both kinds, migrated and empty, one per test; and a service without its doors."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Literal

import pytest

from monitor_server.settings import Settings
from monitor_server.storage import Database, schema
from tests.monitor_server import postgres
from tests.monitor_server.service import Clock, Service

Kind = Literal["sqlite", "postgresql"]

_numbers = count(1)


@pytest.fixture(scope="session")
def postgres_address() -> Iterator[str]:
    with postgres.running_cluster() as address:
        yield address


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty file: copying it is quicker than migrating again."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    database = Database(f"sqlite:///{path}")
    schema.upgrade(database)
    database.close()
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres_address: str) -> str:
    """The name of a migrated, empty database to copy."""
    database = Database(postgres.create_database(postgres_address, "template_of_tests"))
    schema.upgrade(database)
    database.close()
    return "template_of_tests"


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Tests that ask for it run on both databases."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def empty_address(kind: Kind, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database without any table."""
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    cluster, name = request.getfixturevalue("postgres_address"), f"empty_{next(_numbers)}"
    yield postgres.create_database(cluster, name)
    postgres.drop_database(cluster, name)


@pytest.fixture
def address(kind: Kind, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated database without any row."""
    if kind == "sqlite":
        path = tmp_path / "trainguard.db"
        shutil.copyfile(request.getfixturevalue("migrated_sqlite"), path)
        yield f"sqlite:///{path}"
        return
    cluster, name = request.getfixturevalue("postgres_address"), f"test_{next(_numbers)}"
    yield postgres.create_database(cluster, name, request.getfixturevalue("migrated_postgres"))
    postgres.drop_database(cluster, name)


@pytest.fixture
def database(address: str) -> Iterator[Database]:
    database = Database(address)
    yield database
    database.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def serve(address: str, clock: Clock) -> Iterator[Callable[..., Service]]:
    """Starts services over the test's database, each like a process of its own; keywords are settings."""
    started: list[Service] = []

    def start(**settings: object) -> Service:
        service = Service(Settings.model_validate({"database": address, **settings}), clock)
        started.append(service)
        return service

    yield start
    for service in started:
        service.stop()


@pytest.fixture
def service(serve: Callable[..., Service]) -> Service:
    return serve()

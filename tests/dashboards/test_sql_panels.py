"""Every SQL query of the dashboards, macros replaced, against a real PostgreSQL that a real training filled through the
real service: none is empty."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.dashboards.film import DATABASE, Film
from tests.dashboards.monitoring_servers import DASHBOARDS
from tests.dashboards.test_grafana_dashboards import BOARDS
from tests.monitor_server import postgres

READER = DASHBOARDS / "postgres" / "reader.sql"
PLUGIN = "grafana-postgresql-datasource"
STATEMENTS = [
    pytest.param(name, target["rawSql"], id=f"{name}: {panel['title']}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    for target in panel.get("targets", [])
    if "rawSql" in target
]
STATEMENTS += [
    pytest.param(name, annotation["target"]["rawSql"], id=f"{name}: annotation {annotation['name']}")
    for name, board in BOARDS.items()
    for annotation in board.get("annotations", {}).get("list", [])
    if "target" in annotation
]
STATEMENTS += [
    pytest.param(name, variable["query"], id=f"{name}: variable {variable['name']}")
    for name, board in BOARDS.items()
    for variable in board["templating"]["list"]
    if variable["type"] == "query" and variable["datasource"]["type"] == PLUGIN
]


class Told:
    """The database, and what a person would have chosen in it."""

    def __init__(self, connection: psycopg.Connection[Any], run_id: str) -> None:
        self.connection = connection
        incidents = connection.execute("SELECT incident_id::text FROM incidents").fetchall()
        self.chosen = {
            "project": "'demo', 'other'",
            "run": run_id,
            "run_id": ".*",
            "attempt": "'0', '1'",
            "incident": ", ".join(f"'{incident}'" for (incident,) in incidents),
        }

    def rows(self, statement: str, board: str = "incident") -> list[tuple[Any, ...]]:
        # Beside Prometheus, which knows runs by their names, a run is chosen by its name.
        chosen = self.chosen | ({"run": "'gpt'"} if board == "training-run" else {})
        # The statement is a file of ours, with its variables replaced as Grafana would.
        return self.connection.execute(substituted(statement, chosen)).fetchall()  # type: ignore[arg-type]


def substituted(statement: str, chosen: dict[str, str]) -> str:
    """The statement with Grafana's macros and variables replaced.

    >>> substituted("$__timeGroup(f(x), $__interval), $__timeFilter(x), ${p:sqlstring}", {"p": "1"})
    "date_trunc('second', f(x)), x BETWEEN now() - interval '1 hour' AND now(), 1"
    """
    inner = r"((?:[^(),]|\([^()]*\))+)"
    statement = re.sub(rf"\$__timeGroup\({inner}, \$__interval\)", r"date_trunc('second', \1)", statement)
    statement = re.sub(rf"\$__timeFilter\({inner}\)", r"\1 BETWEEN now() - interval '1 hour' AND now()", statement)
    return re.sub(r"\$\{(\w+)(?::sqlstring|:regex)?\}", lambda found: chosen[found[1]], statement)


def make_reader(address: str) -> None:
    """The role that Grafana reads with, by the very file that PostgreSQL's image runs."""
    user, _, place = address.partition("@")
    host, _, port = place.partition(":")
    command = [str(postgres.find_programs() / "psql"), f"--username={user}", f"--host={host}", f"--port={port}"]
    command += ["--no-psqlrc", "--set=ON_ERROR_STOP=1", "--set=password=s3cret", f"--file={READER}", DATABASE]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def told(film: Film) -> Iterator[Told]:
    make_reader(film.cluster)
    as_grafana = film.cluster.replace("trainguard@", "grafana:s3cret@")
    with psycopg.connect(f"postgresql://{as_grafana}/{DATABASE}", autocommit=True) as reader:
        yield Told(reader, film.training.labels["run_id"])


@pytest.mark.parametrize(("board", "statement"), STATEMENTS)
def test_every_statement_has_an_answer(board: str, statement: str, told: Told) -> None:
    rows = told.rows(statement, board)
    assert any(value is not None for row in rows for value in row), statement


def test_what_is_chosen_narrows_what_is_told(told: Told) -> None:
    (listing,) = [
        panel
        for panel in BOARDS["incident"]["panels"]
        if panel.get("description", "").startswith("The latest first; click")
    ]
    statement = listing["targets"][0]["rawSql"]
    told.chosen["project"], before = "'nowhere'", told.chosen["project"]
    try:
        assert told.rows(statement) == []
    finally:
        told.chosen["project"] = before


def test_every_sql_panel_explains_itself_and_uses_the_chosen_database() -> None:
    panels = [panel for board in BOARDS.values() for panel in board["panels"] if panel.get("targets")]
    asked = [panel for panel in panels if "rawSql" in panel["targets"][0]]
    assert asked
    for panel in asked:
        assert panel["description"].endswith(".")
        assert panel["datasource"] == {"type": PLUGIN, "uid": "${database}"}
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"]
            assert target["rawQuery"] is True


def test_the_reader_can_change_nothing(told: Told) -> None:
    for statement in ("DELETE FROM runs", "SET default_transaction_read_only = off; DELETE FROM runs"):
        with pytest.raises(psycopg.Error, match="read-only|permission denied"):
            told.rows(statement)


def test_no_statement_writes() -> None:
    for parameter in STATEMENTS:
        _, statement = parameter.values
        assert re.match(r"SELECT\b", str(statement))
        assert not re.search(r"\b(INSERT|UPDATE|DELETE|DROP|ALTER|CREATE|GRANT|COPY)\b", str(statement))

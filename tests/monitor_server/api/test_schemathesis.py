"""Whatever fits the OpenAPI document, and much that does not, is answered as the document says; never by a 5xx."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from monitor_server.settings import Settings
from tests.monitor_server.running import Running
from tests.monitor_server.service import DIVERGING, HEALTHY, Trainer

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

ENDLESS = ("/api/v1/events",)
"""Answers that end only when somebody leaves."""

EXAMPLES = 3
"""Per operation and way of making them."""


@pytest.fixture
def running(tmp_path: Path, migrated_sqlite: Path) -> Iterator[Running]:
    path = tmp_path / "trainguard.db"
    shutil.copyfile(migrated_sqlite, path)
    started = Running(Settings(database=f"sqlite:///{path}"))
    yield started
    started.stop()


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_every_answer_is_one_that_the_document_knows(running: Running, mode: str) -> None:
    trainer = Trainer(mode="advise")
    running.train(trainer, HEALTHY, DIVERGING)
    (incident,) = running.client.get("/incidents?kind=divergence").json()["incidents"]
    known = {"run_id": str(trainer.run_id), "incident_id": incident["incident_id"], "project": "demo"}
    schema = schemathesis.openapi.from_url(f"{running.address}/openapi.json")
    generation = getattr(schemathesis.GenerationMode, mode.upper())
    asked = 0
    with requests.Session() as session:
        for found in schema.get_all_operations():
            operation = found.ok()
            if operation.path in ENDLESS:
                continue
            asked += _ask(operation, generation, known, session)
    assert asked > 100


def _ask(operation: Any, generation: Any, known: dict[str, str], session: requests.Session) -> int:
    asked = 0

    @seed(0)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=generation), is_known=st.booleans())
    def ask(case: Any, is_known: bool) -> None:
        nonlocal asked
        asked += 1
        if is_known:
            # Chance never finds a run that is there.
            case.path_parameters = {
                name: known.get(name, value) for name, value in (case.path_parameters or {}).items()
            }
        case.call_and_validate(session=session, checks=CHECKS, timeout=30)

    with suppress(Unsatisfiable):  # an operation that takes nothing can be asked nothing wrong
        ask()
    return asked

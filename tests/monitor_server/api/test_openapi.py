"""The OpenAPI document tells of every route, and points at nothing that is not there."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from monitor_server.api import openapi
from monitor_server.api.examples import EXAMPLES
from tests.monitor_server.api.door import Door

BODIES = {
    "/api/v1/runs": "RunDescription",
    "/api/v1/runs/{run_id}/envelopes": "Envelope",
    "/api/v1/runs/{run_id}/commands": "PersonalCommand",
    "/api/v1/runs/{run_id}/decisions/{decision_id}/approval": "Approval",
    "/api/v1/incidents/{incident_id}/acknowledge": "Word",
    "/api/v1/incidents/{incident_id}/comment": "Comment",
    "/api/v1/incidents/{incident_id}/approve": "Verdict",
    "/api/v1/silences": "WishedSilence",
}


async def document(door: Door) -> Any:
    response: httpx.Response = await door.client.get("/openapi.json")
    assert response.status_code == 200
    return response.json()


async def test_every_reference_leads_somewhere(door: Door) -> None:
    told = await document(door)
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(told)))
    assert named <= told["components"]["schemas"].keys()
    assert "$defs" not in json.dumps(told)


@pytest.mark.parametrize("path", BODIES)
async def test_a_body_is_described_although_it_is_read_by_hand(door: Door, path: str) -> None:
    body = (await document(door))["paths"][path]["post"]["requestBody"]
    assert body["content"]["application/json"]["schema"]["$ref"].endswith(f"/{BODIES[path]}")


async def test_every_operation_tells_of_problems(door: Door) -> None:
    for operations in (await document(door))["paths"].values():
        for operation in operations.values():
            assert "application/problem+json" in operation["responses"]["default"]["content"]
            assert operation["description"]


async def test_every_body_has_an_example_that_its_model_reads(door: Door) -> None:
    told = await document(door)
    for model in openapi._bodies.values():
        model.model_validate_json(json.dumps(EXAMPLES[model.__name__]))
    assert EXAMPLES.keys() == openapi._bodies.keys()
    assert told["paths"]["/api/v1/silences"]["post"]["requestBody"]["content"]["application/json"]["example"]

"""ETags: a word for what an answer says, so that nobody fetches it twice or overwrites what he has not seen."""

from __future__ import annotations

import hashlib
from typing import Any

from fastapi import Response
from pydantic import BaseModel

from monitor_server.api.problems import Problem

PRECONDITION: dict[int | str, dict[str, Any]] = {412: {"description": "Somebody has changed it since."}}


def etag_of(model: BaseModel) -> str:
    """The answer's ETag: made of its content alone, and so the same from every process."""
    return f'"{hashlib.sha256(model.model_dump_json().encode()).hexdigest()[:20]}"'


def tagged(model: BaseModel, if_none_match: str = "") -> Response:
    """The answer with its ETag; 304 without a body where the caller has it already."""
    etag = etag_of(model)
    if _names(if_none_match, etag):
        return Response(status_code=304, headers={"etag": etag})
    return Response(model.model_dump_json(), headers={"etag": etag}, media_type="application/json")


def refuse_stale(model: BaseModel, if_match: str) -> None:
    """Raise `Problem` 412 where ``if_match`` is given and names another state than this."""
    if if_match and not _names(if_match, etag_of(model)):
        raise Problem(412, "changed_since", "somebody has changed it since you read it; read it again, then change it")


def _names(header: str, etag: str) -> bool:
    named = [one.strip().removeprefix("W/") for one in header.split(",")]
    return "*" in named or etag in named

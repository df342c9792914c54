"""Every error as problem+json (RFC 9457): a code for programs, a sentence for people, the field at fault."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from monitor_server.access import Forbidden, NotSignedIn, TooManyRequests
from monitor_server.pipeline import (
    CommandRefused,
    DescriptionRefused,
    EnvelopeRefused,
    IncidentRefused,
    Overloaded,
    UnknownIncident,
    UnknownRun,
)
from monitor_server.storage import DatabaseUnavailable

MEDIA_TYPE = "application/problem+json"
MOST_ERRORS = 20
"""Fields named in one answer: ten thousand bad numbers are one mistake."""
RETRY_AFTER_SECONDS = 2
SLOWER_AFTER_SECONDS = 20


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field; ``field`` is its path in the body, or the name of a parameter."""

    field: str
    message: str


class Problem(Exception):
    """Raised anywhere behind the door; the handler below turns it into the answer."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The answer."""
        body = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "errors": [asdict(error) for error in self.errors],
        }
        return Response(json.dumps(body), self.status, self.headers, MEDIA_TYPE)


def refused_field(status: int, code: str, field: str, message: str) -> Problem:
    """A problem with one field."""
    return Problem(status, code, f"{field}: {message}", errors=[FieldError(field, message)])


def invalid(code: str, found: Sequence[Any]) -> Problem:
    """422 from what pydantic found, with the path of every field (of the first few)."""
    errors = [FieldError(_path(one["loc"]), _message(one)) for one in found[:MOST_ERRORS]]
    detail = f"{errors[0].field}: {errors[0].message}" if errors[0].field else errors[0].message
    if len(found) > 1:
        detail += f" (and {len(found) - 1} more)"
    return Problem(422, code, detail, errors=errors)


def invalid_body(code: str, error: ValidationError) -> Problem:
    """400 ``malformed_json`` for a body that is no JSON, else 422 with ``code``."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return Problem(400, "malformed_json", f"the body is no JSON that we can read: {_message(found[0])}")
    return invalid(code, found)


def busy(code: str, detail: str) -> Problem:
    """503: nothing is wrong with the request, it should come again."""
    return Problem(503, code, detail, headers={"retry-after": str(RETRY_AFTER_SECONDS)})


def problem_of(request: Request, error: Exception) -> Problem:
    """What to answer to any exception; 500 for one that nobody foresaw."""
    match error:
        case Problem():
            return error
        case UnknownRun():
            return Problem(404, "unknown_run", str(error))
        case UnknownIncident():
            return Problem(404, "unknown_incident", str(error))
        case IncidentRefused():
            return refused_field(409, "incident_refused", error.field_path, str(error))
        case NotSignedIn():
            return Problem(401, "not_signed_in", str(error), headers={"www-authenticate": 'Bearer realm="trainguard"'})
        case Forbidden():
            return Problem(403, "forbidden", str(error))
        case TooManyRequests():
            wait = {"retry-after": str(SLOWER_AFTER_SECONDS)}
            return Problem(429, "too_many_requests", str(error), headers=wait)
        case EnvelopeRefused():
            return refused_field(422, "invalid_envelope", error.field_path, str(error))
        case DescriptionRefused():
            return refused_field(422, "invalid_run", error.field_path, str(error))
        case CommandRefused():
            # An order that makes no sense is the sender's mistake; everything else stands in the way of a good one.
            if error.field_path.startswith("orders."):
                return refused_field(422, "invalid_command", error.field_path, str(error))
            return refused_field(409, "command_refused", error.field_path, str(error))
        case Overloaded():
            return busy("overloaded", str(error))
        case DatabaseUnavailable():
            return busy("database_unavailable", str(error))
        case RequestValidationError():
            # "path" or "query" stands before the parameter's name.
            return invalid("invalid_request", [{**one, "loc": one["loc"][1:]} for one in error.errors()])
        case HTTPException():
            return _of_routing(request, error)
        case _:
            return Problem(500, "internal_error", "the service made a mistake; its log says which")


def _of_routing(request: Request, error: HTTPException) -> Problem:
    path = request.url.path
    if error.status_code == 404:
        return Problem(404, "not_found", f"there is nothing at {path}; /docs says what there is")
    if error.status_code == 405:
        detail = f"{path} does not take {request.method}; /docs says what it takes"
        return Problem(405, "method_not_allowed", detail, headers=error.headers)
    return Problem(error.status_code, "http_error", str(error.detail), headers=error.headers)


async def _answer(request: Request, error: Exception) -> Response:
    return problem_of(request, error).response()


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = dict.fromkeys(
    (
        Problem,
        UnknownRun,
        UnknownIncident,
        IncidentRefused,
        NotSignedIn,
        Forbidden,
        TooManyRequests,
        EnvelopeRefused,
        DescriptionRefused,
        CommandRefused,
        Overloaded,
        DatabaseUnavailable,
        RequestValidationError,
        HTTPException,
        Exception,
    ),
    _answer,
)
"""For the application: every exception is answered the same way."""


def _path(location: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in location)


def _message(found: Mapping[str, Any]) -> str:
    return str(found["msg"]).removeprefix("Value error, ")

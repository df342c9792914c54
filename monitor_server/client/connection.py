"""One connection to a service: requests, answers, and everything that can go wrong, in sentences.

ServiceError                 no answer to work with; the message says why and what to do
├── Unreachable              nobody answers at the address, or not in time
├── NotTrainguard            something answers, but no trainguard service
└── Refused                  the service said no: ``status``, ``code``, ``field_errors``
    ├── NotFound             404: no such run, incident, …
    ├── NotAllowed           401 or 403: no token, a wrong one, or one that is not for this
    └── Busy                 429 or 503: the same request may succeed later
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import httpx
from typing_extensions import Self

TIMEOUT_SECONDS = 30.0


class ServiceError(Exception):
    """No answer to work with; the message says why and what to do."""


class Unreachable(ServiceError):
    """Nobody answers at the address, or not in time."""


class NotTrainguard(ServiceError):
    """Something answers, but no trainguard service."""


class Refused(ServiceError):
    """The service said no."""

    def __init__(self, message: str, status: int, code: str, field_errors: Mapping[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        """For programs: unknown_run, command_refused, …"""
        self.field_errors = dict(field_errors)
        """What is wrong with each field that is named."""


class NotFound(Refused):
    """404: no such run, incident, …"""


class NotAllowed(Refused):
    """401 or 403: no token, a wrong one, or one that is not for this."""


class Busy(Refused):
    """429 or 503: the same request may succeed later."""


class Connection:
    """Speaks JSON with one service. Close it, or use it as a context manager."""

    def __init__(self, server: str, token: str | None = None, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.server = server.rstrip("/")
        if token is not None and not token.isprintable():
            raise ValueError("token holds control characters (a line break at its end, perhaps); strip it")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        # A proxy of the environment serves for far addresses, and would lose one on this machine.
        self._client = httpx.Client(timeout=timeout_seconds, trust_env=not _is_near(self.server), headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def request(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None
    ) -> dict[str, Any]:
        """The JSON object that answers; empty where there is none. Query values of None are left out.

        Raises `ServiceError`.
        """
        with self._translated():
            response = self._client.request(method, self._url(path), params=_told(query), json=body)
        if response.status_code == 204:
            return {}
        answer = _object(response)
        if response.is_success and answer is not None:
            return answer
        raise self._error(response.status_code, answer)

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        read_seconds: float = TIMEOUT_SECONDS,
    ) -> Iterator[httpx.Response]:
        """An answer that is read piece by piece. Raises `ServiceError`."""
        timeout = httpx.Timeout(TIMEOUT_SECONDS, read=read_seconds)
        with (
            self._translated(),
            self._client.stream("GET", self._url(path), params=_told(query), headers=headers, timeout=timeout) as told,
        ):
            if not told.is_success:
                told.read()
                raise self._error(told.status_code, _object(told))
            yield told

    def _url(self, path: str) -> str:
        return f"{self.server}/api/v1/{path}"

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.UnsupportedProtocol:
            raise Unreachable(f"{self.server!r} is no address; write it like http://127.0.0.1:8321") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Unreachable(f"no service answers at {self.server} ({error})") from None

    def _error(self, status: int, answer: Mapping[str, Any] | None) -> ServiceError:
        said = (answer or {}).get("detail")
        if answer is None or said is None:
            return NotTrainguard(f"{self.server} answered {status}, but not as trainguard does")
        kind: type[Refused] = Refused
        if status == 404:
            kind = NotFound
        elif status in (401, 403):
            kind = NotAllowed
        elif status in (429, 503):
            kind = Busy
        errors = {str(one.get("field")): str(one.get("message")) for one in answer.get("errors", ())}
        return kind(f"{self.server} answered {status}: {said}", status, str(answer.get("code", "")), errors)


def _told(query: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (query or {}).items() if value is not None}


def _object(response: httpx.Response) -> dict[str, Any] | None:
    try:
        answer = response.json()
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _is_near(server: str) -> bool:
    try:
        return httpx.URL(server).host in ("localhost", "127.0.0.1", "::1")
    except httpx.InvalidURL:
        return False

"""Asking a service that runs, over its own API."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import httpx
from typing_extensions import Self

TIMEOUT_SECONDS = 10.0


class NoAnswer(Exception):
    """The service gave no answer to work with; the message says why and what to do."""


class Asking:
    """One connection to a service, for the length of a ``with`` block."""

    def __init__(self, server: str) -> None:
        self._server = server.rstrip("/")
        # A proxy of the environment serves for far addresses, and would lose one on this machine.
        self._client = httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=not _is_near(self._server))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def get(self, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object at ``/api/v1/{path}``; query values of None are left out. Raises `NoAnswer`."""
        url = f"{self._server}/api/v1/{path}"
        try:
            response = self._client.get(url, params={name: value for name, value in query.items() if value is not None})
        except httpx.UnsupportedProtocol:
            raise NoAnswer(f"{self._server!r} is no address; write it like http://127.0.0.1:8321") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise NoAnswer(
                f"no service answers at {self._server} ({error}); start one with: trainguard serve, "
                "or name another with --server or TRAINGUARD_SERVER"
            ) from None
        answer = _object(response)
        if response.is_success and answer is not None:
            return answer
        said = (answer or {}).get("detail")
        if said is None:
            raise NoAnswer(f"{self._server} answered {response.status_code}, but not as trainguard does")
        raise NoAnswer(f"{self._server} answered {response.status_code}: {said}")


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

"""Envelopes over HTTP, with deadlines that hold."""

from __future__ import annotations

import gzip
import json
import sys
import threading
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from client_hook.delivery.forking import make_inert_after_fork
from client_hook.delivery.quiet import without_request_lines
from client_hook.delivery.transport import (
    NotAReceipt,
    Rejected,
    ServerBusy,
    TooLarge,
    TransportError,
    Unauthorized,
    UnknownRun,
    Unreachable,
)
from trainguard.wire import Envelope, Receipt, RunDescription

if TYPE_CHECKING:
    import httpx

COMPRESS_FROM_BYTES = 1024
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_RETRY_AFTER_SECONDS = 300.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class HttpTransport:
    """Posts to ``{server}/api/v1/runs`` and ``{server}/api/v1/runs/{run_id}/envelopes``.

    A read timeout bounds only the wait for the next byte, so a server that drips one byte a second would hold
    the worker for ever; here ``total_seconds`` bounds the whole exchange: when it is over, the socket is shut
    down under the waiting read. (The resolver has its own patience, which nobody can shorten.) Redirects are
    not followed. A proxy from the environment is used, except for a server on this machine.

    httpx is imported and the connection opened by the first call, on the caller's thread.
    """

    def __init__(
        self,
        server: str,
        token: str | None = None,
        *,
        connect_seconds: float = 3.0,
        read_seconds: float = 5.0,
        total_seconds: float = 10.0,
    ) -> None:
        address = urlsplit(server)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError(
                f"server is {server!r}; give an address like http://127.0.0.1:8321 (http or https, host, port)"
            )
        if token is not None and not token.isprintable():
            raise ValueError("token holds control characters (a line break at its end, perhaps); strip it")
        self.server = server.rstrip("/")
        self._token = token
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._total_seconds = total_seconds
        self._is_local = address.hostname in LOOPBACK
        self._is_encrypted = address.scheme == "https"
        self._client: httpx.Client | None = None
        self._stream: Any = None
        self._last: tuple[Envelope, bytes] | None = None
        make_inert_after_fork(self)

    def register(self, description: RunDescription, *, timeout_seconds: float | None = None) -> None:
        """Make the run known; the service answers 200 or 201. Raises `TransportError`."""
        self._post("/api/v1/runs", description.model_dump_json().encode(), timeout_seconds)

    def send(self, envelope: Envelope, *, timeout_seconds: float | None = None) -> Receipt:
        """Deliver and check the receipt. The same envelope object is sent as the same bytes."""
        if self._last is None or self._last[0] is not envelope:
            self._last = (envelope, envelope.model_dump_json().encode())
        answer = self._post(f"/api/v1/runs/{envelope.run_id}/envelopes", self._last[1], timeout_seconds)
        try:
            receipt = Receipt.model_validate_json(answer)
        except ValidationError as error:
            raise NotAReceipt(f"{self.server} answered 200 with something else: {_beginning(answer)}") from error
        self._last = None
        return receipt

    def interrupt(self) -> None:
        """Shut the socket down under whoever waits for it."""
        # Closing a socket does not wake a thread that waits in it; shutting it down does.
        stream = self._stream
        socket = None if stream is None else stream.get_extra_info("socket")
        if socket is not None:
            try:
                socket.shutdown(2)
            except OSError:
                return  # it went down by itself in the meantime

    def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        self._stream = None
        if client is not None:
            client.close()

    def after_fork_in_child(self) -> None:
        """The connection is the parent's: a worker that outlives it must not keep it open."""
        stream, self._stream, self._client = self._stream, None, None
        socket = None if stream is None else stream.get_extra_info("socket")
        if socket is not None:
            socket.close()  # this process's descriptor only; nothing is said to the other end

    def _post(self, path: str, body: bytes, timeout_seconds: float | None) -> bytes:
        _load_httpx()  # only here: 60 ms that an import of client_hook need not cost
        import httpx

        total = min(self._total_seconds, timeout_seconds or self._total_seconds)
        headers = {"content-type": "application/json", "accept": "application/json"}
        if len(body) > COMPRESS_FROM_BYTES:
            body = gzip.compress(body, compresslevel=1)
            headers["content-encoding"] = "gzip"
        client = self._open()
        deadline = _Deadline(total)
        request = client.build_request(
            "POST",
            self.server + path,
            content=body,
            headers=headers,
            timeout=httpx.Timeout(min(self._read_seconds, total), connect=min(self._connect_seconds, total)),
            extensions={"trace": self._watch_connection},
        )
        try:
            with without_request_lines(), deadline.over(self.interrupt):
                response = client.send(request, stream=True)
                try:
                    answer = self._read(response, deadline)
                finally:
                    response.close()
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
            self.close()
            if deadline.is_over:
                raise Unreachable(f"no whole answer from {self.server} within {total:g} s") from error
            raise Unreachable(f"{self.server}: {type(error).__name__}: {error}") from error
        except BaseException:
            self.close()
            raise
        if deadline.is_over:
            self.close()
        _raise_for(response.status_code, response.headers, answer, self.server)
        return answer

    def _read(self, response: httpx.Response, deadline: _Deadline) -> bytes:
        import httpx

        parts: list[bytes] = []
        size = 0
        # Decoded by httpx in pieces, so a compressed bomb meets the same bound.
        for part in response.iter_bytes(65_536):
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise NotAReceipt(f"{self.server} answered with more than {MAX_ANSWER_BYTES} bytes")
            if deadline.is_over:
                raise httpx.ReadTimeout("the deadline is over", request=response.request)
            parts.append(part)
        return b"".join(parts)

    def _open(self) -> httpx.Client:
        if self._client is None:
            import httpx

            headers = {"user-agent": "trainguard"}
            if self._token:
                headers["authorization"] = f"Bearer {self._token}"
            self._client = httpx.Client(
                headers=headers,
                # One connection: the one whose socket `interrupt` knows.
                limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
                follow_redirects=False,
                trust_env=not self._is_local,
                # Without TLS there is nothing to verify, and loading the certificates would cost 20 ms.
                verify=self._is_encrypted,
            )
        return self._client

    def _watch_connection(self, event: str, info: dict[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._stream = info["return_value"]


def _load_httpx() -> None:
    """Import httpx without its command line: that draws on Python's random stream, which may be the training's.

    (Where ``rich`` is installed, each style that it defines draws a number as it is imported.)
    """
    command_line = "httpx._main"
    if "httpx" in sys.modules or command_line in sys.modules:
        return
    sys.modules[command_line] = None  # type: ignore[assignment]
    try:
        import httpx  # noqa: F401
    finally:
        del sys.modules[command_line]


class _Deadline:
    """Calls a function when the time is over, and knows that it is."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends_at = time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._ends_at

    def over(self, then: Any) -> _Alarm:
        return _Alarm(self._seconds, then)


class _Alarm:
    def __init__(self, seconds: float, then: Any) -> None:
        self._timer = threading.Timer(seconds, then)
        self._timer.daemon = True
        self._timer.name = "trainguard-deadline"

    def __enter__(self) -> _Alarm:
        try:
            self._timer.start()
        except RuntimeError:
            # No thread to be had (a limit, or the interpreter is ending): the socket's own timeouts remain, and
            # the look at the deadline between two parts of an answer.
            self._timer.cancel()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


def _raise_for(status: int, headers: Any, answer: bytes, server: str) -> None:
    if status in (200, 201):
        return
    problem = _problem(answer)
    said = str(problem.get("detail") or problem.get("title") or _beginning(answer))
    code = problem.get("code")
    if status in (429, 503):
        raise ServerBusy(f"{server} is busy ({status}): {said}", _retry_after(headers.get("retry-after")))
    if status in (401, 403):
        raise Unauthorized(f"{server} does not accept the token ({status}): {said}")
    if status == 404 and code == "unknown_run":
        raise UnknownRun(said)
    if status == 413:
        raise TooLarge(said, _field(problem))
    if status in (400, 409, 415, 422) and problem:
        raise Rejected(said, _field(problem))
    if status >= 500:
        raise Unreachable(f"{server} failed ({status}): {said}")
    where = f" (to {headers['location']})" if "location" in headers else ""
    raise NotAReceipt(f"{server} answered {status}{where}, as no trainguard service does: {said}")


def _problem(answer: bytes) -> dict[str, Any]:
    try:
        problem = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    return problem if isinstance(problem, dict) else {}


def _field(problem: dict[str, Any]) -> str:
    errors = problem.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        for key in ("field", "path", "loc", "pointer"):
            value = errors[0].get(key)
            if value:
                return ".".join(map(str, value)) if isinstance(value, list) else str(value)
    return ""


def _retry_after(value: str | None) -> float | None:
    """Seconds or an HTTP date; never more than five minutes, and never negative."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS) if seconds == seconds else None


def _beginning(answer: bytes) -> str:
    return repr(answer[:120].decode("utf-8", "replace"))


__all__ = ["HttpTransport", "TransportError"]

"""A proxy between trainer and service, from which a test can strike at an exact moment of the conversation."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Document = dict[str, Any]


@dataclass(frozen=True)
class Moment:
    """A moment at which to strike, once: when an envelope has come, or when its receipt is about to leave."""

    when: Literal["before", "after"]
    is_it: Callable[[Document, Document], bool]
    """Given the envelope and the receipt (which is empty before)."""


@dataclass
class CuttingProxy:
    """Forwards everything. At the moment it calls ``strike``, and the trainer's connection is cut unanswered."""

    service: str
    moment: Moment
    strike: Callable[[], None]
    acknowledged: list[Document] = field(default_factory=list)
    """Envelopes whose receipt was handed to the trainer."""
    has_struck: bool = False

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = proxy._answer(self.path, dict(self.headers.items()), body)
                if answer is None:
                    self.close_connection = True
                    return
                status, content = answer
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """The test speaks for itself."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="cutting-proxy", daemon=True)

    @property
    def url(self) -> str:
        """What the trainer takes for the service."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def await_delivery(self, beyond: int, seconds: float) -> bool:
        """Wait until more than so many envelopes are acknowledged."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.acknowledged) > beyond, seconds)

    def __enter__(self) -> CuttingProxy:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes] | None:
        envelope = _document(headers, body) if path.endswith("/envelopes") else {}
        with self._changed:
            if self._strikes("before", envelope, {}):
                return None
            answer = self._forward(path, headers, body)
            if answer is None or not envelope or answer[0] >= 300:
                return answer
            if self._strikes("after", envelope, json.loads(answer[1])):
                return None
            self.acknowledged.append(envelope)
            self._changed.notify_all()
        return answer

    def _strikes(self, when: str, envelope: Document, receipt: Document) -> bool:
        if self.has_struck or not envelope or self.moment.when != when or not self.moment.is_it(envelope, receipt):
            return False
        self.has_struck = True
        self.strike()
        return True

    def _forward(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes] | None:
        connection = http.client.HTTPConnection(urlsplit(self.service).netloc, timeout=10)
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except OSError:
            return None
        finally:
            connection.close()


def _document(headers: dict[str, str], body: bytes) -> Document:
    encoding = next((value for name, value in headers.items() if name.lower() == "content-encoding"), "")
    document: Document = json.loads(gzip.decompress(body) if encoding == "gzip" else body)
    return document

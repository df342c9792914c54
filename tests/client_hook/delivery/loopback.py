"""A small service on a real socket that records exactly once, and does to a connection whatever a test wants."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

from trainguard.wire import Command, Envelope, Receipt, RunDescription

Fault = Callable[["Exchange"], None]
"""What happens instead of the ordinary answer."""


class Exchange:
    """One request, and what can be done to it."""

    def __init__(self, handler: BaseHTTPRequestHandler, service: LoopbackService, body: bytes) -> None:
        self.handler = handler
        self.service = service
        self.body = body

    @property
    def is_envelope(self) -> bool:
        return self.handler.path.endswith("/envelopes")

    def record(self) -> Receipt:
        """What an honest service does: store once, then say so."""
        return self.service.record(Envelope.model_validate_json(self.body))

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.handler.send_response(status)
        self.handler.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()
        self.handler.wfile.write(body)

    def problem(self, status: int, detail: str, field: str = "", code: str = "", **headers: str) -> None:
        problem: dict[str, Any] = {"status": status, "detail": detail, "code": code}
        if field:
            problem["errors"] = [{"field": field, "message": detail}]
        self.answer(status, json.dumps(problem).encode(), content_type="application/problem+json", **headers)

    def ordinary(self) -> None:
        if not self.is_envelope:
            self.service.register(RunDescription.model_validate_json(self.body))
            self.answer(201, b"{}")
        elif not self.service.knows(UUID(self.handler.path.split("/")[-2])):
            self.problem(404, "no such run", code="unknown_run")
        else:
            self.answer(200, self.record().model_dump_json().encode())

    def reset(self) -> None:
        """Tear the connection down with RST."""
        connection = self.handler.connection
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        self.handler.close_connection = True

    def hang(self) -> None:
        """Say nothing until the service is closed."""
        self.service.is_closing.wait(30)
        self.handler.close_connection = True

    def drip(self) -> None:
        """One byte at a time, each well within anybody's read timeout, without an end."""
        self.handler.close_connection = True
        self.handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while not self.service.is_closing.wait(0.02):
            self.handler.wfile.write(b" ")
            self.handler.wfile.flush()


def status(code: int, detail: str = "no", field: str = "", **headers: str) -> Fault:
    return lambda exchange: exchange.problem(code, detail, field, **headers)


def says(body: bytes, code: int = 200, **headers: str) -> Fault:
    return lambda exchange: exchange.answer(code, body, **headers)


def reset(exchange: Exchange) -> None:
    exchange.reset()


def hang(exchange: Exchange) -> None:
    exchange.hang()


def drip(exchange: Exchange) -> None:
    exchange.drip()


def record_then_drop(exchange: Exchange) -> None:
    """The commit was made, the receipt is lost."""
    if exchange.is_envelope and exchange.service.runs:
        exchange.record()
    exchange.reset()


class LoopbackService:
    """``fault`` is asked before every request; ``None`` is the ordinary answer."""

    def __init__(self, fault: Callable[[Exchange], Fault | None] = lambda exchange: None) -> None:
        self.fault = fault
        self.runs: dict[UUID, list[RunDescription]] = {}
        self.envelopes: list[Envelope] = []
        self.duplicates = 0
        self.requests = 0
        self.commands: list[Command] = []
        self.is_closing = threading.Event()
        self._last: dict[tuple[UUID, UUID], int] = {}
        self._changed = threading.Condition()
        self._port = 0
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def open(self) -> None:
        """Listen; after `close` on the same port again, with everything remembered."""
        self.is_closing.clear()
        self._server = _Server(("127.0.0.1", self._port), _handler(self))
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        if self.is_closing.is_set():
            return
        self.is_closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()

    def forget(self) -> None:
        """A new, empty database."""
        self.runs.clear()
        self._last.clear()

    def knows(self, run_id: UUID) -> bool:
        return run_id in self.runs

    def register(self, description: RunDescription) -> None:
        with self._changed:
            self.runs.setdefault(description.run_id, []).append(description)
            self._changed.notify_all()

    def record(self, envelope: Envelope) -> Receipt:
        with self._changed:
            key = (envelope.run_id, envelope.sender)
            is_new = envelope.sequence > self._last.get(key, 0)
            if is_new:
                self._last[key] = envelope.sequence
                self.envelopes.append(envelope)
            else:
                self.duplicates += 1
            self._changed.notify_all()
            return Receipt(
                run_id=envelope.run_id,
                sender=envelope.sender,
                sequence=self._last[key],
                status="recorded" if is_new else "duplicate",
                server_time=envelope.sent_at,
                commands=self.commands,
            )

    def wait_for(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, seconds), "it did not happen in time"

    def asked(self) -> None:
        with self._changed:
            self.requests += 1
            self._changed.notify_all()

    @property
    def steps(self) -> list[int]:
        """Every observed step in the database, in order of arrival."""
        return [row.step for envelope in self.envelopes for block in envelope.blocks for row in block.rows()]


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 32

    def __init__(self, *arguments: Any) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """What a killed process does to its connections."""
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is what these tests are about."""


def _handler(service: LoopbackService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            exchange = Exchange(self, service, body)
            service.asked()
            (service.fault(exchange) or Exchange.ordinary)(exchange)

        def log_message(self, *arguments: object) -> None:
            """Silent."""

    return Handler


@contextmanager
def serving(fault: Callable[[Exchange], Fault | None] = lambda exchange: None) -> Iterator[LoopbackService]:
    service = LoopbackService(fault)
    try:
        yield service
    finally:
        service.close()

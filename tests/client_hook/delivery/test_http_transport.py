"""Whatever a server does, the transport answers in time with one of its own exceptions."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from uuid import UUID

import httpx
import pytest

from client_hook.delivery import (
    HttpTransport,
    NotAReceipt,
    Rejected,
    ServerBusy,
    TransportError,
    Unauthorized,
    UnknownRun,
    Unreachable,
)
from client_hook.delivery.http_transport import MAX_ANSWER_BYTES
from client_hook.delivery.transport import TooLarge
from tests.client_hook.delivery.bench import DESCRIPTION, RUN, SENDER, observation
from tests.client_hook.delivery.loopback import (
    Exchange,
    Fault,
    LoopbackService,
    drip,
    hang,
    record_then_drop,
    reset,
    says,
    serving,
    status,
)
from trainguard.wire import Envelope, ObservationBlock


def envelope(sequence: int = 1, rows: int = 3) -> Envelope:
    block = ObservationBlock.from_rows([observation(step) for step in range(rows)])
    return Envelope(run_id=RUN, sender=SENDER, sequence=sequence, sent_at=1000.0, attempt=0, revision=0, blocks=[block])


@pytest.fixture
def service() -> Iterator[LoopbackService]:
    with serving() as running:
        yield running


def transport_to(service: LoopbackService, total_seconds: float = 5.0) -> HttpTransport:
    return HttpTransport(service.url, total_seconds=total_seconds)


def test_an_envelope_arrives_whole_and_its_receipt_comes_back(service: LoopbackService) -> None:
    transport = transport_to(service)
    transport.register(DESCRIPTION)
    sent = envelope(rows=500)  # compressed
    receipt = transport.send(sent)
    transport.close()
    assert service.runs[RUN] == [DESCRIPTION]
    assert service.envelopes == [sent]
    assert (receipt.sequence, receipt.status) == (1, "recorded")


def test_the_token_travels_as_a_bearer(service: LoopbackService) -> None:
    seen: list[str | None] = []

    def note(exchange: Exchange) -> Fault | None:
        seen.append(exchange.handler.headers["authorization"])
        return None

    service.fault = note
    transport = HttpTransport(service.url, token="tg_word")
    transport.register(DESCRIPTION)
    transport.close()
    assert seen == ["Bearer tg_word"]


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (reset, Unreachable, r"127\.0\.0\.1"),
        (record_then_drop, Unreachable, r"127\.0\.0\.1"),
        (status(500, "oh"), Unreachable, "500"),
        (status(502), Unreachable, "502"),
        (says(b"<html>it works</html>"), NotAReceipt, "something else"),
        (says(b""), NotAReceipt, "something else"),
        (says(b'{"run_id": 3'), NotAReceipt, "something else"),
        (says(b"\xff\xfe\x00"), NotAReceipt, "something else"),
        (says(b"[" * 100_000), NotAReceipt, "something else"),
        (says(b"moved", 307, location="http://elsewhere.invalid/"), NotAReceipt, "elsewhere"),
        (says(b"nothing here", 404), NotAReceipt, "404"),
        (says(b"nothing here", 400), NotAReceipt, "400"),
        (says(b"", 204), NotAReceipt, "204"),
        (says(b" " * (MAX_ANSWER_BYTES + 1)), NotAReceipt, "more than"),
        (
            says(gzip.compress(b" " * (MAX_ANSWER_BYTES + 1)), content_encoding="gzip"),
            NotAReceipt,
            "more than",
        ),
        (says(b"not gzip", content_encoding="gzip"), Unreachable, r"127\.0\.0\.1"),
        (status(401, "no token"), Unauthorized, "no token"),
        (status(403, "another project"), Unauthorized, "another project"),
        (status(413, "over 8 MiB"), TooLarge, "over 8 MiB"),
        (status(422, "not a number", "blocks.0.signals.loss"), Rejected, "blocks.0.signals.loss: not a number"),
        (status(409, "older attempt", "attempt"), Rejected, "attempt"),
        (status(429, "slowly"), ServerBusy, "slowly"),
        (status(503, "starting"), ServerBusy, "starting"),
    ],
)
def test_every_answer_becomes_the_right_exception(
    service: LoopbackService, fault: Fault, kind: type[TransportError], words: str
) -> None:
    service.fault = lambda exchange: fault
    transport = transport_to(service)
    with pytest.raises(kind, match=words) as raised:
        transport.send(envelope())
    assert type(raised.value) is kind
    service.fault = lambda exchange: None  # and the next exchange is none the worse for it
    transport.register(DESCRIPTION)
    transport.send(envelope(sequence=2))
    transport.close()


def test_a_run_that_the_service_does_not_know_is_told_from_a_page_not_found(service: LoopbackService) -> None:
    transport = transport_to(service)
    with pytest.raises(UnknownRun):
        transport.send(envelope())
    transport.close()


@pytest.mark.parametrize("fault", [hang, drip], ids=["hangs", "drips"])
def test_no_server_holds_us_longer_than_the_deadline(service: LoopbackService, fault: Fault) -> None:
    service.fault = lambda exchange: fault
    transport = transport_to(service, total_seconds=0.3)
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"0\.3 s"):
        transport.send(envelope())
    assert time.monotonic() - began < 2.0
    transport.close()


def test_a_shorter_deadline_for_one_call_holds(service: LoopbackService) -> None:
    service.fault = lambda exchange: hang
    transport = transport_to(service)
    began = time.monotonic()
    with pytest.raises(Unreachable):
        transport.send(envelope(), timeout_seconds=0.2)
    assert time.monotonic() - began < 2.0
    transport.close()


def test_a_port_where_nobody_listens_is_unreachable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unreachable):
        HttpTransport(f"http://127.0.0.1:{port}").send(envelope())


@pytest.mark.parametrize("spoken", [b"", b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 1000])
def test_another_protocol_is_unreachable(spoken: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(spoken)

        thread = threading.Thread(target=speak)
        thread.start()
        transport = HttpTransport(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(Unreachable):
            transport.send(envelope())
        thread.join()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0", 0.0), ("-3", 0.0), ("1e9", 300.0), ("nan", None), ("soon", None), ("0.25", 0.25)],
)
def test_retry_after_is_read_within_bounds(service: LoopbackService, header: str, seconds: float | None) -> None:
    service.fault = lambda exchange: status(429, "slowly", retry_after=header)
    transport = transport_to(service)
    with pytest.raises(ServerBusy) as raised:
        transport.send(envelope())
    transport.close()
    assert raised.value.retry_after == seconds


def test_retry_after_may_be_a_date(service: LoopbackService) -> None:
    service.fault = lambda exchange: status(503, "slowly", retry_after=formatdate(time.time() + 60, usegmt=True))
    transport = transport_to(service)
    with pytest.raises(ServerBusy) as raised:
        transport.send(envelope())
    transport.close()
    assert raised.value.retry_after == pytest.approx(60, abs=3)


@pytest.mark.parametrize("address", ["127.0.0.1:8321", "ftp://host", "http://", ""])
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    with pytest.raises(ValueError, match="server is"):
        HttpTransport(address)


def test_a_token_with_a_line_break_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="token"):
        HttpTransport("http://127.0.0.1:8321", token="word\n")


def test_one_connection_serves_many_envelopes(service: LoopbackService) -> None:
    peers: set[object] = set()

    def note(exchange: Exchange) -> Fault | None:
        peers.add(exchange.handler.client_address)
        return None

    service.fault = note
    service.runs[UUID(int=7)] = []
    transport = transport_to(service)
    for sequence in range(1, 6):
        transport.send(envelope(sequence))
    transport.close()
    assert len(peers) == 1


def test_where_no_thread_can_watch_the_deadline_the_exchange_is_made_all_the_same(
    service: LoopbackService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    transport = transport_to(service)
    transport.register(DESCRIPTION)  # the service's thread for this connection is there from now on
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert transport.send(envelope()).sequence == 1
    transport.close()


def test_our_requests_write_no_line_into_somebodys_log_and_theirs_still_do(
    service: LoopbackService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    transport = transport_to(service)
    transport.register(DESCRIPTION)
    transport.send(envelope())
    transport.close()
    assert caplog.text == ""
    with httpx.Client(trust_env=False) as theirs:
        theirs.post(service.url + "/api/v1/runs", json=DESCRIPTION.model_dump(mode="json"))
    assert "HTTP Request" in caplog.text

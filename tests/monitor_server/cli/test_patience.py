"""Connections that do not come to the point are closed; those that do are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from monitor_server.cli import patience
from monitor_server.cli.patience import PatientForAWhile

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
LONG = 60.0


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the length of the body."""
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    body = str(length).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def connect(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connect]:
    monkeypatch.setattr(patience, "HEAD_SECONDS", 0.3)
    config = uvicorn.Config(app, http=PatientForAWhile, log_config=None, lifespan="off")
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(lambda: PatientForAWhile(config, state, {}), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    opened: list[asyncio.StreamWriter] = []

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        opened.append(writer)
        return reader, writer

    yield connect
    for writer in opened:
        writer.close()
    server.close()
    while state.connections:
        await asyncio.sleep(0.01)


async def rest(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.read(), LONG)


async def test_a_head_that_does_not_end_is_cut_off_and_a_slow_body_is_not(connect: Connect) -> None:
    slow_body = await connect()
    slow_body[1].write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nab")
    silent = await connect()
    slow_head = await connect()
    slow_head[1].write(b"GET / HTTP/1.1\r\nhost: x\r\nx-a:")
    assert (await rest(slow_head[0])).startswith(b"HTTP/1.1 408 ")
    assert await rest(silent[0]) == b""
    # It began before the others, and was waited for.
    slow_body[1].write(b"cd")
    answer = await asyncio.wait_for(slow_body[0].readuntil(b"\r\n\r\n4"), LONG)
    assert answer.startswith(b"HTTP/1.1 200 ")
    # The next request on the same connection has its own time.
    slow_body[1].write(b"GET / HTTP/1.1\r\nhost")
    assert (await rest(slow_body[0])).startswith(b"HTTP/1.1 408 ")


async def test_a_head_without_measure_is_refused(connect: Connect) -> None:
    reader, writer = await connect()
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n")
    for number in range(70):
        writer.write(b"x-%d: %s\r\n" % (number, b"a" * 1000))
    assert (await rest(reader)).startswith(b"HTTP/1.1 431 ")


async def test_a_body_as_long_as_you_like_comes_with_a_short_head(connect: Connect) -> None:
    reader, writer = await connect()
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 300000\r\n\r\n" + b"a" * 300_000)
    assert (await rest(reader)).endswith(b"\r\n\r\n300000")

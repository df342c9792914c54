"""Reading a body: bounded as it arrives, bounded again as it is unpacked, then checked field by field."""

from __future__ import annotations

import zlib
from typing import TypeVar

import anyio
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from monitor_server.api.problems import Problem, invalid_body
from monitor_server.settings import Settings

Model = TypeVar("Model", bound=BaseModel)

_GZIP = 16 + zlib.MAX_WBITS
_PARSED_AT_ONCE = 32 * 1024
"""A body of so many bytes is parsed sooner (0.2 ms for 50 observations) than a thread is found to do it. The limit on
what it may unpack to holds, so that a small body cannot keep the others waiting for long."""
_DRAINED_AT_MOST = 8
"""Multiples of the limit that are read and thrown away, so that a sender in full flow still hears our answer."""


async def read_model(request: Request, model: type[Model], code: str, settings: Settings) -> Model:
    """The body as ``model``.

    Raises `Problem`: 415 for another type or encoding, 413 over a limit, 408 where it comes too slowly, 400 for what
    is no gzip or no JSON, and 422 with ``code`` and the fields at fault.
    """
    encoding = _encoding(request)
    try:
        with anyio.fail_after(settings.body_seconds):
            body = await _read(request, settings.max_body_bytes)
    except TimeoutError:
        detail = f"the body did not arrive within {settings.body_seconds:g} s"
        raise Problem(408, "body_too_slow", detail, headers={"connection": "close"}) from None
    if len(body) <= _PARSED_AT_ONCE:
        return _parse(body, encoding, model, code, settings)
    return await run_in_threadpool(_parse, body, encoding, model, code, settings)


def _parse(body: bytes, encoding: str, model: type[Model], code: str, settings: Settings) -> Model:
    if encoding == "gzip":
        body = gunzip(body, settings.max_decompressed_bytes)
    if not body.strip():
        raise Problem(400, "malformed_json", "the body is empty; send a JSON object")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise invalid_body(code, error) from None


def gunzip(body: bytes, limit: int) -> bytes:
    """Unpack one gzip member of at most ``limit`` bytes. Never makes more, whatever the body promises."""
    unpacker = zlib.decompressobj(_GZIP)
    try:
        plain = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise Problem(400, "malformed_gzip", f"the body is no gzip: {error}") from None
    if len(plain) > limit:
        raise Problem(413, "body_too_large", f"the unpacked body is over {limit} bytes; send it in parts")
    if not unpacker.eof or unpacker.unused_data:
        fault = "goes on after its end" if unpacker.eof else "is cut short"
        raise Problem(400, "malformed_gzip", f"the gzip body {fault}")
    return plain


def _encoding(request: Request) -> str:
    # A page of another site can post text/plain without asking; application/json it cannot.
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(415, "unsupported_media_type", f"content-type is {media_type!r}; send application/json")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise Problem(
            415,
            "unsupported_encoding",
            f"content-encoding is {encoding!r}; send gzip or nothing",
            headers={"accept-encoding": "gzip"},
        )
    return encoding


async def _read(request: Request, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size <= limit:
                parts.append(part)
            elif size > _DRAINED_AT_MOST * limit:
                break
    except ClientDisconnect:
        # A trainer that was killed while it sent; nobody hears this answer, but it is no mistake of ours.
        raise Problem(400, "incomplete_body", "the connection was closed in the middle of the body") from None
    if size > limit:
        raise Problem(413, "body_too_large", f"the body is over {limit} bytes; send it in parts")
    return b"".join(parts)

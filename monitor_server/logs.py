"""What the service writes to standard error: one line an event, with the ids of its request and its run."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

FORMATS = ("text", "json")


def begin_logging(form: str) -> None:
    """Log to standard error: ``text`` for people, ``json`` for whoever collects it."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if form == "json":
        last += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        last += [structlog.processors.format_exc_info, _as_text]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _as_text(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    """`2026-01-01T00:00:00Z INFO trainguard: serving … (run_id=… request_id=…)`."""
    at, level, name = event.pop("timestamp"), str(event.pop("level")).upper(), event.pop("logger", "")
    message, traceback = event.pop("event"), event.pop("exception", None)
    ids = " ".join(f"{key}={value}" for key, value in event.items())
    line = f"{at} {level} {name}: {message}" + (f" ({ids})" if ids else "")
    return f"{line}\n{traceback}" if traceback else line

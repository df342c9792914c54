"""An id for every request, in its answer and in whatever is logged while it is worked on, beside the run's id."""

from __future__ import annotations

import logging
import re
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from monitor_server.api.problems import problem_of

logger = logging.getLogger(__name__)

HEADER = "x-request-id"
_GIVEN = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_RUN = re.compile(r"/runs/([0-9a-f-]{36})(?:/|$)")


class RequestIds:
    """Takes the id that a proxy gave where it is one, else makes one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does, with the id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given.decode() if _GIVEN.fullmatch(given) else uuid4().hex
        run = _RUN.search(scope["path"])

        has_begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        with bound_contextvars(request_id=request_id, **({"run_id": run[1]} if run else {})):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception as error:
                if has_begun:
                    raise
                # Here and not in Starlette's outermost layer: that answers without an id, logs where the id is known
                # no more, and then raises, which costs the connection and every request that waits on it.
                logger.exception("a request failed")
                await problem_of(Request(scope), error).response()(scope, receive, send_with_id)

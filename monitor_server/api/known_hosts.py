"""The names under which the service answers; any other gets a problem+json that says how to add it."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor_server.api.problems import refused_field

LONGEST_NAME = 253
"""Characters of a host's name (RFC 1035); what is longer is not repeated in the answer."""
REMEMBERED = 64
"""Names, with their ports, that were found to be ours: every trainer says the same one all day."""


class KnownHosts:
    """Starlette's check against DNS rebinding, with an answer for the person who put a proxy in front."""

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = tuple(hosts)
        self._ours: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does, or with a 400 ``unknown_host``."""
        if scope["type"] != "http" or "*" in self._hosts:
            await self._app(scope, receive, send)
            return
        told = [value for name, value in scope["headers"] if name == b"host"]
        if len(told) == 1 and told[0] in self._ours:
            await self._app(scope, receive, send)
            return
        is_known = False

        async def enter(scope: Scope, receive: Receive, _: Send) -> None:
            nonlocal is_known
            is_known = True
            if len(told) == 1 and len(self._ours) < REMEMBERED:
                self._ours.add(told[0])
            await self._app(scope, receive, send)

        async def swallow(_: Message) -> None:
            """The check's own answer is plain text."""

        await TrustedHostMiddleware(enter, self._hosts, www_redirect=False)(scope, receive, swallow)
        if not is_known:
            name = Headers(scope=scope).get("host", "")[:LONGEST_NAME]
            message = f"this service does not answer as {name!r}; name it in TRAINGUARD_HOSTS if it should"
            await refused_field(400, "unknown_host", "host", message).response()(scope, receive, send)

"""Who is asking, and what he may do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Scope = Literal["ingest", "read", "command", "admin"]
"""ingest: what a trainer does; read: look at everything; command: act on runs and incidents; admin: all of it, tokens
and deletion too."""

SCOPES: tuple[Scope, ...] = get_args(Scope)

_INCLUDED: dict[str, tuple[Scope, ...]] = {"command": ("command", "read"), "admin": SCOPES}


def widened(scopes: Iterable[str]) -> frozenset[str]:
    """The scopes with those that they include.

    >>> sorted(widened(["command"])), sorted(widened(["ingest"]))
    (['command', 'read'], ['ingest'])
    """
    return frozenset(included for scope in scopes for included in _INCLUDED.get(scope, (scope,)))


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request: the bearer of a token, or anybody where nobody has to sign in."""

    name: str = ""
    """Of the token; empty where there is none."""
    token_id: str | None = None
    scopes: frozenset[str] = frozenset(SCOPES)
    project: str | None = None
    """The only project he may see; None: all."""

    def may(self, scope: Scope) -> bool:
        """Whether he may do this kind of thing."""
        return scope in self.scopes

    def may_see(self, project: str) -> bool:
        """Whether anything of this project is his business."""
        return self.project is None or self.project == project

    def signed(self, by: str) -> str:
        """The name under which something is done: what he says, else the token's name."""
        return by.strip() or self.name or "a person"


ANYBODY = Caller()

"""Door keys: tokens are made, renewed and revoked, each with a line in the audit log."""

from __future__ import annotations

from sqlalchemy import Connection

from monitor_server.storage import audit, tokens
from monitor_server.storage.audit import Entry
from monitor_server.storage.tokens import TokenRow


def keep_token(connection: Connection, row: TokenRow, *, by: str, token_id: str | None = None) -> None:
    """Record a new token, made by whoever bears ``token_id``."""
    tokens.add(connection, row)
    _note(connection, row, "create_token", row.created_at, by, token_id)


def renew(connection: Connection, row: TokenRow, *, now: float, by: str, by_token: str | None = None) -> None:
    """Write down a token's new secret."""
    tokens.renew(connection, row)
    _note(connection, row, "rotate_token", now, by, by_token)


def revoke(connection: Connection, row: TokenRow, *, now: float, by: str, by_token: str | None = None) -> None:
    """Never let it in again."""
    tokens.revoke(connection, row.token_id, now)
    _note(connection, row, "revoke_token", now, by, by_token)


def _note(connection: Connection, row: TokenRow, action: str, now: float, by: str, by_token: str | None) -> None:
    entry = Entry(
        done_at=now,
        actor_kind="person",
        actor=by,
        token_id=by_token,
        action=action,
        project=row.project,
        target=row.token_id,
        document={"name": row.name, "scopes": list(row.scopes), "expires_at": row.expires_at},
    )
    audit.add(connection, [entry])

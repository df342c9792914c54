"""Tokens: who may come in. Only digests of their secrets are here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, exists, insert, select, update

from monitor_server.storage.tables import tokens


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token as the database has it. Times in seconds since 1970 (UTC); None: never."""

    token_id: str
    name: str
    project: str | None
    """The only project it is good for; None: all."""
    scopes: Sequence[str]
    digest: str
    created_at: float
    created_by: str
    former_digest: str | None = None
    former_until: float | None = None
    expires_at: float | None = None
    rotated_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None

    def state(self, now: float) -> str:
        """active, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


def add(connection: Connection, row: TokenRow) -> None:
    """Record a new token."""
    connection.execute(insert(tokens).values(asdict(row)))


def load(connection: Connection, token_id: str, *, locked: bool = False) -> TokenRow | None:
    """One token, or None; ``locked`` until the transaction ends, for who is about to change it."""
    if "\x00" in token_id:
        return None
    statement = select(tokens).where(tokens.c.token_id == token_id)
    if locked and connection.dialect.name == "postgresql":
        statement = statement.with_for_update()
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else _row(row)


def is_any(connection: Connection) -> bool:
    """Whether a token was ever made, good or not."""
    return bool(connection.execute(select(exists().where(tokens.c.token_id.is_not(None)))).scalar_one())


def listing(connection: Connection) -> list[TokenRow]:
    """Every token, in the order in which they were made."""
    statement = select(tokens).order_by(tokens.c.created_at, tokens.c.token_id)
    return [_row(row) for row in connection.execute(statement).mappings()]


def renew(connection: Connection, row: TokenRow) -> None:
    """Write a token's new secret."""
    _change(
        connection,
        row.token_id,
        digest=row.digest,
        former_digest=row.former_digest,
        former_until=row.former_until,
        rotated_at=row.rotated_at,
    )


def revoke(connection: Connection, token_id: str, now: float) -> None:
    """Never let it in again; its row stays, so that the audit log can name it."""
    _change(connection, token_id, revoked_at=now)


def note_use(connection: Connection, token_id: str, now: float) -> None:
    """It was used."""
    _change(connection, token_id, last_used_at=now)


def _change(connection: Connection, token_id: str, **values: Any) -> None:
    connection.execute(update(tokens).where(tokens.c.token_id == token_id).values(**values))


def _row(row: RowMapping) -> TokenRow:
    values = dict(row)
    return TokenRow(**values | {"scopes": tuple(values["scopes"])})

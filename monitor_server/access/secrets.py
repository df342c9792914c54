"""Tokens: ``tg_<id>_<secret>``, of which only a digest is kept.

The digest is a plain SHA-256. A slow hash (bcrypt, argon2) makes guessing dear where people choose what is guessed;
these secrets are 256 bits of chance, which nobody guesses, and every envelope of every trainer would pay for it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from monitor_server.access.caller import Scope
from monitor_server.storage.tokens import TokenRow

GRACE_SECONDS = 86_400.0
"""How long a former secret is good after a rotation: trainers run for weeks and read theirs at their start."""

_NOTHING = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A token at the only moment at which it can be read, and its row."""

    word: str
    row: TokenRow


def make_token(
    name: str,
    scopes: Sequence[Scope],
    *,
    now: float,
    created_by: str,
    project: str | None = None,
    lifetime_seconds: float | None = None,
) -> MadeToken:
    """A new token; nobody has it but the caller."""
    token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    row = TokenRow(
        token_id=token_id,
        name=name,
        project=project,
        scopes=tuple(dict.fromkeys(scopes)),
        digest=digest_of(secret),
        created_at=now,
        created_by=created_by,
        expires_at=None if lifetime_seconds is None else now + lifetime_seconds,
    )
    return MadeToken(f"tg_{token_id}_{secret}", row)


def renew_token(row: TokenRow, *, now: float, grace_seconds: float = GRACE_SECONDS) -> MadeToken:
    """The same token with a new secret; the former one is good for ``grace_seconds`` more."""
    secret = secrets.token_urlsafe(32)
    renewed = replace(
        row,
        digest=digest_of(secret),
        former_digest=row.digest if grace_seconds > 0 else None,
        former_until=now + grace_seconds if grace_seconds > 0 else None,
        rotated_at=now,
    )
    return MadeToken(f"tg_{row.token_id}_{secret}", renewed)


def read_word(word: str) -> tuple[str, str] | None:
    """Id and secret of a token as it is sent; None for what is none of ours.

    >>> read_word("tg_0a1b_c_d"), read_word("sk-123")
    (('0a1b', 'c_d'), None)
    """
    mark, _, rest = word.partition("_")
    token_id, _, secret = rest.partition("_")
    return (token_id, secret) if mark == "tg" and token_id and secret and len(word) <= 200 else None


def digest_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_right(secret: str, row: TokenRow | None, now: float) -> bool:
    """Whether the secret is the row's, in the same time whether the row exists, and wherever the two differ."""
    told = digest_of(secret)
    is_present = hmac.compare_digest(told, row.digest if row is not None else _NOTHING)
    former = row.former_digest if row is not None and (row.former_until or 0.0) > now else None
    is_former = hmac.compare_digest(told, former or _NOTHING)
    return row is not None and (is_present or (former is not None and is_former))

"""The signature of a webhook: HMAC-SHA256 over the time and the body, so that an old message cannot be sent again."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

SIGNATURE = "x-trainguard-signature-256"
TIMESTAMP = "x-trainguard-timestamp"


def signed(body: bytes, secret: bytes, now: float) -> dict[str, str]:
    """The two headers of a message that leaves at ``now`` (seconds since 1970).

    >>> headers = signed(b"{}", b"s3cret", 1_700_000_000.4)
    >>> is_genuine(b"{}", headers, b"s3cret", now=1_700_000_100.0)
    True
    """
    timestamp = str(int(now))
    return {TIMESTAMP: timestamp, SIGNATURE: f"sha256={_digest(body, secret, timestamp)}"}


def is_genuine(
    body: bytes, headers: Mapping[str, str], secret: bytes, *, now: float, tolerance_seconds: float = 300.0
) -> bool:
    """What a receiver checks: that the sender knows the secret, and that the message is fresh.

    ``headers`` with lower-case names.

    >>> headers = signed(b"{}", b"s3cret", 0.0)
    >>> is_genuine(b"{ }", headers, b"s3cret", now=0.0), is_genuine(b"{}", headers, b"s3cret", now=301.0)
    (False, False)
    """
    timestamp = headers.get(TIMESTAMP, "")
    if not timestamp.isdecimal() or abs(now - int(timestamp)) > tolerance_seconds:
        return False
    expected = f"sha256={_digest(body, secret, timestamp)}"
    return hmac.compare_digest(expected.encode(), headers.get(SIGNATURE, "").encode())


def _digest(body: bytes, secret: bytes, timestamp: str) -> str:
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()

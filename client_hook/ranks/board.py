"""Short words between ranks, by key: the process group's store, which is there wherever several ranks are."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Protocol


class BoardUnreachable(OSError):
    """The store does not answer: mostly because the process of rank 0, which keeps it, is gone."""


class Store(Protocol):
    """As much of ``torch.distributed.Store`` as is used."""

    def set(self, key: str, value: str, /) -> Any:
        """Write."""
        ...

    def get(self, key: str, /) -> bytes:
        """Read what is there; waits where nothing is, so it is asked only after `check`."""
        ...

    def check(self, keys: list[str], /) -> bool:
        """Whether all of them are there."""
        ...

    def compare_set(self, key: str, expected: str, desired: str, /) -> bytes:
        """Write if ``expected`` stands there (empty: nothing); returns what stands there now."""
        ...

    def delete_key(self, key: str, /) -> bool:
        """Forget."""
        ...


class Board:
    """JSON values under keys. No method waits for a key; each is one or two questions to the store.

    >>> from torch.distributed import HashStore
    >>> board = Board(HashStore())
    >>> board.look("decision"), board.claim("decision", "commit"), board.claim("decision", "abort")
    (None, 'commit', 'commit')
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, key: str, value: Any) -> None:
        """Write ``value``, over whatever stands there."""
        text = json.dumps(value, separators=(",", ":"))
        with _reaching():
            self._store.set(key, text)

    def look(self, key: str) -> Any | None:
        """What stands there, ``None`` for nothing yet."""
        with _reaching():
            return json.loads(self._store.get(key)) if self._store.check([key]) else None

    def claim(self, key: str, value: Any) -> Any:
        """Write unless something stands there; returns what stands there now. The first one wins, for all ranks."""
        text = json.dumps(value, separators=(",", ":"))
        with _reaching():
            return json.loads(self._store.compare_set(key, "", text))

    def forget(self, key: str) -> None:
        """Take it off; a store that cannot forget keeps it."""
        with contextlib.suppress(NotImplementedError), _reaching():
            self._store.delete_key(key)


@contextlib.contextmanager
def _reaching() -> Any:
    try:
        yield
    except NotImplementedError:
        raise
    except RuntimeError as error:  # torch's DistStoreError and DistNetworkError are RuntimeErrors
        words = str(error).strip().splitlines()
        raise BoardUnreachable(
            f"the process group's store does not answer ({words[0][:200] if words else type(error).__name__}); "
            "mostly because rank 0, which keeps it, is gone"
        ) from error

"""Our requests do not fill somebody's log: httpx writes a line at INFO for each of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager

_this_thread = threading.local()


class _NotOurs(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is about a request of somebody else."""
        return not getattr(_this_thread, "is_ours", False)


_not_ours = _NotOurs()


@contextmanager
def without_request_lines() -> Generator[None, None, None]:
    """Requests made inside, on this thread, are not logged by httpx; everybody else's are as before."""
    logging.getLogger("httpx").addFilter(_not_ours)  # a second time it does nothing
    _this_thread.is_ours = True
    try:
        yield
    finally:
        _this_thread.is_ours = False

"""Vacuum: a SQLite file gives back what retention has freed. PostgreSQL does so by itself."""

from __future__ import annotations

from typing import Any

from monitor_server.housekeeping.chore import Desk

PAGES_AT_ONCE = 500


def give_back(desk: Desk) -> int:
    """Give a few free pages back to the file system; how many. A file made before this was possible keeps them."""
    if desk.connection.dialect.name != "sqlite":
        return 0
    free = int(desk.connection.exec_driver_sql("PRAGMA freelist_count").scalar_one())
    # 2: the file gives back step by step.
    if not free or desk.connection.exec_driver_sql("PRAGMA auto_vacuum").scalar_one() != 2:
        return 0
    driver: Any = desk.connection.connection.driver_connection
    pages = min(free, PAGES_AT_ONCE)
    for _ in range(pages):
        # However many are named, it gives back one each time it is asked for a row, and Python asks once.
        driver.execute("PRAGMA incremental_vacuum(1)")
    return pages

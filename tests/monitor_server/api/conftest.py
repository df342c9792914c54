"""An application per test, over a database of its own."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor_server.settings import Settings
from tests.monitor_server.api.door import Door, opened
from tests.monitor_server.service import Clock


@pytest.fixture
def settings(migrated_sqlite: Path, tmp_path: Path) -> Settings:
    path = tmp_path / "trainguard.db"
    shutil.copyfile(migrated_sqlite, path)
    return Settings(database=f"sqlite:///{path}")


@pytest.fixture
async def door(settings: Settings, clock: Clock) -> AsyncIterator[Door]:
    async with opened(settings, clock) as door:
        yield door

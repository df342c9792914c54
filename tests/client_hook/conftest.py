"""What every test of the hook gets without asking: nothing that a guard swallowed stays hidden."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from client_hook.guard import raise_swallowed, record_swallowed


@pytest.fixture(autouse=True)
def swallowed_faults_are_raised() -> Iterator[None]:
    """A test that means to cause a fault takes it with ``client_hook.guard.take_swallowed()``."""
    record_swallowed()
    yield
    raise_swallowed()

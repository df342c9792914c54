from __future__ import annotations

from uuid import UUID

import pytest

from client_hook.recovery.checkpoints import MemoryCheckpoints
from tests.client_hook.recovery.checkpoints.snapshots import save, snapshot_of


def test_the_oldest_makes_room_and_it_is_told() -> None:
    store = MemoryCheckpoints(keep=2)
    first, second, third = (save(store, step) for step in (1, 2, 3))
    assert [store.exists(each) for each in (first, second, third)] == [False, True, True]
    evicted = [news for news in store.news() if news.kind == "evicted"]
    assert [(news.record.checkpoint_id, news.reason) for news in evicted] == [(first, "it made room in keep=2")]


def test_protected_ones_stay_and_the_new_one_fails_where_there_is_no_room() -> None:
    protected: list[UUID] = []
    store = MemoryCheckpoints(keep=2, protected=lambda: protected)
    protected.append(save(store, 1))
    second, third = save(store, 2), save(store, 3)
    assert [store.exists(each) for each in (protected[0], second, third)] == [True, False, True]
    protected.append(third)
    store.news()
    fourth = save(store, 4)
    assert not store.exists(fourth)
    assert [(news.kind, "allow more" in news.reason) for news in store.news()] == [("failed", True)]


def test_it_stays_within_its_bytes() -> None:
    size = snapshot_of(0.0, elements=100).size_bytes
    store = MemoryCheckpoints(max_bytes=3 * size)
    for step in range(6):
        save(store, step, elements=100)
        assert store.size_bytes <= 3 * size
    assert [record.step for record in store.entries()] == [3, 4, 5]
    assert not store.exists(save(store, 9, elements=1000))


@pytest.mark.parametrize("options", [{"keep": 0}, {"max_bytes": 0}])
def test_limits_that_leave_no_room_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="no room"):
        MemoryCheckpoints(**options)  # type: ignore[arg-type]

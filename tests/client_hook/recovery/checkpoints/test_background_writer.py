from __future__ import annotations

import threading

from client_hook.recovery.checkpoints.background_writer import BackgroundWriter


def test_jobs_are_done_in_order_and_waited_for() -> None:
    writer = BackgroundWriter("test")
    done: list[int] = []
    for number in range(5):
        assert writer.give(lambda number=number: done.append(number))  # type: ignore[misc]
    assert writer.wait(60)
    assert done == [0, 1, 2, 3, 4]
    assert writer.close(60)


def test_the_queue_is_bounded_and_a_wait_has_a_deadline() -> None:
    writer = BackgroundWriter("test")
    is_begun, is_open = threading.Event(), threading.Event()

    def wait() -> None:
        is_begun.set()
        is_open.wait(60)

    writer.give(wait)
    assert is_begun.wait(60)
    assert writer.give(lambda: None, limit=1)
    assert not writer.give(lambda: None, limit=1)
    assert writer.waiting == 1
    assert not writer.wait(0)
    assert not writer.close(0)
    is_open.set()
    assert writer.close(60)
    assert writer.waiting == 0


def test_closed_it_takes_nothing_on() -> None:
    writer = BackgroundWriter("test")
    assert writer.close()
    assert not writer.give(lambda: None)
    assert writer.wait()

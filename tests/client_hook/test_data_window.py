from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torchdata.stateful_dataloader import StatefulDataLoader

from client_hook.data_window import DataWindow
from client_hook.recovery.storable import decoded, encoded


def test_every_batch_of_every_pass_is_served_in_order() -> None:
    window = DataWindow()
    assert [list(window.batches(range(3))) for _ in range(2)] == [[0, 1, 2], [0, 1, 2]]
    assert window.position() == {"passes": 2, "taken": 0}


def test_a_skipped_window_may_reach_into_the_next_pass() -> None:
    window = DataWindow()
    first = window.batches(range(4))
    assert next(first) == 0
    window.skip(5)
    assert list(first) == []
    assert list(window.batches(range(4))) == [2, 3]
    assert window.skipped == 5


def test_an_epoch_loop_passes_over_whole_epochs_after_a_restart() -> None:
    window = DataWindow()
    window.resume({"passes": 2, "taken": 1})
    assert [list(window.batches(range(3))) for _ in range(4)] == [[], [], [1, 2], [0, 1, 2]]


def test_a_loop_over_steps_passes_over_batches_only() -> None:
    window = DataWindow()
    window.counts_steps = lambda: True
    window.resume({"passes": 2, "taken": 1})
    assert [list(window.batches(range(3))) for _ in range(2)] == [[1, 2], [0, 1, 2]]
    assert window.position() == {"passes": 4, "taken": 0}


def test_the_wait_for_data_is_measured_once() -> None:
    now = iter(range(0, 1000, 7))
    window = DataWindow(clock=lambda: float(next(now)))
    assert window.take_wait_seconds() is None
    batches = window.batches(range(3))
    next(batches)
    next(batches)
    assert window.take_wait_seconds() == 14.0
    assert window.take_wait_seconds() == 0.0


def _stateful_loader(seed: int) -> Any:
    with warnings.catch_warnings():
        # torchdata 0.11 still calls what torch 2.13 has deprecated.
        warnings.simplefilter("ignore")
        return StatefulDataLoader(
            list(range(40)), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(seed)
        )


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_a_loader_that_keeps_its_position_is_taken_up_where_it_stood() -> None:
    first = DataWindow()
    served = first.batches(_stateful_loader(seed=1))
    for _ in range(3):
        next(served)
    position = first.position()
    assert set(position) == {"passes", "taken", "loader"}
    left = [batch.tolist() for batch in served]
    assert "loader" not in first.position(), "between two passes there is no position within one"

    second = DataWindow()
    second.resume(decoded(encoded(position)))
    # Another seed: the order is that of the checkpoint, not one that happens to be the same again.
    resumed = [batch.tolist() for batch in second.batches(_stateful_loader(seed=2))]
    assert resumed == left

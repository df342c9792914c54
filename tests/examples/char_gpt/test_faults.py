from __future__ import annotations

import pytest
import torch

from examples.char_gpt.faults import FAULTS


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_fault_leaves_everything_before_its_onset_alone(name: str) -> None:
    fault = FAULTS[name](600, 32)
    assert fault.name == name
    batch = (torch.arange(6).view(3, 2), torch.arange(6).view(3, 2))
    for step in range(fault.onset_step):
        assert fault.rate_factor(step) == 1.0
        assert fault.corruption is None or fault.corruption(step, batch) is batch


def test_the_rate_bug_stays_for_good() -> None:
    fault = FAULTS["lr-bug"](600, 32)
    assert {fault.rate_factor(step) for step in range(fault.onset_step, 600)} == {32.0}


def test_the_bad_pocket_has_an_end() -> None:
    fault = FAULTS["bad-data"](600, 32)
    assert fault.corruption is not None
    batch = (torch.arange(6).view(3, 2), torch.arange(6).view(3, 2))
    inputs, targets = fault.corruption(fault.onset_step, batch)
    assert torch.equal(inputs, batch[0])
    assert torch.equal(targets[1:], batch[1][:-1])
    assert sorted(targets.flatten().tolist()) == list(range(6)), "every token is still there"
    assert fault.corruption(fault.onset_step + 600 // 7, batch) is batch

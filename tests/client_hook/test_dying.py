"""Processes that are told to end, or are ended: what was measured reaches the service, now or at the next start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import client_hook
from tests.client_hook.delivery.loopback import hang, serving
from tests.client_hook.little_training import LittleTraining
from trainguard.wire import Envelope

TRAIN = """
import itertools, signal, sys, time
import client_hook
from tests.client_hook.little_training import LittleTraining

url, folder, steps, own_handler = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "own"
if own_handler:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
training = LittleTraining()
hook = training.attach(server=url, checkpoints=folder, checkpoint_every=10, synchronous=False)
while hook.next_step < steps:
    loss = training.gradients()
    training.update()
    hook.observe(loss)
print("trained", flush=True)
if steps < 100:
    while True:
        time.sleep(0.01)
hook.close()
"""


def begin(url: str, folder: Path, steps: int, handler: str = "none") -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, url, str(folder), str(steps), handler],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def trained(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == b"trained\n"


def observed(envelopes: list[Envelope]) -> list[tuple[int, int]]:
    return [(row.attempt, row.step) for envelope in envelopes for block in envelope.blocks for row in block.rows()]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to handle")
def test_sigterm_delivers_what_waits_and_the_process_dies_of_it(tmp_path: Path) -> None:
    with serving() as service, begin(service.url, tmp_path / "checkpoints", 40) as process:
        trained(process)
        process.terminate()
        assert process.wait(30) == -signal.SIGTERM
        assert observed(service.envelopes) == [(0, step) for step in range(40)]


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_an_exception_in_the_loop_goes_on_its_way_and_is_told_as_the_end(kind: type[BaseException]) -> None:
    training = LittleTraining()

    def train(url: str) -> None:
        with training.attach(server=url, synchronous=False) as hook:
            for step in hook.steps(10):
                loss = training.gradients()
                training.update()
                hook.observe(loss)
                if step == 4:
                    raise kind("theirs")

    with serving() as service:
        with pytest.raises(kind, match="theirs"):
            train(service.url)
        assert observed(service.envelopes) == [(0, step) for step in range(5)]
        assert service.envelopes[-1].state == "failed"


class WhatAWorkerSees(Dataset[torch.Tensor]):
    """In the process of a data-loader worker: threads of ours, and what the hook still takes in."""

    def __init__(self, hook: client_hook.TrainingHook) -> None:
        self.hook, self.parent = hook, os.getpid()

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        threads = [one for one in threading.enumerate() if one.name.startswith("trainguard")]
        self.hook.observe(1.0)
        return torch.tensor([os.getpid() != self.parent, len(threads), len(self.hook._outbox)])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="data-loader workers do not fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 and later warn of what this is about
def test_a_forking_data_loader_inherits_nothing_that_works(tmp_path: Path) -> None:
    training = LittleTraining()
    with serving() as service:
        hook = training.attach(server=service.url, checkpoints=tmp_path / "c", synchronous=False)
        for _ in range(3):
            hook.observe(training.gradients())
            training.update()
        loader = DataLoader(WhatAWorkerSees(hook), batch_size=4, num_workers=2, multiprocessing_context="fork")
        for seen in hook.batches(loader):
            assert seen.tolist() == [[1, 0, 0]] * 4
            hook.observe(training.gradients())
            training.update()
        hook.close()
        assert observed(service.envelopes) == [(0, step) for step in range(5)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to handle")
def test_somebody_elses_handler_stays_in_its_place(tmp_path: Path) -> None:
    with serving() as service, begin(service.url, tmp_path / "checkpoints", 5, "own") as process:
        trained(process)
        process.terminate()
        assert process.wait(30) == 7


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to handle")
def test_what_a_service_that_hangs_did_not_take_is_told_by_the_next_process(tmp_path: Path) -> None:
    with serving(lambda exchange: hang) as service:
        with begin(service.url, tmp_path / "checkpoints", 40) as process:
            trained(process)
            process.terminate()
            assert process.wait(30) == -signal.SIGTERM
        service.fault = lambda exchange: None
        with begin(service.url, tmp_path / "checkpoints", 120) as following:
            trained(following)
            assert following.wait(30) == 0
        seen = observed(service.envelopes)
        abandoned = [step for attempt, step in seen if attempt == 0]
        # What the detectors held in the moment of death is the most that can be missing at the end.
        assert abandoned == list(range(len(abandoned)))
        assert len(abandoned) >= 38
        assert [step for attempt, step in seen if attempt == 1][-1] == 119

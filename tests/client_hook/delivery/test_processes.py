"""What forks and interpreters that end do to a worker: in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from tests.client_hook.delivery.loopback import hang, serving

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")

ATTACH = """
import os, sys, time
from tests.client_hook.delivery.bench import bench
from client_hook.delivery import HttpTransport
b = bench(HttpTransport(sys.argv[1], read_seconds=60.0, total_seconds=60.0))
b.worker.start()
b.observe(0, 1, 2)
"""

FORK = """
b.worker.wake()
while b.worker.status.envelopes_sent < 1:
    time.sleep(0.001)
connection = b.worker._transport._stream.get_extra_info("socket").fileno()
child = os.fork()
if child == 0:
    b.observe(1000)
    b.worker.start()
    b.worker.wake()
    b.worker.exchange()
    is_inert = not b.worker.is_alive and len(b.outbox) == 0 and not os.path.exists(f"/dev/fd/{connection}")
    b.worker.close(5)
    sys.exit(0 if is_inert else 3)  # through the exit handlers
_, code = os.waitpid(child, 0)
b.observe(3)
b.standing.run_state = "finished"
b.worker.close(10)
sys.exit(os.waitstatus_to_exitcode(code))
"""

FORK_IN_MID_PUT = """
import threading
def put():
    while not b.worker._is_closing:
        b.observe(5)
threads = [threading.Thread(target=put) for _ in range(3)]
[thread.start() for thread in threads]
codes = []
for _ in range(20):
    child = os.fork()
    if child == 0:
        b.observe(1000)
        b.outbox.take()
        b.worker.close(5)
        os._exit(0)
    codes.append(os.waitpid(child, 0)[1])
b.worker.close(0)
[thread.join() for thread in threads]
sys.exit(any(codes))
"""


def run(script: str, url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ATTACH + script, url], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@needs_fork
def test_a_forked_child_says_nothing_and_the_parent_goes_on() -> None:
    with serving() as service:
        run(FORK, service.url)
        assert service.steps == [0, 1, 2, 3]
        assert service.envelopes[-1].state == "finished"


@needs_fork
def test_a_fork_while_every_lock_is_busy_leaves_no_child_waiting() -> None:
    with serving() as service:
        run(FORK_IN_MID_PUT, service.url)


def test_a_script_that_never_closes_still_delivers_at_its_exit() -> None:
    with serving() as service:
        run("", service.url)
        assert service.steps == [0, 1, 2]
        assert {envelope.state for envelope in service.envelopes} == {"running"}


def test_loading_httpx_draws_nothing_from_pythons_random_stream() -> None:
    script = """
import random, sys
state = random.getstate()
from client_hook.delivery.http_transport import _load_httpx
_load_httpx()
assert "httpx" in sys.modules
sys.exit(random.getstate() != state)
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


def test_a_service_that_hangs_holds_no_interpreter_at_its_exit() -> None:
    with serving(lambda exchange: hang) as service:
        process = subprocess.Popen(
            [sys.executable, "-c", ATTACH + "print('end', flush=True)", service.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"end\n"
            began = time.monotonic()
            assert process.wait(30) == 0
            assert time.monotonic() - began < 20  # 2 s of patience, not a minute; the rest is a busy machine


LEAVING_BUSY = """
b.worker.wake()
while b.worker.status.envelopes_sent < 1:
    time.sleep(0.001)
b.observe(*range(3, 7000))
b.worker.wake()
time.sleep(0.02)
b.worker.close(0)
sys.exit(b.worker.is_alive)
"""


def test_a_worker_that_is_busy_when_its_time_is_up_ends_before_the_interpreter_does() -> None:
    """One that is in compiled code when the interpreter ends would make it abort, after a training that went well."""
    with serving() as service:
        run(LEAVING_BUSY, service.url)

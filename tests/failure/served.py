"""`trainguard serve` in a process of its own, that a test may kill."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import httpx

START_WITHIN_SECONDS = 60
_ADDRESS = re.compile(rb"serving (http://127\.0\.0\.1:(\d+)) ")


class Served:
    """A service over one database and one port, started as often as a test likes."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "trainguard.db"
        self.port = 0
        self.address = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and come back when it is ready. The first start chooses the port, later ones keep it."""
        assert self._process is None
        arguments = ["serve", "--port", str(self.port), "--database", f"sqlite:///{self.database}"]
        self._process = subprocess.Popen(
            [str(Path(sys.executable).with_name("trainguard")), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self._process.stderr is not None
        said = b""
        for line in self._process.stderr:
            said += line
            if found := _ADDRESS.search(line):
                self.address, self.port = found[1].decode(), int(found[2])
                break
        else:
            raise AssertionError(f"the service did not start: {said.decode()}")
        # It listens already, so the first request waits until it can be answered.
        assert httpx.get(f"{self.address}/readyz", timeout=START_WITHIN_SECONDS).status_code == 200

    def kill(self) -> None:
        """SIGKILL: no goodbye, no flush."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        assert self._process is not None
        process, self._process = self._process, None
        process.send_signal(how)
        _, said = process.communicate(timeout=60)
        assert b"Traceback" not in said, said.decode()
        return process.returncode

    def __enter__(self) -> Served:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.kill()

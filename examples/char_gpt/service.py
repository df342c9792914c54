"""The real service as a child process, on a SQLite file of its own: `trainguard serve` and nothing less."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sysconfig
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

START_SECONDS = 60.0
STOP_SECONDS = 15.0


class ServiceFailed(RuntimeError):
    """The service did not start, or gave no usable answer; the message holds the end of its log."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Service:
    """Started by ``start``, ended by ``stop``; also a context manager that does both.

    It may be started again after ``stop`` or ``kill``, on the same port and database.
    """

    def __init__(self, database: Path, log: Path, port: int | None = None) -> None:
        self.database = database
        self.log = log
        self.port = port if port is not None else free_port()
        self._process: subprocess.Popen[bytes] | None = None
        # The service is on this machine: a proxy from the environment has no business here.
        self._client = httpx.Client(base_url=self.url, timeout=10.0, trust_env=False)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The child's process id, while there is a child."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it and wait until it is ready. Raises `ServiceFailed` with the end of its log."""
        program = Path(sysconfig.get_path("scripts")) / "trainguard"
        command = [str(program), "serve", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--database", f"sqlite:///{self.database.resolve()}"]
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C is for the demo, which then ends the service in good order.
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServiceFailed(f"the service did not start; the end of {self.log}:\n{self._last_words()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ask it to end, and insist after a while."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """SIGKILL: no farewell, no flush."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def leave_running(self) -> subprocess.Popen[bytes] | None:
        """Let go of the child, so that it outlives us; whoever wants to end it is given it."""
        process, self._process = self._process, None
        return process

    def get(self, path: str, **parameters: Any) -> Any:
        """The JSON answer of ``/api/v1{path}``. Raises `ServiceFailed` where there is none."""
        try:
            response = self._client.get(f"/api/v1{path}", params=parameters)
            response.raise_for_status()
            return response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ServiceFailed(f"{self.url}/api/v1{path}: {error}; the service's log is {self.log}") from error

    def __enter__(self) -> Service:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._client.close()

    def _is_ready(self) -> bool:
        try:
            return self._client.get("/readyz", timeout=2.0).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def _last_words(self, lines: int = 15) -> str:
        try:
            return os.linesep.join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError as error:
            return str(error)

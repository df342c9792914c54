"""A service behind a real socket, in a thread of the test."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from monitor_server.app import create_app
from monitor_server.cli.serving import Serving
from monitor_server.settings import Settings
from tests.monitor_server.service import AS_JSON, Trainer


class Running:
    """A service behind a real socket."""

    def __init__(self, settings: Settings) -> None:
        self.app = create_app(settings)
        config = uvicorn.Config(self.app, log_config=None, lifespan="on", timeout_graceful_shutdown=20)
        self.server = Serving(config, self.app.state.service.feed)
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.client = httpx.Client(base_url=f"{self.address}/api/v1", headers=AS_JSON, timeout=60)
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]})
        self._thread.start()
        # It listens before it is up: this waits in its line.
        httpx.get(f"{self.address}/readyz", timeout=60).raise_for_status()

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(60)
        self.client.close()
        assert not self._thread.is_alive()

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.client.post(path, content=body if isinstance(body, str) else body.model_dump_json())

    def train(self, trainer: Trainer, *stretches: tuple[float, ...]) -> None:
        self.post("/runs", trainer.description()).raise_for_status()
        for losses in stretches:
            envelope = trainer.steps(losses, checkpoints=[trainer.checkpoint(0)])
            self.post(f"/runs/{trainer.run_id}/envelopes", envelope).raise_for_status()

    @contextmanager
    def follow(self, last_event_id: str | None = None, **query: Any) -> Iterator[Iterator[dict[str, Any]]]:
        """The stream's events, one by one, after the first one was read.

        A stream that was just left holds its seat until the service notices: whoever finds none waits a moment.
        """
        headers = {} if last_event_id is None else {"last-event-id": last_event_id}
        deadline = time.monotonic() + 30.0
        while True:
            with self.client.stream("GET", "/events", params=query, headers=headers) as response:
                if response.status_code == 503 and time.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                assert response.status_code == 200, response.read()
                assert response.headers["content-type"].startswith("text/event-stream")
                yield _events(response)
                return


def _events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    told: dict[str, Any] = {}
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if line == "":
            if told:
                yield told
            told = {}
        elif name == "data":
            told["data"] = json.loads(value)
        elif name:
            told[name] = value

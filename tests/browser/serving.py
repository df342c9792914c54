"""The service on a free port, in a thread of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from monitor_server.app import create_app
from monitor_server.settings import Settings


class _Server(uvicorn.Server):
    """Says when it is ready, so that nobody need ask again and again."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_ready = threading.Event()

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        self.is_ready.set()


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[str]:
    """The address of a service whose database lies in ``folder``; port 0 takes any free one."""
    app = create_app(Settings(database=f"sqlite:///{folder / 'trainguard.db'}"))
    server = _Server(uvicorn.Config(app, port=port, log_level="error", lifespan="on", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert server.is_ready.wait(timeout=60)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        app.state.service.feed.close()  # pages follow, and a service that drains would wait for them
        server.should_exit = True
        thread.join(timeout=60)

"""Running the service until it is asked to stop."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any, NoReturn

import uvicorn
from fastapi import FastAPI
from sqlalchemy.engine import make_url

from monitor_server.access import require_a_reason_to_be_open
from monitor_server.app import create_app
from monitor_server.cli.patience import PatientForAWhile
from monitor_server.cli.workers import Supervisor
from monitor_server.live import EventFeed
from monitor_server.logs import begin_logging
from monitor_server.receivers import ReceiversError
from monitor_server.settings import Settings, SettingsError, read_settings
from monitor_server.storage import Database, DatabaseUnavailable, SchemaError, schema

logger = logging.getLogger("trainguard")

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75
DRAIN_SECONDS = 15
"""Requests in hand at SIGTERM are answered; what takes longer is cut off."""
COLLECT_AFTER = 2_000, 2_000, 100
"""Objects made and not freed before cycles are looked for, and how many such looks before a longer one (Python's own:
700, 10, 10). A look holds everybody up. It goes through all that is young, which is far more than is counted here: who
frees an old object for each new one counts nothing. 15,000 took several times as long as 2,000.
Python's ten looks before a longer one would go through a transaction's rows again and again, a quarter of the time.
"""

SWITCH_SECONDS = 0.001
"""How long the thread that reads requests may keep the interpreter while the one that records them has its database's
answer in hand (Python's own: 5 ms). A transaction waits for some ten answers.
"""


class Serving(uvicorn.Server):
    """Ends the streams of events when it is asked to stop: a drain would wait for them in vain."""

    def __init__(self, config: uvicorn.Config, feed: EventFeed) -> None:
        super().__init__(config)
        self._feed = feed

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say goodbye to those who follow, then drain as ever."""
        self._feed.close()
        await super().shutdown(sockets)


def run_service(given: Mapping[str, Any]) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in hand. Whatever cannot begin is said in one sentence."""
    try:
        settings = read_settings(given)
        begin_logging(settings.log_format)
        _prepare_database(settings)
    except SettingsError as error:
        _give_up(str(error), status=2)
    except (DatabaseUnavailable, SchemaError) as error:
        _give_up(str(error))
    listener = _bind(settings, listens=settings.workers == 1)
    settings = settings.model_copy(update={"port": listener.getsockname()[1]})
    if settings.workers > 1:
        # Only bound: it keeps the port, and connections come to the workers' own sockets.
        _build(settings)
        # Those listen already, so that whoever comes before the workers are up waits for them.
        listeners = [_bind(settings) for _ in range(settings.workers)]
        logger.info("serving %s on %s with %d workers", settings.page_url, _shown(settings), settings.workers)
        Supervisor(settings, _work, listeners).run()
        listener.close()
        return
    app = _build(settings)
    logger.info("serving %s on %s", settings.page_url, _shown(settings))
    _serve(app, listener)


def _work(settings: Settings, index: int, listener: socket.socket | None) -> None:
    """One worker of several, in a process of its own; one that takes a dead one's place makes its own ``listener``.

    It does so when it is ready: until then the others have all connections.
    """
    begin_logging(settings.log_format)
    # Ctrl-C reaches the whole group; the supervisor says when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    app = _build(settings)
    _serve(app, listener or _bind(settings))


def _end_with(parent: int) -> None:
    """A worker whose supervisor was killed would hold the port for ever."""
    while os.getppid() == parent:
        time.sleep(1.0)
    logger.warning("the supervisor is gone; this worker ends as well")
    os.kill(os.getpid(), signal.SIGTERM)


def _build(settings: Settings) -> FastAPI:
    try:
        return create_app(settings)
    except ReceiversError as error:
        _give_up(str(error), status=2)


def _serve(app: FastAPI, listener: socket.socket) -> None:
    signal.signal(signal.SIGTERM, _leave)
    config = uvicorn.Config(
        app,
        http=PatientForAWhile,
        log_config=None,
        access_log=False,
        server_header=False,
        # Trainers write every few seconds: a new connection each time would cost more than the message.
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        lifespan="on",
    )
    # Modules, routes and models are half a million objects that stay: a full collection that looks through them all
    # would hold up whoever waits for a receipt by a tenth of a second.
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        Serving(config, app.state.service.feed).run(sockets=[listener])
    except KeyboardInterrupt:
        logger.info("stopped")


def _prepare_database(settings: Settings) -> None:
    """Bring the schema up to date before anybody can connect."""
    try:
        database = Database(settings.database)
        schema.upgrade(database)
        require_a_reason_to_be_open(database, settings)
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(f"{_shown(settings)}: {error}") from error
    database.close()


def _bind(settings: Settings, *, listens: bool = True) -> socket.socket:
    # Bound here and not by uvicorn, which would say the port it was asked for (0) and end with a traceback. And
    # listening from now on: whoever comes while the service starts waits a moment, instead of being refused.
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if settings.workers > 1:
        # The kernel spreads connections evenly over sockets of the same port; over processes that share a socket
        # it does not, and a trainer keeps its connection for days.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((settings.host, settings.port))
        if listens:
            listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        place = f"{settings.host} port {settings.port}"
        _give_up(f"cannot listen on {place}: {error.strerror or error}; choose another with --port")
    return listener


def _shown(settings: Settings) -> str:
    return make_url(settings.database).render_as_string(hide_password=True)


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    # While it serves, uvicorn catches the signal itself, drains, and raises it again: then we end as asked.
    raise SystemExit(0)


def _give_up(sentence: str, *, status: int = 1) -> NoReturn:
    print(f"trainguard: {sentence}", file=sys.stderr)
    raise SystemExit(status)

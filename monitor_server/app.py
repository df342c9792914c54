"""The composition root: every piece of the service, put together in one straight line."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from monitor_server import api, web
from monitor_server.access import Keeper
from monitor_server.housekeeping import Housekeeper
from monitor_server.live import EventFeed, LiveMemory
from monitor_server.notifiers import Courier
from monitor_server.pipeline import Ingest
from monitor_server.settings import Settings
from monitor_server.storage import Database, schema
from monitor_server.telemetry import Telemetry
from trainguard import __version__


def create_app(settings: Settings, *, clock: Callable[[], float] = time.time) -> FastAPI:
    """The application. The database is not touched before its lifespan begins.

    ``clock`` tells seconds since 1970 (UTC). Start-up raises `DatabaseUnavailable` or `SchemaError`.
    """
    database = Database(settings.database)
    memory = LiveMemory(settings.live_runs)
    telemetry = Telemetry(database, settings, clock=clock)
    ingest = Ingest(database, memory, settings, clock=clock)
    courier = Courier(database, settings, clock=clock, on_outcome=telemetry.notification)
    feed = EventFeed(database)
    keeper = Keeper(database, settings, clock=clock)
    housekeeper = Housekeeper(database, settings, clock=clock)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.callback(database.close)
            await run_in_threadpool(schema.upgrade, database)
            for piece in (feed, ingest, courier, housekeeper):
                piece.start()
                stack.push_async_callback(run_in_threadpool, piece.stop)
            yield

    app = FastAPI(
        title="trainguard",
        version=__version__,
        description="Watches training runs, and brings them back when they go wrong.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        exception_handlers=dict(api.HANDLERS),
        separate_input_output_schemas=False,
    )
    app.state.service = api.Service(settings, database, ingest, telemetry, feed, keeper, clock, api.Readiness(database))
    for router in api.ROUTERS:
        # `include_router` would make every route a second time, at the first request, and have each path looked for
        # in one router after the other.
        app.router.routes.extend(router.routes)
    app.openapi = lambda: api.document(app)  # type: ignore[method-assign]
    web.open_pages(app)
    app.add_middleware(api.KnownHosts, hosts=settings.known_hosts)
    app.add_middleware(api.RequestIds)
    return app

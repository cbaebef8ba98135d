"""Builds the server's application from its settings, and what runs beside it."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator

from fastapi import FastAPI

import backstay
from backstay.server import agent_api, background, problems
from backstay.server.api.description import describe
from backstay.server.api.router import router as api
from backstay.server.control import Clock, Control, utc_now
from backstay.server.database import Database
from backstay.server.gateway import Gateway
from backstay.server.installing.routes import router as installers
from backstay.server.metrics_page import metrics_router
from backstay.server.observing import Observing
from backstay.server.repositories import Repositories
from backstay.server.request_limits import RequestLimits
from backstay.server.settings import ServerKey, ServerSettings
from backstay.server.small_talk import SmallTalk
from backstay.server.waiting_agents import WaitingAgents
from backstay.server.web.router import router as console


def open_control(settings: ServerSettings, *, clock: Clock = utc_now) -> Control:
    """Open the database (made or upgraded where needed) and the key. Raises ServerError, UsageError."""
    key = ServerKey.load(settings.folder)
    database = Database(settings.database_url, key)
    database.upgrade()
    return Control(
        settings=settings,
        database=database,
        key=key,
        repositories=Repositories(database, key, settings.folder),
        instance=secrets.token_hex(8),
        small_talk=SmallTalk(database, at_once=not settings.background),
        clock=clock,
    )


def create_app(control: Control) -> FastAPI:
    """The application: agents, REST API and console of one server process."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        woken = app.state.woken = asyncio.Event()
        waiting_agents = app.state.waiting_agents = WaitingAgents(control)

        def pulse() -> None:
            woken.set()
            woken.clear()
            waiting_agents.stir()

        def wake() -> None:
            loop.call_soon_threadsafe(pulse)

        control.wakeups.listen(wake)
        with control.metrics.timing(control.database.engine):
            async with background.running(control):
                calling = asyncio.create_task(waiting_agents.call_for_ever())
                yield
                calling.cancel()

    app = FastAPI(
        title="Backstay",
        version=backstay.__version__,
        description="Self-hosted backup for file servers.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.control = control
    problems.install(app)
    describe(app)
    # The first: a backup asks and sends many times a second, and each route before these would be tried.
    app.router.routes.extend(Gateway(control).routes())
    app.include_router(agent_api.router)
    app.include_router(api)
    app.include_router(metrics_router(control))
    app.include_router(installers)
    app.add_middleware(RequestLimits)
    app.add_middleware(Observing, metrics=control.metrics)
    # The last: its pages take every address that is left.
    app.include_router(console)
    return app

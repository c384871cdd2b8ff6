"""The application."""

from __future__ import annotations

from fastapi import FastAPI

from dataengine.annotations import Store
from dataengine.annotator import refusals
from dataengine.annotator.access import FailedLogins
from dataengine.annotator.context import Context
from dataengine.annotator.hardening import BodyLimit, SecurityHeaders
from dataengine.annotator.page import serve_page
from dataengine.annotator.protocols import Decoder, Media, QueueClient
from dataengine.annotator.routes import images, people, session, statistics, tasks
from dataengine.annotator.settings import ServerSettings

OPENAPI = "/api/openapi.json"


def create_app(
    store: Store,
    media: Media,
    settings: ServerSettings | None = None,
    *,
    queue: QueueClient | None = None,
    decoder: Decoder | None = None,
) -> FastAPI:
    """An ASGI application. Without `queue`, leases are decided on the store directly."""
    settings = settings or ServerSettings()
    # Swagger's page would load scripts from elsewhere, which the page's policy forbids; the schema is there.
    app = FastAPI(title="Annotation server", version="1", openapi_url=OPENAPI, docs_url=None, redoc_url=None)
    app.state.context = Context(
        store=store,
        queue=queue or store.queue,
        media=media,
        decoder=decoder,
        settings=settings,
        failed_logins=FailedLogins(settings.logins_per_minute),
    )
    refusals.install(app)
    for room in (session, tasks, images, people, statistics):
        app.include_router(room.router)
    serve_page(app, settings.web)
    app.add_middleware(BodyLimit, limit=settings.body_bytes)
    app.add_middleware(SecurityHeaders)
    return app

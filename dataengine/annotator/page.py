"""The built page: index.html and its assets."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

NOT_BUILT = "the page is not built: make web\n"


class Assets(StaticFiles):
    """Files whose names hold their hash: they never change."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if response.status_code == 200:
            response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response


def serve_page(app: FastAPI, folder: Path) -> None:
    """`/` and `/assets/*` from `folder`, plus the few files beside the index; 503 as long as nothing is built."""
    index = folder / "index.html"

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        if not index.is_file():
            return PlainTextResponse(NOT_BUILT, 503)
        return FileResponse(index, headers={"cache-control": "no-cache"})

    # Mounted even where the folder is missing, so that building the page needs no restart.
    app.mount("/assets", Assets(directory=folder / "assets", check_dir=False), name="assets")

    @app.get("/{name}", include_in_schema=False)
    def beside(name: str) -> Response:
        # A file directly in the folder, named as it is there: nothing is joined that a stranger chose.
        known = {path.name: path for path in folder.glob("*") if path.is_file()} if folder.is_dir() else {}
        if name not in known:
            return PlainTextResponse("not found\n", 404)
        return FileResponse(known[name], headers={"cache-control": "no-cache"})

"""Refusals as JSON: {"error": {"code", "message", ...}}, whatever raised them."""

from __future__ import annotations

import logging
from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dataengine.annotations.errors import ConflictError, ForbiddenError, InvalidError, MissingError, StoreError

log = logging.getLogger("dataengine.annotator")

_STATUS: dict[type[StoreError], int] = {ConflictError: 409, ForbiddenError: 403, MissingError: 404, InvalidError: 422}
_CODES = {401: "not_logged_in", 403: "forbidden", 404: "not_found", 405: "method", 413: "too_large"}


class RefusedError(Exception):
    """A refusal of the server itself."""

    def __init__(self, status: int, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status, self.code, self.details = status, code, details


def refusal(status: int, code: str, message: str, **details: Any) -> JSONResponse:
    headers = {"Retry-After": str(details["retry_after"])} if "retry_after" in details else None
    return JSONResponse({"error": {"code": code, "message": message, **details}}, status, headers=headers)


def install(app: FastAPI) -> None:
    """Makes every error of the application one of these answers."""

    @app.exception_handler(RefusedError)
    def _refused(_: Request, error: RefusedError) -> JSONResponse:
        return refusal(error.status, error.code, str(error), **error.details)

    @app.exception_handler(StoreError)
    def _store(_: Request, error: StoreError) -> JSONResponse:
        return refusal(_STATUS.get(type(error), 409), error.code, str(error), **error.details)

    @app.exception_handler(RequestValidationError)
    def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        # Never the input itself: it may be megabytes, or a password.
        return refusal(422, "invalid", f"{where}: {first['msg']}")

    @app.exception_handler(sa.exc.IntegrityError)
    def _raced(_: Request, error: sa.exc.IntegrityError) -> JSONResponse:
        log.warning("two requests collided: %s", error.orig)
        return refusal(409, "conflict", "another request did the same at the same moment; try again")

    @app.exception_handler(sa.exc.OperationalError)
    def _database(_: Request, error: sa.exc.OperationalError) -> JSONResponse:
        log.error("the database does not answer: %s", error.orig)
        return refusal(503, "database", "the database does not answer; nothing was saved, try again", retry_after=2)

    @app.exception_handler(HTTPException)
    def _http(_: Request, error: HTTPException) -> JSONResponse:
        return refusal(error.status_code, _CODES.get(error.status_code, "refused"), str(error.detail))

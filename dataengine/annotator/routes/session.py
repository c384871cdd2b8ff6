"""Logging in and out."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from dataengine.annotator.access import COOKIE, CurrentAccess, CurrentContext, CurrentUser, require_own_origin
from dataengine.annotator.context import Context
from dataengine.annotator.refusals import RefusedError
from dataengine.annotator.wire import ChangeMe, LinkLogin, Login
from schemas.annotations import User

router = APIRouter(prefix="/api", tags=["session"])


@router.post("/session")
def log_in(body: Login, request: Request, response: Response, context: CurrentContext) -> dict[str, Any]:
    require_own_origin(request, context, needed=False)
    keys = _keys(request, body.name)
    context.failed_logins.require_patience(*keys)
    user = context.store.people.authenticate(body.name, body.password)
    if user is None:
        context.failed_logins.failed(*keys)
        raise RefusedError(401, "wrong_password", "name or password is wrong")
    return _begin(context, response, user)


@router.post("/session/link")
def log_in_by_link(body: LinkLogin, request: Request, response: Response, context: CurrentContext) -> dict[str, Any]:
    """Spends a one-time link; set a password next with PUT /api/users/me."""
    require_own_origin(request, context, needed=False)
    keys = _keys(request, "link:")
    context.failed_logins.require_patience(*keys)
    user = context.store.people.use_link(body.token)
    if user is None:
        context.failed_logins.failed(*keys)
        raise RefusedError(401, "link", "this link is not valid any more")
    return _begin(context, response, user)


@router.get("/session")
def who_am_i(user: CurrentUser) -> dict[str, Any]:
    return {"user": user.model_dump(), "csrf": None}


@router.delete("/session")
def log_out(access: CurrentAccess, response: Response, context: CurrentContext) -> dict[str, Any]:
    context.store.people.revoke(access.token_hash)
    response.delete_cookie(COOKIE, path="/")
    return {"user": None}


@router.put("/users/me")
def change_me(body: ChangeMe, response: Response, user: CurrentUser, context: CurrentContext) -> dict[str, Any]:
    """A new password (and name). Ends every other session of this user."""
    changed = context.store.people.change(user.id, by=user.id, name=body.name, password=body.password)
    return _begin(context, response, changed)


def _begin(context: Context, response: Response, user: User) -> dict[str, Any]:
    settings = context.settings
    secret = context.store.people.issue(user.id, "session", settings.session_seconds)
    response.set_cookie(
        COOKIE,
        secret,
        max_age=int(settings.session_seconds),
        path="/",
        httponly=True,
        samesite="strict",
        secure=settings.secure_cookie,
    )
    return {"user": user.model_dump(), "csrf": None}


def _keys(request: Request, name: str) -> tuple[str, str]:
    address = request.client.host if request.client else "unknown"
    return f"name:{name}", f"address:{address}"

"""Users and tokens: for admins."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path

from dataengine.annotations.errors import ForbiddenError
from dataengine.annotator.access import CurrentAdmin, CurrentContext
from dataengine.annotator.wire import ChangeUser, NewToken, NewUser, iso

router = APIRouter(prefix="/api", tags=["people"])

UserId = Annotated[int, Path(ge=1, lt=2**63)]
DAY = 86_400.0


@router.get("/users")
def users(admin: CurrentAdmin, context: CurrentContext) -> dict[str, Any]:
    return {"users": [user | {"created_at": iso(user["created_at"])} for user in context.store.people.all()]}


@router.post("/users", status_code=201)
def add_user(body: NewUser, admin: CurrentAdmin, context: CurrentContext) -> dict[str, Any]:
    """Without a password the answer holds a one-time link to hand to the new user."""
    people = context.store.people
    user = people.add(body.name, body.role, body.password)
    link = None
    if body.password is None and body.role != "service":
        link = people.issue(user.id, "link", 7 * DAY, "invitation")
    return {"user": user.model_dump(), "link": f"/#link={link}" if link else None}


@router.patch("/users/{user_id}")
def change_user(user_id: UserId, body: ChangeUser, admin: CurrentAdmin, context: CurrentContext) -> dict[str, Any]:
    if user_id == admin.id and (body.active is False or body.role not in (None, "admin")):
        raise ForbiddenError("own_account", "an admin can't close or demote his own account")
    changes = body.model_dump(exclude_none=True)
    return {"user": context.store.people.change(user_id, by=admin.id, **changes).model_dump()}


@router.post("/tokens", status_code=201)
def issue_token(body: NewToken, admin: CurrentAdmin, context: CurrentContext) -> dict[str, Any]:
    """A token for a program, or a one-time link for a person; shown this once."""
    people = context.store.people
    user = people.named(body.user)
    token = people.issue(user.id, body.scope, body.days * DAY, body.label)  # type: ignore[arg-type]
    return {"token": token, "user": user.model_dump(), "scope": body.scope}

"""Who is asking: sessions by cookie, programs by bearer token, and what keeps strangers out."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from dataengine.annotations.people import Access
from dataengine.annotator.context import Context, context_of
from dataengine.annotator.refusals import RefusedError
from schemas.annotations import User

COOKIE = "dataengine_session"
READS = ("GET", "HEAD", "OPTIONS")


class FailedLogins:
    """At most so many failed log-ins a minute for one name, and for one address."""

    WINDOW = 60.0
    REMEMBERED = 10_000

    def __init__(self, per_minute: int) -> None:
        self._most = per_minute
        self._failures: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def require_patience(self, *keys: str) -> None:
        """Raises RefusedError (429) when one of the keys has failed too often just now."""
        with self._lock:
            waits = [wait for key in keys if (wait := self._wait(key)) > 0]
        if waits:
            seconds = int(max(waits)) + 1
            raise RefusedError(429, "too_many", f"too many failed log-ins; wait {seconds} s", retry_after=seconds)

    def failed(self, *keys: str) -> None:
        with self._lock:
            if len(self._failures) > self.REMEMBERED:
                self._failures = {key: times for key, times in self._failures.items() if self._wait(key) > 0}
            for key in keys:
                self._failures.setdefault(key, deque(maxlen=self._most)).append(time.monotonic())

    def _wait(self, key: str) -> float:
        times = self._failures.get(key)
        if times is None or len(times) < self._most:
            return 0.0
        return self.WINDOW - (time.monotonic() - times[0])


def require_own_origin(request: Request, context: Context, *, needed: bool) -> None:
    """Refuses (403) a write that another site's page sent. `needed`: refuse also where no origin is stated."""
    origin = request.headers.get("origin")
    if origin is None:
        if needed:
            raise RefusedError(403, "origin", "a write with a session cookie must state its origin")
        return
    if origin in context.settings.origins:
        return
    # A proxy may end TLS: the scheme may differ, the host must not.
    if urlsplit(origin).netloc != request.headers.get("host"):
        raise RefusedError(403, "origin", f"writes from {origin[:100]} are not allowed here")


def access_of(request: Request, context: Annotated[Context, Depends(context_of)]) -> Access:
    """The session or token of this request. 401 without one, 403 for what its scope doesn't cover."""
    kind, _, bearer = request.headers.get("authorization", "").partition(" ")
    cookie = request.cookies.get(COOKIE)
    by_cookie = kind.lower() != "bearer"
    secret = cookie if by_cookie else bearer.strip()
    found = context.store.people.access(secret) if secret else None
    if found is None or (found.scope == "session") != by_cookie:
        raise RefusedError(401, "not_logged_in", "log in first")
    if request.method not in READS:
        if by_cookie:
            require_own_origin(request, context, needed=True)
        elif found.scope == "read":
            raise RefusedError(403, "scope", "this token may only read")
    return found


def user_of(access: Annotated[Access, Depends(access_of)]) -> User:
    return access.user


def reviewer_of(user: Annotated[User, Depends(user_of)]) -> User:
    """403 for anybody below reviewer; services may read what reviewers may."""
    if user.role not in ("reviewer", "admin", "service"):
        raise RefusedError(403, "role", f"this needs a reviewer, not {user.role}")
    return user


def admin_of(user: Annotated[User, Depends(user_of)]) -> User:
    if user.role != "admin":
        raise RefusedError(403, "role", f"this needs an admin, not {user.role}")
    return user


CurrentContext = Annotated[Context, Depends(context_of)]
CurrentAccess = Annotated[Access, Depends(access_of)]
CurrentUser = Annotated[User, Depends(user_of)]
CurrentReviewer = Annotated[User, Depends(reviewer_of)]
CurrentAdmin = Annotated[User, Depends(admin_of)]

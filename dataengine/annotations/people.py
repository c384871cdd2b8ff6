"""Users and their tokens. Passwords as argon2id, tokens as sha256: the database holds nothing to log in with."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import Row

from dataengine.annotations.database import Database
from dataengine.annotations.errors import ConflictError, InvalidError, MissingError
from dataengine.annotations.tables import token, user
from schemas.annotations import Role, User

Scope = Literal["session", "link", "read", "write"]
"""session: a browser; link: good for one log-in; read, write: programs, which may only read or do all."""

SHORTEST_PASSWORD = 8
LONGEST_PASSWORD = 1024

_hasher = PasswordHasher()
_NOBODY = _hasher.hash(secrets.token_urlsafe(16))
"""Checked for a name that isn't there, so that the time of an answer doesn't tell which names are."""


@dataclass(frozen=True)
class Access:
    """Whom a token belongs to and what it is good for."""

    user: User
    scope: Scope
    token_hash: str


class People:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, role: Role, password: str | None = None) -> User:
        """Raises ConflictError when the name is taken. Without a password: by one-time link or token only."""
        hashed = _hashed(password) if password is not None else None
        with self._database.write() as tx:
            if tx.execute(sa.select(user.c.id).where(user.c.name == name)).first() is not None:
                raise ConflictError("name_taken", f"there is a user {name} already")
            values = {"name": name, "role": role, "password": hashed, "active": True, "created_at": tx.now}
            row = tx.execute(user.insert().values(**values).returning(*user.c)).one()
            tx.record("add_user", user=row.id, role=role)
            return _view(row)

    def all(self) -> list[dict[str, Any]]:
        """Everybody, without their hashes."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(user).order_by(user.c.id)).all()
        return [_view(row).model_dump() | {"active": row.active, "created_at": row.created_at} for row in rows]

    def named(self, name: str) -> User:
        """Raises MissingError."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(user).where(user.c.name == name)).first()
        if row is None:
            raise MissingError("no_user", f"there is no user {name}")
        return _view(row)

    def authenticate(self, name: str, password: str) -> User | None:
        """The user, when the password is right and the account is active; takes equally long otherwise."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(user).where(user.c.name == name)).first()
        known = row is not None and row.password is not None and row.active
        if not _matches(row.password if row is not None and known else _NOBODY, password):
            return None
        return _view(row) if row is not None and known else None

    def change(
        self,
        user_id: int,
        *,
        by: int,
        name: str | None = None,
        role: Role | None = None,
        password: str | None = None,
        active: bool | None = None,
    ) -> User:
        """Changes what is given. A new password or a closed account ends all of the user's tokens."""
        changes: dict[str, Any] = {"name": name, "role": role, "active": active}
        changes = {key: value for key, value in changes.items() if value is not None}
        told = dict(changes)
        if password is not None:
            changes["password"] = _hashed(password)
            told["password"] = "changed"
        with self._database.write() as tx:
            row = tx.execute(sa.select(user).where(user.c.id == user_id).with_for_update(key_share=True)).first()
            if row is None:
                raise MissingError("no_user", f"there is no user {user_id}")
            same = sa.select(user.c.id).where(user.c.name == name, user.c.id != user_id)
            if name is not None and tx.execute(same).first() is not None:
                raise ConflictError("name_taken", f"there is a user {name} already")
            if changes:
                tx.execute(sa.update(user).where(user.c.id == user_id).values(**changes))
            if password is not None or active is False:
                tx.execute(_revoke(token.c.user_id == user_id, tx.now))
            tx.record("change_user", user=by, changed=user_id, **told)
            return _view(tx.execute(sa.select(user).where(user.c.id == user_id)).one())

    def has_admin(self) -> bool:
        """Somebody can log in as admin by password."""
        query = sa.select(user.c.id).where(user.c.role == "admin", user.c.active, user.c.password.is_not(None))
        with self._database.read() as connection:
            return connection.execute(query.limit(1)).first() is not None

    # tokens ------------------------------------------------------------------------------------------

    def issue(self, user_id: int, scope: Scope, seconds: float, label: str = "") -> str:
        """A new token, shown this once; a new `link` ends the user's older ones."""
        secret = secrets.token_urlsafe(32)
        with self._database.write() as tx:
            if tx.execute(sa.select(user.c.id).where(user.c.id == user_id)).first() is None:
                raise MissingError("no_user", f"there is no user {user_id}")
            if scope == "link":
                tx.execute(_revoke(sa.and_(token.c.user_id == user_id, token.c.scope == "link"), tx.now))
            values = {"hash": _token_hash(secret), "user_id": user_id, "scope": scope, "label": label[:128]}
            tx.execute(token.insert().values(created_at=tx.now, expires_at=tx.now + int(seconds * 1000), **values))
            if scope != "session":
                tx.record("issue_token", user=user_id, scope=scope, label=label[:128])
        return secret

    def access(self, secret: str) -> Access | None:
        """Whom a session or program token belongs to; None when it is unknown, expired, revoked or a link."""
        with self._database.read() as connection:
            found = self._find(connection, secret)
        return found if found is not None and found.scope != "link" else None

    def use_link(self, secret: str) -> User | None:
        """Spends a one-time link; None when it is not one, too old or spent."""
        with self._database.write() as tx:
            found = self._find(tx.connection, secret)
            if found is None or found.scope != "link":
                return None
            spent = tx.execute(_revoke(token.c.hash == found.token_hash, tx.now)).rowcount
            return found.user if spent else None

    def revoke(self, token_hash: str) -> None:
        with self._database.write() as tx:
            tx.execute(_revoke(token.c.hash == token_hash, tx.now))

    def _find(self, connection: sa.Connection, secret: str) -> Access | None:
        query = (
            sa.select(user, token.c.scope, token.c.hash)
            .join(token, token.c.user_id == user.c.id)
            .where(
                token.c.hash == _token_hash(secret),
                token.c.revoked_at.is_(None),
                token.c.expires_at > self._database.now(connection),
                user.c.active,
            )
        )
        row = connection.execute(query).first()
        return Access(_view(row), row.scope, row.hash) if row is not None else None


def _revoke(which: sa.ColumnElement[bool], now: int) -> sa.Update:
    return sa.update(token).where(which, token.c.revoked_at.is_(None)).values(revoked_at=now)


def _token_hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _hashed(password: str) -> str:
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InvalidError("password", f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters")
    return _hasher.hash(password)


def _matches(hashed: str, password: str) -> bool:
    try:
        return _hasher.verify(hashed, password[:LONGEST_PASSWORD])
    except (VerifyMismatchError, InvalidHashError):
        return False


def _view(row: Row[Any]) -> User:
    return User(id=row.id, name=row.name, role=row.role)

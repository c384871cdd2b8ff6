"""Why the store said no. `code` is for programs, the text for people, `details` for both."""

from __future__ import annotations

from typing import Any

from dataengine.errors import EngineError


class StoreError(EngineError):
    """Base of all refusals."""

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code, self.details = code, details

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword arguments of exceptions get lost on their way between processes otherwise.
        return _rebuild, (type(self), self.code, str(self), self.details)


class ConflictError(StoreError):
    """The state of things has moved on: lease lost, fence old, transition not possible now."""


class ForbiddenError(StoreError):
    """The role doesn't allow it."""


class MissingError(StoreError):
    """There is no such thing."""


class InvalidError(StoreError):
    """The content is wrong, whatever the state."""


def _rebuild(kind: type[StoreError], code: str, message: str, details: dict[str, Any]) -> StoreError:
    return kind(code, message, **details)

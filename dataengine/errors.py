"""Errors that a person can act on. The command line prints their one line and no traceback."""

from __future__ import annotations


class EngineError(Exception):
    """Something the user can mend: the message says what, where and what to do, in one line."""


class ConfigError(EngineError):
    """`engine.yaml`, a flag or the combination of both is wrong (exit code 2)."""


class RejectedImageError(Exception):
    """An input that can't become an image row with status `ok`; `str(error)` is the row's reason."""


class SourceGoneError(EngineError):
    """This one input is gone or can't be read; another one of the same source can."""

"""`dataengine init`: what a person types in some folder must mean the same from the home."""

from __future__ import annotations

from pathlib import Path

from dataengine.catalog.sources import check_source
from dataengine.errors import ConfigError


def absolute_sources(sources: list[str]) -> list[str]:
    """Local paths made absolute, URLs as they are.

    Raises ConfigError for a local path that doesn't exist and for a URL that no command would open.
    """
    return [_absolute(source) for source in sources]


def _absolute(source: str) -> str:
    if check_source(source):
        return source
    path = Path(source).expanduser().absolute()
    if not path.exists() and not any(sign in source for sign in "*?["):
        raise ConfigError(f"--images {source}: no such file or folder")
    return str(path)

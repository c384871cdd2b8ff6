"""What a shard's bytes depend on, as named facts. Same facts, same plan: same sha256 of every shard."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataengine.errors import ConfigError

_PURE_ROOMS = ("automask", "catalog", "masks", "model", "privacy", "shards")
_IMAGE_LIBRARIES = ("numpy", "pillow", "opencv-python-headless", "pycocotools", "pyarrow", "webdataset")


@functools.cache
def code_version(*more: str) -> str:
    """Package version plus a hash over the source of every room that a shard's bytes pass through, and of `more`."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for room in (*_PURE_ROOMS, *more):
        for file in sorted((package / room).rglob("*.py")):
            digest.update(file.relative_to(package).as_posix().encode())
            digest.update(file.read_bytes())
    return f"{importlib.metadata.version('sa-dataengine')}+{digest.hexdigest()[:12]}"


def library_versions(*more: str) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in (*_IMAGE_LIBRARIES, *more)}


def fingerprint(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def require_same(workflow: str, planned: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises ConfigError that names every fact that differs between the frozen plan and today."""
    before, after = _flatten(planned), _flatten(now)
    changed = [
        f"{key}: {before.get(key, 'absent')} -> {after.get(key, 'absent')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    if changed:
        raise ConfigError(
            f"{workflow} was planned under other conditions, and its shards must not be mixed: "
            f"{'; '.join(changed)}. Restore them, or generate into a new home"
        )


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat

"""The open data engine for segmentation, as a library.

`from dataengine import Sam, MaskGenerator, open_home` is the short public API. Names are loaded when
they are first used, so `import dataengine` costs nothing and needs neither torch nor Ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataengine.automask.generator import MaskGenerator
    from dataengine.home.home import open_home
    from dataengine.model.sam import Sam

__all__ = ["MaskGenerator", "Sam", "open_home"]

_HOMES = {
    "Sam": "dataengine.model.sam",
    "MaskGenerator": "dataengine.automask.generator",
    "open_home": "dataengine.home.home",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dataengine' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

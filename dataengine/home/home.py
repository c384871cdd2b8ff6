"""Opening and making a home."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dataengine.errors import ConfigError
from dataengine.home import layout
from dataengine.home.config_file import parse_config, set_in_text, template
from dataengine.home.storage import Storage
from schemas import EngineConfig


@dataclass(frozen=True)
class Home:
    """Everything about one dataset: where it lies and how it is configured."""

    storage: Storage
    config: EngineConfig


def open_home(url: str, overrides: Iterable[str] = ()) -> Home:
    """The home at a folder or fsspec URL, with `key.sub=value` overrides applied to its `engine.yaml`.

    Raises ConfigError when there is no `engine.yaml` or when it is wrong.
    """
    storage = Storage(url)
    try:
        text = storage.read(layout.CONFIG).decode()
    except FileNotFoundError:
        raise ConfigError(
            f"{url}: no {layout.CONFIG} here; make a home with: dataengine init {url} --images FOLDER"
        ) from None
    return Home(storage, parse_config(text, storage.url_of(layout.CONFIG), overrides))


def create_home(url: str, images: Iterable[str], overrides: Sequence[str] = ()) -> Home:
    """Writes a commented `engine.yaml`; refuses to replace one.

    `overrides` are checked and written into the file, so that every later command sees them.
    """
    storage = Storage(url)
    text = template(images)
    parse_config(text, storage.url_of(layout.CONFIG), overrides)
    for override in overrides:
        text = set_in_text(text, override)
    if not storage.create(layout.CONFIG, text.encode()):
        raise ConfigError(f"{storage.url_of(layout.CONFIG)}: exists already; edit it, or choose another folder")
    return open_home(url)

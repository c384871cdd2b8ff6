"""`dataengine pack`: a home's labelled sets, small enough to travel to a machine that only trains."""

from __future__ import annotations

from pathlib import PurePosixPath

import yaml
from rich.console import Console

from dataengine.errors import ConfigError, EngineError
from dataengine.home import Home, layout
from dataengine.home.storage import Storage
from dataengine.labelled import open_labelled
from dataengine.labelled.pack import Packed, pack
from dataengine.training.snapshot import url_of
from workflows.progress import Bar

SETS = "sets"


def pack_home(
    home: Home, destination: str, longest_side: int, jpeg_quality: int, max_mb: float, console: Console
) -> dict[str, Packed]:
    """A home at `destination` with small copies of `retrain.data` and nothing else; path of each set -> its counts.

    `dataengine retrain DESTINATION` runs there as it would here: the same images are held out. `engine.yaml` is
    written last. Raises ConfigError without a set to pack, or where something lies already; EngineError when the
    copies are larger than `max_mb` (10^6 bytes).
    """
    sets = home.config.retrain.data
    if not sets:
        raise ConfigError(f"{home.storage.url_of(layout.CONFIG)}: retrain.data names no set: nothing to pack")
    target = Storage(destination)
    if target.list(""):
        raise ConfigError(f"{destination}: exists and isn't empty; name a folder that is to be made")
    counts: dict[str, Packed] = {}
    entries = []
    for number, entry in enumerate(sets):
        source = open_labelled(url_of(home.storage, entry.path))
        path = f"{SETS}/{number:02d}-{PurePosixPath(entry.path).name}"
        with Bar(console, entry.path, len(source.names)) as bar:
            counts[entry.path] = pack(
                source,
                Storage(target.url_of(path)),
                longest_side=longest_side,
                jpeg_quality=jpeg_quality,
                report=bar.update,
            )
        entries.append({**entry.model_dump(), "path": path})
    size = sum(packed.size for packed in counts.values())
    if size > max_mb * 1e6:
        raise EngineError(
            f"{destination}: {size / 1e6:.1f} MB packed, more than {max_mb:g}: lower --quality or --size, or name "
            "fewer sets in retrain.data"
        )
    config = {"images": [], "model": home.config.model, "retrain": home.config.retrain.model_dump() | {"data": entries}}
    target.write(layout.CONFIG, yaml.safe_dump(config, sort_keys=False).encode())
    return counts

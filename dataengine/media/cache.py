"""Files under `cache/` of a home. Content-addressed and written at once, so a reader sees all or nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dataengine.errors import EngineError
from dataengine.home import layout
from dataengine.home.storage import Storage

_NAME = re.compile(r"[0-9a-f]{8,64}")
"""Every part of a path here is a hash: whatever a browser asks for, it can't leave its folder."""
_SHOWN = "shown"
"""File beside an image's pictures that names the ones to show; written after them."""


class MediaCache:
    """Embeddings by (image sha256, encoder), display pictures by (image sha256, width), decoders by model.

    Cheap to make and to pickle. Reading what isn't there gives None; so does a name that is not a hash.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    # embeddings --------------------------------------------------------------------------------------

    def embedding(self, sha256: str, encoder: str) -> bytes | None:
        """float16 little endian, C order (256, e, e)."""
        return self._read(embedding_path(sha256, encoder)) if _are_hashes(sha256, encoder) else None

    def has_embedding(self, sha256: str, encoder: str) -> bool:
        return self._storage.exists(embedding_path(sha256, encoder))

    def write_embedding(self, sha256: str, encoder: str, data: bytes) -> None:
        self._storage.write(_checked(embedding_path(sha256, encoder), sha256, encoder), data)

    def encoders(self) -> list[str]:
        """Encoders of which embeddings lie here."""
        return self._storage.list(layout.EMBEDDINGS)

    def remove_embeddings(self, encoder: str) -> None:
        """Deletes all embeddings of one encoder."""
        self._storage.remove(_checked(f"{layout.EMBEDDINGS}/{encoder}", encoder))

    # display -----------------------------------------------------------------------------------------

    def shown(self, sha256: str) -> str | None:
        """Key of the pictures that annotators see of this image now: part of their address, or their ETag."""
        found = self._read(_shown_path(sha256)) if _are_hashes(sha256) else None
        return found.decode() if found is not None else None

    def display(self, sha256: str, width: int) -> bytes | None:
        """The JPEG of the pyramid level that is `width` px wide."""
        key = self.shown(sha256)
        return self._read(_display_path(sha256, key, width)) if key is not None else None

    def write_display(self, sha256: str, key: str, pictures: Iterable[tuple[int, bytes]]) -> None:
        """Shows these (width, JPEG) from now on, all at once, and deletes what was shown before."""
        for width, jpeg in pictures:
            self._storage.write(_checked(_display_path(sha256, key, width), sha256, key), jpeg)
        self._storage.write(_shown_path(sha256), key.encode())
        folder = _display_folder(sha256)
        for name in self._storage.list(folder):
            if name not in (key, _SHOWN):
                self._storage.remove(f"{folder}/{name}")

    # decoders ----------------------------------------------------------------------------------------

    def decoder(self, model_id: str) -> bytes | None:
        """`decoder.onnx` of a model (`dataengine.model.onnx` says what goes in and comes out)."""
        return self._read(layout.decoder(model_id)) if _are_hashes(model_id) else None

    def decoders(self) -> list[str]:
        """Ids of the models whose decoders lie here."""
        suffix = ".onnx"
        return [name.removesuffix(suffix) for name in self._storage.list(layout.DECODERS) if name.endswith(suffix)]

    def remove_decoder(self, model_id: str) -> None:
        """Deletes it; `ensure_decoder` makes it anew when the model comes into use again."""
        self._storage.remove(_checked(layout.decoder(model_id), model_id))

    def _read(self, path: str) -> bytes | None:
        try:
            return self._storage.read(path)
        except FileNotFoundError:
            return None


def embedding_path(sha256: str, encoder: str) -> str:
    """Folders by the first byte, since a million files in one is more than most tools bear."""
    return f"{layout.EMBEDDINGS}/{encoder}/{sha256[:2]}/{sha256}.f16"


def _display_folder(sha256: str) -> str:
    return f"{layout.DISPLAY}/{sha256[:2]}/{sha256}"


def _display_path(sha256: str, key: str, width: int) -> str:
    return f"{_display_folder(sha256)}/{key}/{width}.jpg"


def _shown_path(sha256: str) -> str:
    return f"{_display_folder(sha256)}/{_SHOWN}"


def _are_hashes(*names: str) -> bool:
    return all(_NAME.fullmatch(name) for name in names)


def _checked(path: str, *names: str) -> str:
    if not _are_hashes(*names):
        raise EngineError(f"{path}: not a name in the cache")
    return path

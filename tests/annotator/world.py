"""A whole annotation server for a browser: real photos, nano's embeddings and its exported decoder, on loopback."""

from __future__ import annotations

import functools
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import uvicorn
from PIL import Image

from dataengine.annotations import LeaseRules, Store, open_store
from dataengine.annotator import ServerSettings, create_app
from dataengine.annotator.decoding import SamDecoder
from dataengine.annotator.page import NOT_BUILT
from dataengine.annotator.settings import WEB
from dataengine.model import load_model
from dataengine.model.onnx import export_decoder
from dataengine.shards.release_image import encode_jpeg, release_pixels
from schemas import Box, ImageRecord
from schemas.annotations import AnnotationModel, Role, User
from tests.conftest import package_file

MODEL = AnnotationModel(id="nano-1", name="nano", encoder="nano", input_size=512, embedding_size=32, source="nano")
NEXT_MODEL = MODEL.model_copy(update={"id": "nano-2", "encoder": "nano-b"})
"""With other embeddings, as far as anybody can tell by their names."""
PASSWORD = "a long password"
ROLES: dict[str, Role] = {"anna": "annotator", "ben": "annotator", "rita": "reviewer", "adam": "admin"}


@functools.cache
def photos() -> dict[int, tuple[str, np.ndarray]]:
    """Photos that come with scikit-image and scikit-learn: number -> name, uint8 (H, W, 3)."""
    files = [
        package_file("skimage", "data", "coffee.png"),
        package_file("skimage", "data", "chelsea.png"),
        package_file("sklearn", "datasets", "images", "flower.jpg"),
        package_file("skimage", "data", "astronaut.png"),
        package_file("skimage", "data", "rocket.jpg"),
        package_file("sklearn", "datasets", "images", "china.jpg"),
    ]
    return {
        number: (file.name, np.asarray(Image.open(file).convert("RGB"))) for number, file in enumerate(files, start=1)
    }


@functools.cache
def embedding(number: int) -> bytes:
    import torch

    sam, _ = load_model("nano")
    with torch.inference_mode():
        return sam.encode_images([photos()[number][1]])[0].numpy().astype("<f2").tobytes()


class PhotoMedia:
    """`Media` over the photos; `decoder_file` is nano's exported decoder. `pixels` adds pictures of one's own."""

    def __init__(self, decoder_file: Path, pixels: dict[int, np.ndarray] | None = None) -> None:
        self._decoder = decoder_file.read_bytes()
        self._pixels = {number: photo for number, (_, photo) in photos().items()} | (pixels or {})

    def embedding(self, image_id: int, encoder: str) -> bytes | None:
        # A picture of one's own is there to be painted on; what the model sees in it doesn't matter.
        known = encoder in (MODEL.encoder, NEXT_MODEL.encoder)
        return embedding(image_id if image_id in photos() else 1) if known else None

    def display(self, image_id: int, width: int) -> bytes:
        photo = self._pixels[image_id]
        height = round(photo.shape[0] * width / photo.shape[1])
        return encode_jpeg(release_pixels(photo, (height, width)), 90)

    def decoder(self, model_id: str) -> bytes | None:
        return self._decoder if model_id in (MODEL.id, NEXT_MODEL.id) else None


def catalog_rows(sizes: dict[int, tuple[str, int, int]]) -> list[ImageRecord]:
    """Number -> (name, width, height) as rows of the catalog; number 4, the astronaut, has a face."""
    face = Box(x0=180, y0=60, x1=270, y1=190, score=0.9, detector="test")
    return [
        ImageRecord(
            image_id=number,
            source="photos",
            path=name,
            status="ok",
            sha256=f"{number:064x}",
            bytes=1,
            format="JPEG",
            width=width,
            height=height,
            faces=[face] if number == 4 else [],
        )
        for number, (name, width, height) in sizes.items()
    ]


@dataclass
class Annotators:
    """The running server, its store, and two annotators, a reviewer and an admin with the same password."""

    store: Store
    app: Callable
    port: int
    people: dict[str, User] = field(default_factory=dict)
    _server: uvicorn.Server | None = None
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        config = uvicorn.Config(self.app, host="127.0.0.1", port=self.port, log_level="warning", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 60
        while not self._server.started:
            assert time.monotonic() < deadline, "the annotation server did not start"
            time.sleep(0.02)

    def stop(self) -> None:
        if self._server is None or self._thread is None:
            return
        self._server.force_exit = self._server.should_exit = True
        self._thread.join(30)
        self._server = None

    def end_sessions(self, name: str) -> None:
        """As if the cookie had run out: nobody is told."""
        from dataengine.annotations.tables import token

        with self.store.database.write() as tx:
            tx.execute(token.update().where(token.c.user_id == self.people[name].id).values(revoked_at=tx.now))

    def masks(self, task_id: int) -> list:
        return self.store.queue.task(task_id).masks

    def tasks(self, state: str | None = None) -> list[dict]:
        return self.store.queue.listing(state, 100)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def prepared_database(folder: Path) -> Path:
    """A database with its people, copied by every test: hashing four passwords takes seconds."""
    file = folder / "people.db"
    store = open_store(f"sqlite:///{file}")
    for name, role in ROLES.items():
        store.people.add(name, role, PASSWORD)
    store.close()
    return file


def annotators(
    folder: Path,
    prepared: Path,
    decoder_file: Path,
    numbers: list[int] | None = None,
    extra: dict[int, np.ndarray] | None = None,
    settings: ServerSettings | None = None,
    short_side: int = 1500,
) -> Iterator[Annotators]:
    """Starts a server over the photos with these `numbers` (all when None) and `extra` pictures; ends it after."""
    assert (WEB / "index.html").is_file(), NOT_BUILT
    chosen = {number: photos()[number] for number in (numbers if numbers is not None else photos())}
    sizes = {number: (name, photo.shape[1], photo.shape[0]) for number, (name, photo) in chosen.items()}
    sizes |= {number: (f"made-{number}.png", photo.shape[1], photo.shape[0]) for number, photo in (extra or {}).items()}
    shutil.copy(prepared, folder / "annotations.db")
    store = open_store(f"sqlite:///{folder}/annotations.db", rules=LeaseRules())
    store.images.promote(MODEL)
    store.images.fill(catalog_rows(sizes), short_side=short_side)
    for number in sizes:
        store.images.embedding_ready(number, MODEL.encoder)
    app = create_app(
        store, PhotoMedia(decoder_file, extra), settings or ServerSettings(home="photos"), decoder=SamDecoder()
    )
    world = Annotators(store, app, free_port())
    world.people = {name: store.people.named(name) for name in ROLES}
    world.start()
    yield world
    world.stop()
    store.close()


def exported_decoder(folder: Path) -> Path:
    sam, _ = load_model("nano")
    return export_decoder(sam, folder / "decoder.onnx")

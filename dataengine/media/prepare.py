"""From an image of the annotation store to what its annotator needs, written into the cache."""

from __future__ import annotations

from dataclasses import dataclass

from dataengine.errors import RejectedImageError, SourceGoneError
from dataengine.home import layout
from dataengine.home.storage import Storage
from dataengine.media.cache import MediaCache
from dataengine.media.display import display_key, hidden_from_annotators, write_pictures
from dataengine.media.encoder import embed
from dataengine.media.original import read_original
from dataengine.model.checkpoints import load_model
from dataengine.model.onnx import export_decoder
from dataengine.model.sam import Sam
from schemas.annotations import TaskImage
from schemas.config import PrivacyConfig


@dataclass(frozen=True)
class Prepared:
    """The image's tasks may be handed out under `encoder`; or why they never can."""

    image_id: int
    encoder: str
    unusable: str | None = None


def prepare_image(
    storage: Storage, image: TaskImage, sam: Sam, encoder: str, privacy: PrivacyConfig, max_megapixels: float
) -> Prepared:
    """Writes what is missing of the image's pictures and embedding; nothing is read when nothing is.

    Holds the decoded original and one copy of it at the released size. A source that is gone or has other
    bytes than at ingest makes the image unusable. Raises EngineError when storage can't be reached.
    """
    cache, frame = MediaCache(storage), (image.height, image.width)
    hidden = hidden_from_annotators(image, privacy)
    embedded = cache.has_embedding(image.sha256, encoder)
    shown = cache.shown(image.sha256) == display_key(frame, hidden)
    if not (embedded and shown):
        try:
            pixels = read_original(storage, image, max_megapixels)
        except (SourceGoneError, RejectedImageError) as error:
            return Prepared(image.id, encoder, unusable=str(error))
        if not embedded:
            cache.write_embedding(image.sha256, encoder, embed(sam, pixels, frame))
        if not shown:
            write_pictures(cache, image, pixels, hidden)
    return Prepared(image.id, encoder)


def ensure_decoder(storage: Storage, model: str) -> str:
    """Exports the model's decoder into the cache unless it is there; returns the model's id.

    The id is the first 16 hex digits of the checkpoint's sha256. EngineError when the extra `onnx` is missing.
    """
    sam, card = load_model(model)
    model_id = card.sha256[:16]
    path = layout.decoder(model_id)
    if not storage.exists(path):
        with storage.staged(path) as part:
            export_decoder(sam, part)
    return model_id

"""Pictures, embeddings, the decoder, and masks decoded here for a page that can't."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Query, Response

from dataengine.annotations.errors import MissingError
from dataengine.annotator.access import CurrentContext, CurrentUser
from dataengine.annotator.refusals import RefusedError
from dataengine.annotator.wire import DecodeBody
from dataengine.media.display import display_levels
from schemas.annotations import AnnotationModel, TaskImage

router = APIRouter(prefix="/api", tags=["images"])

ImageId = Annotated[int, Path(ge=1, lt=2**63)]
FOR_EVER = "private, max-age=31536000, immutable"


@router.get("/images/{image_id}/display")
def display(
    image_id: ImageId,
    user: CurrentUser,
    context: CurrentContext,
    width: Annotated[int | None, Query(ge=1, le=100_000)] = None,
) -> Response:
    """JPEG of the smallest level of the pyramid at least `width` wide; without it, the whole annotation frame."""
    image = context.store.images.image(image_id)
    widths = [level for level, _ in display_levels(image.width, image.height)]
    chosen = min((level for level in widths if width is not None and level >= width), default=widths[0])
    try:
        data = context.media.display(image_id, chosen)
    except FileNotFoundError as error:
        raise MissingError("no_picture", f"the photo of image {image_id} can't be read any more") from error
    # Corrected boxes change the picture: it may be kept, but has to be asked for again.
    return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=300"})


@router.get("/images/{image_id}/embedding")
def embedding(image_id: ImageId, encoder: str, user: CurrentUser, context: CurrentContext) -> Response:
    """float16 little endian, C order; 409 for an encoder that isn't the current one and that nobody works with."""
    model = _model_of_encoder(context, image_id, encoder)
    side = model.embedding_size
    headers = {"cache-control": FOR_EVER, "x-embedding-shape": f"256,{side},{side}", "x-encoder": encoder}
    data = _embedding(context, image_id, model)
    return Response(data, media_type="application/octet-stream", headers=headers)


@router.get("/models/{model_id}/decoder.onnx")
def decoder(model_id: str, user: CurrentUser, context: CurrentContext) -> Response:
    model = context.store.images.model_by_id(model_id)
    data = context.media.decoder(model.id)
    if data is None:
        raise MissingError("no_decoder", f"model {model_id} has no decoder file yet")
    return Response(data, media_type="application/octet-stream", headers={"cache-control": FOR_EVER})


@router.post("/images/{image_id}/decode")
def decode(image_id: ImageId, body: DecodeBody, user: CurrentUser, context: CurrentContext) -> dict[str, Any]:
    """Four masks for a prompt, from the precomputed embedding: for pages without WebAssembly, and for programs."""
    if context.decoder is None:
        raise RefusedError(503, "no_decoder", "this server does not decode")
    if not body.points and body.box is None:
        raise RefusedError(422, "prompt", "a prompt needs points or a box")
    if any(label not in (0, 1) for *_, label in body.points):
        raise RefusedError(422, "prompt", "a point's label is 0 or 1")
    images = context.store.images
    model = images.model_by_id(body.model) if body.model else images.model()
    if model is None:
        raise RefusedError(409, "no_model", "no model was promoted yet")
    image = images.image(image_id)
    data = _embedding(context, image_id, model)
    given = _logits(body.mask_input, 4 * model.embedding_size) if body.mask_input else None
    found = context.decoder.decode(model, data, image, body.points, body.box, given)
    logits = np.ascontiguousarray(found.low_res_logits, "<f2").tobytes()
    return {
        "predicted_iou": [float(value) for value in found.predicted_iou],
        "low_res_logits": base64.b64encode(logits).decode("ascii"),
        "model": model.id,
    }


def _model_of_encoder(context: CurrentContext, image_id: int, encoder: str) -> AnnotationModel:
    model = context.store.images.model_for(image_id, encoder)
    if model is None:
        now = context.store.images.model()
        raise RefusedError(
            409,
            "encoder_mismatch",
            "this embedding belongs to another model than the one in use; reload the task",
            encoder=now.encoder if now is not None else None,
        )
    return model


def _embedding(context: CurrentContext, image_id: int, model: AnnotationModel) -> bytes:
    image: TaskImage = context.store.images.image(image_id)
    data = context.media.embedding(image.id, model.encoder)
    if data is None:
        # A cache may be deleted at any time: the image goes back to those that wait for theirs.
        context.store.images.embedding_gone(image.id, model.encoder)
        raise MissingError("no_embedding", f"image {image.id} has no embedding of {model.encoder}; it will be made")
    expected = 2 * 256 * model.embedding_size**2
    if len(data) != expected:
        raise RefusedError(500, "embedding", f"the embedding of image {image.id} has {len(data)} bytes, not {expected}")
    return data


def _logits(text: str, side: int) -> np.ndarray:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise RefusedError(422, "mask_input", "mask_input is not base64") from error
    if len(data) != 2 * side * side:
        raise RefusedError(422, "mask_input", f"mask_input must be float16 ({side}, {side})")
    values = np.frombuffer(data, "<f2").reshape(side, side).astype(np.float32)
    if not np.isfinite(values).all():
        raise RefusedError(422, "mask_input", "mask_input is not finite")
    return values

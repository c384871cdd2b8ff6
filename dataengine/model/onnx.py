"""The prompt encoder and mask decoder as one ONNX file: what a browser runs after every click.

The image embedding comes from elsewhere, once per image. Coordinates are xy in the model's input frame
(the resized image, longest side `Sam.image_size`); masks stay at low resolution, the browser enlarges them.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dataengine.errors import EngineError
from dataengine.model.sam import Sam

INPUTS = ("image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input")
OUTPUTS = ("low_res_logits", "predicted_iou")
OPSET = 17
"""The first with layer normalisation as one operator."""

LARGE = 4096
"""Numbers. Smaller weights, such as those that place points in the picture, are not worth rounding."""

EXACT = ("k_proj", "v_proj")
"""What attention takes keys and values from: a seventh of the weights, most of what rounding would cost."""


class PromptDecoder(nn.Module):
    """`Sam` without its encoder, for one prompt, with the inputs of the public code's ONNX model.

    image_embeddings float32 (1, 256, e, e); point_coords float32 (1, N, 2) xy in the input frame, with
    point_labels float32 (1, N): 1 on the object, 0 background, 2 and 3 the corners of a box, -1 padding. A
    prompt without a box must end with one padding point, as `PromptEncoder` would add it; the graph can't
    know. mask_input float32 (1, 1, 4e, 4e) logits of an earlier answer, taken when has_mask_input (1,) is 1.

    Returns low_res_logits (1, 4, 4e, 4e) and predicted_iou (1, 4): entry 0 is the single mask, 1..3 are
    the readings of an ambiguous prompt.
    """

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.prompt_encoder = sam.prompt_encoder
        self.mask_decoder = sam.mask_decoder

    def forward(
        self,
        image_embeddings: torch.Tensor,
        point_coords: torch.Tensor,
        point_labels: torch.Tensor,
        mask_input: torch.Tensor,
        has_mask_input: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        sparse = self.prompt_encoder.embed_points(point_coords, point_labels.long())
        no_mask = self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        dense = no_mask + has_mask_input * (self.prompt_encoder.mask_downscaling(mask_input) - no_mask)
        # Computed by the graph: as constants they would be several times as large as all weights.
        positions = self.prompt_encoder.dense_positions()
        image = self.mask_decoder.image_side(image_embeddings, positions, dense)
        decoded = self.mask_decoder.decode_tokens(image, sparse)
        return self.mask_decoder.mask_logits(decoded), decoded.predicted_iou


def example_inputs(sam: Sam, points: int = 2) -> tuple[torch.Tensor, ...]:
    """Inputs of the right shapes and dtypes, on the CPU, in the order of `INPUTS`."""
    side = sam.embedding_size
    return (
        torch.zeros(1, 256, side, side),
        torch.zeros(1, points, 2),
        torch.ones(1, points),
        torch.zeros(1, 1, 4 * side, 4 * side),
        torch.zeros(1),
    )


def export_decoder(sam: Sam, path: Path, *, quantised: bool = False) -> Path:
    """Write `sam`'s prompt encoder and mask decoder to `path` (.onnx); returns it.

    The number of points is dynamic, all else is fixed. `quantised` stores most weights of matrix products
    as uint8: less than half of the size; on `nano` its masks overlap the exact ones by 0.995 on average, one in
    a hundred by less than 0.96 (`benchmarks/exported.py`). Written under another name first, so a killed run
    leaves no half file. Raises EngineError when the extra `onnx` isn't installed.
    """
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise EngineError("the ONNX export needs the package onnx: pip install 'sa-dataengine[onnx]'") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=path.stem) as scratch:
        plain = Path(scratch) / "plain.onnx"
        with _quiet(), torch.inference_mode():
            torch.onnx.export(
                PromptDecoder(sam).eval().cpu(),
                example_inputs(sam),
                str(plain),
                input_names=list(INPUTS),
                output_names=list(OUTPUTS),
                dynamic_axes={"point_coords": {1: "points"}, "point_labels": {1: "points"}},
                opset_version=OPSET,
                dynamo=False,
            )
        if quantised:
            plain = _quantise(plain)
        plain.replace(path)
    return path


def _quantise(path: Path) -> Path:
    """Large weights as uint8 with a scale and a zero for each column, made floats again in the graph.

    What they are multiplied with stays float: onnxruntime's own quantisation rounds that too, which costs most of
    the precision.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(path)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    restored: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        name = node.input[1] if node.op_type in ("MatMul", "Gemm") else ""
        if name not in weights or name in restored or np.prod(weights[name].dims) < LARGE:
            continue
        if any(part in node.name for part in EXACT):  # nodes are named after their modules
            continue
        rounded = _rounded(numpy_helper.to_array(weights[name]))
        parts = {f"{name}.{part}": array for part, array in rounded.items()}
        graph.initializer.remove(weights[name])
        graph.initializer.extend(numpy_helper.from_array(array, part) for part, array in parts.items())
        restored[name] = helper.make_node("DequantizeLinear", list(parts), [name], axis=1)
    for index, node in enumerate(restored.values()):
        graph.node.insert(index, node)
    target = path.with_name("uint8.onnx")
    onnx.save(model, target)
    return target


def _rounded(values: np.ndarray) -> dict[str, np.ndarray]:
    """float32 (M, N) -> uint8 (M, N), scale and uint8 zero (N,): values = (uint8 - zero) * scale."""
    low, high = np.minimum(values.min(axis=0), 0), np.maximum(values.max(axis=0), 0)
    scale = np.maximum(high - low, np.finfo(np.float32).tiny).astype(np.float32) / 255
    zero = np.round(-low / scale)
    levels = np.round(values / scale) + zero
    return {"uint8": np.clip(levels, 0, 255).astype(np.uint8), "scale": scale, "zero": zero.astype(np.uint8)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Both tools advise about their own next versions, on the log and on standard output."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)

"""One prompt on one embedding, with the same ONNX graph that the page runs (`dataengine.model.onnx`)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

CELL = 16
"""Input pixels per side of an embedding's cell; the same in every architecture (16 px patches, or a stride of 16)."""


class DecoderSession:
    """A `decoder.onnx` on the CPU. Thread-safe; `image_size` and `side` (4e) follow from the graph."""

    def __init__(self, onnx: bytes, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        self.embedding_size = int(self._session.get_inputs()[0].shape[2])
        self.image_size = CELL * self.embedding_size
        self.side = 4 * self.embedding_size

    def decode(
        self,
        embedding: bytes,
        frame: tuple[int, int],
        points: Sequence[Sequence[float]] = (),
        box: Sequence[float] | None = None,
        mask_input: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Low-resolution logits float32 (4, 4e, 4e) and predicted IoU float32 (4,).

        `embedding` as `MediaCache.embedding` gives it, `frame` (height, width) of the annotation frame,
        `points` rows of x, y, label (1 on the object, 0 background) and `box` XYXY in its pixels,
        `mask_input` logits (4e, 4e) of an earlier answer. Entry 0 is the single mask, 1..3 are the readings
        of an ambiguous prompt. ValueError when there is no prompt or the embedding is of another size.
        """
        values = np.frombuffer(embedding, "<f2")
        if values.size != 256 * self.embedding_size**2:
            raise ValueError(f"an embedding of {values.size} values is not this model's")
        coords, labels = self._prompt(frame, points, box)
        mask = np.zeros((1, 1, self.side, self.side), np.float32)
        if mask_input is not None:
            mask[0, 0] = np.asarray(mask_input, np.float32).reshape(self.side, self.side)
        elif not len(coords):
            raise ValueError("a prompt needs points, a box or a mask")
        logits, predicted = self._session.run(
            None,
            {
                "image_embeddings": values.astype(np.float32).reshape(1, 256, self.embedding_size, -1),
                "point_coords": coords[None],
                "point_labels": labels[None],
                "mask_input": mask,
                "has_mask_input": np.array([mask_input is not None], np.float32),
            },
        )
        return logits[0], predicted[0]

    def upsample(self, logits: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
        """Logits (4e, 4e) -> float32 of `frame` (height, width), as `Sam.upsample` does it."""
        square = cv2.resize(logits, (self.image_size, self.image_size), interpolation=cv2.INTER_LINEAR)
        height, width = self.input_size(frame)
        seen = np.ascontiguousarray(square[:height, :width])
        return cv2.resize(seen, (frame[1], frame[0]), interpolation=cv2.INTER_LINEAR)

    def input_size(self, frame: tuple[int, int]) -> tuple[int, int]:
        """`Sam.input_size`: (height, width) after the longest side became `image_size`."""
        scale = self.image_size / max(frame)
        return max(1, int(frame[0] * scale + 0.5)), max(1, int(frame[1] * scale + 0.5))

    def _prompt(
        self, frame: tuple[int, int], points: Sequence[Sequence[float]], box: Sequence[float] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates float32 (N, 2) of the input and labels float32 (N,), padded as the graph wants it."""
        height, width = self.input_size(frame)
        rows = [[float(x), float(y), float(label)] for x, y, label in points]
        if box is not None:
            rows += [[float(box[0]), float(box[1]), 2.0], [float(box[2]), float(box[3]), 3.0]]
        elif rows:
            rows.append([0.0, 0.0, -1.0])
        table = np.asarray(rows, np.float64).reshape(-1, 3)
        coords = table[:, :2] * [width / frame[1], height / frame[0]]
        return coords.astype(np.float32), table[:, 2].astype(np.float32)

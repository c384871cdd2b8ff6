"""ONNX networks on onnxruntime, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dataengine.errors import EngineError


class OnnxNetwork:
    """One network with one image input. `threads` is the number of cores a call uses.

    One by default: ingest runs one actor a core, and onnxruntime's own default (every core, in every actor)
    makes them fight.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise EngineError(f"{path.name}: not a usable ONNX model ({_first_line(error)}); pull it again") from error
        entry = self._session.get_inputs()[0]
        self._name: str = entry.name
        self.shape: list[int | str] = list(entry.shape)
        """Of the input; a name stands for a side that is free."""
        self._type = np.float16 if "float16" in entry.type else np.float32

    def __call__(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """Output name -> array, float32, for a batch (1, 3, H, W)."""
        values = self._session.run(None, {self._name: np.ascontiguousarray(batch, dtype=self._type)})
        names = [output.name for output in self._session.get_outputs()]
        return {name: np.asarray(value, dtype=np.float32) for name, value in zip(names, values, strict=True)}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__

"""The actor behind `workflows.ingest`: opens one input at a time, so that a crash names its image."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import ray

from dataengine.catalog.examine import Examiner
from dataengine.catalog.sources import read_source
from dataengine.detection import default_detectors
from dataengine.errors import EngineError
from schemas import ImageRecord, ImageRef
from schemas.config import IngestConfig, PrivacyConfig

T = TypeVar("T")
TRIES = 4


@ray.remote(max_restarts=0, max_task_retries=0)
class ImageExaminer:
    """Decodes and checks inputs and finds their faces and plates, on one CPU core."""

    def __init__(self, home_url: str, ingest: IngestConfig, privacy: PrivacyConfig) -> None:
        self._home_url = home_url
        detectors = default_detectors(privacy.faces, privacy.plates)
        self._examiner = Examiner(detectors, ingest.max_megapixels)

    def ready(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    def examine(self, ref: ImageRef) -> ImageRecord:
        """The catalog row of one input; a bad input is a rejected row.

        Raises EngineError when the source's storage can't be reached: that is nobody's image's fault.
        """
        try:
            data = with_retries(lambda: read_source(ref.source, ref.path, self._home_url))
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            return ImageRecord(**ref.model_dump(), status="rejected", reason=f"not readable: {type(error).__name__}")
        return self._examiner.examine(ref, data)


def with_retries(read: Callable[[], T]) -> T:
    """`read()`, tried again with growing pauses when the storage fails; a missing file is not a failure.

    Raises EngineError after the last try.
    """
    for attempt in range(TRIES):
        try:
            return read()
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            raise
        except OSError as error:
            if attempt == TRIES - 1:
                raise EngineError(f"the source can't be reached: {error}; run the command again later") from error
            time.sleep(2.0**attempt)
    raise AssertionError("unreachable")

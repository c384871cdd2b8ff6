"""The actor behind `workflows.ingest`: opens one input at a time, so that a crash names its image."""

from __future__ import annotations

import ray

from dataengine.catalog.examine import Examiner
from dataengine.catalog.sources import read_source
from dataengine.detection import default_detectors
from dataengine.errors import SourceGoneError
from schemas import ImageRecord, ImageRef
from schemas.config import IngestConfig, PrivacyConfig


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
            data = read_source(ref.source, ref.path, self._home_url)
        except SourceGoneError as error:
            return ImageRecord(**ref.model_dump(), status="rejected", reason=str(error))
        return self._examiner.examine(ref, data)

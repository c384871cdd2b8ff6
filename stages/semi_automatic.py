"""Stage 2 (paper section 4): confident masks are there before a person comes; he adds what is missing."""

from __future__ import annotations

import ray

from dataengine.detection.box_head import require_encoder
from dataengine.detection.objects import open_detector
from dataengine.errors import EngineError
from dataengine.home.rounds import boxes_location
from dataengine.home.storage import Storage
from dataengine.media.encoder import encoder_id
from dataengine.model.checkpoints import load_model
from dataengine.prefill import prefill_image, thresholds_of
from schemas.annotations import Prefilled, TaskImage
from schemas.jobs import PrefillJob


@ray.remote(max_restarts=0, max_task_retries=0)
class Prefiller:
    """One model and one detector on one device. Knows no task and no database: it returns what it found."""

    def __init__(self, home_url: str, job: PrefillJob) -> None:
        import torch

        torch.set_num_threads(job.threads)
        self._storage, self._job = Storage(home_url), job
        self._sam, card = load_model(job.model, device=job.device)
        if card.sha256 != job.model_sha256 or encoder_id(self._sam) != job.encoder:
            raise EngineError(f"model {job.model} is not the one that was announced ({card.sha256[:12]} here)")
        self._thresholds = thresholds_of(job.prefill, card)
        detector = boxes_location(self._storage, job.detector)
        self._detector = open_detector(detector, words=job.prefill.words, threads=job.threads, device=job.device)
        require_encoder(self._detector, job.encoder)

    def ready(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    def prefill(self, image: TaskImage) -> Prefilled:
        job = self._job
        return prefill_image(
            self._storage,
            image,
            self._sam,
            job.model_sha256[:16],
            job.encoder,
            self._detector,
            self._thresholds,
            job.max_megapixels,
        )

"""The actor that keeps annotators' images ready: photo in, embedding and display pictures into the cache."""

from __future__ import annotations

import ray

from dataengine.errors import EngineError
from dataengine.home.storage import Storage
from dataengine.media.encoder import encoder_id
from dataengine.media.prepare import Prepared, prepare_image
from dataengine.model.checkpoints import load_model
from schemas.annotations import TaskImage
from schemas.jobs import EmbeddingJob


@ray.remote(max_restarts=0, max_task_retries=0)
class Embedder:
    """One model on one device. Knows no task and no database: what it made lies in the home's cache."""

    def __init__(self, home_url: str, job: EmbeddingJob) -> None:
        import torch

        torch.set_num_threads(job.threads)
        self._storage, self._job = Storage(home_url), job
        self._sam, card = load_model(job.model, device=job.device)
        if card.sha256 != job.model_sha256 or encoder_id(self._sam) != job.encoder:
            raise EngineError(f"model {job.model} is not the one that was announced ({card.sha256[:12]} here)")

    def ready(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    def prepare(self, image: TaskImage, encoder: str) -> Prepared:
        """Makes the image ready for annotators under `encoder`; refuses when that is not this actor's."""
        if encoder != self._job.encoder:
            raise EngineError(f"an embedding of encoder {encoder} was asked of one that makes {self._job.encoder}")
        return prepare_image(self._storage, image, self._sam, encoder, self._job.privacy, self._job.max_megapixels)

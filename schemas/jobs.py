"""What a plan freezes so that every worker, on any machine and at any time, does the same."""

from __future__ import annotations

from typing import Any, Literal

from schemas.config import AutomaskSettings, PrefillConfig, PrivacyConfig, Section, ShardsConfig


class GenerateJob(Section):
    """Stage 3 as planned: the model by hash, the settings with every question answered, and the fingerprint."""

    model: str
    """Registry name, file, or round of the home, as the workers open it."""
    model_sha256: str
    device: Literal["cpu", "cuda"]
    threads: int
    settings: AutomaskSettings
    privacy: PrivacyConfig
    shards: ShardsConfig
    max_megapixels: float
    facts: dict[str, Any]
    """Everything that a shard's bytes depend on, by name; `fingerprint` is its hash."""
    fingerprint: str


class EmbeddingJob(Section):
    """What an `Embedder` makes: embeddings of one model's encoder, and the pictures that annotators see."""

    model: str
    """Registry name or file, as the workers open it."""
    model_sha256: str
    encoder: str
    device: Literal["cpu", "cuda"]
    threads: int
    privacy: PrivacyConfig
    max_megapixels: float


class PrefillJob(Section):
    """What a `Prefiller` makes: suggestions of one detector with one model's masks."""

    model: str
    """Registry name or file, as the workers open it."""
    model_sha256: str
    encoder: str
    device: Literal["cpu", "cuda"]
    threads: int
    detector: str
    """As `detection.objects.open_detector` takes it, files by their absolute path; or a round with a box head."""
    prefill: PrefillConfig
    max_megapixels: float

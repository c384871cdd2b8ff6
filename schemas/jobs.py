"""What a plan freezes so that every worker, on any machine and at any time, does the same."""

from __future__ import annotations

from typing import Any, Literal

from schemas.config import AutomaskSettings, PrivacyConfig, Section, ShardsConfig


class GenerateJob(Section):
    """Stage 3 as planned: the model by hash, the settings with every question answered, and the fingerprint."""

    model: str
    """Registry name or file, as the workers open it."""
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

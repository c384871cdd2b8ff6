"""Accepted masks of people, frozen: a manifest, then shards that training and evaluation read like any other."""

from dataengine.snapshots.manifest import Manifest, freeze, latest_snapshot, open_manifest, read_snapshot
from dataengine.snapshots.shard import write_snapshot_shard

__all__ = ["Manifest", "freeze", "latest_snapshot", "open_manifest", "read_snapshot", "write_snapshot_shard"]

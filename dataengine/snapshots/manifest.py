"""The manifest: which masks a snapshot holds, down to the last run length. Frozen before any shard is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from dataengine.errors import EngineError
from dataengine.home import layout
from dataengine.home.storage import Storage
from schemas.arrow import MANIFEST_SCHEMA
from schemas.snapshots import ManifestRow, SnapshotRecord

META_KEY = b"dataengine.snapshot"
MANIFEST = "manifest.parquet"
RECORD = "snapshot.json"


@dataclass(frozen=True)
class Manifest:
    """A frozen manifest. `content` is a hash over all its rows, `meta` what was true when it was frozen."""

    number: int
    path: str
    shards: int
    images: int
    masks: int
    content: str
    meta: dict[str, Any]


class _NothingNew(Exception):  # noqa: N818 - leaves a block whose file is not wanted after all
    pass


def freeze(
    storage: Storage, number: int, rows: Iterable[ManifestRow], per_shard: int, meta: Mapping[str, Any], unlike: str
) -> Manifest | None:
    """Writes `snapshots/NNN/manifest.parquet`, whole or not at all, from a stream of rows in image order.

    None, and no file, when the rows' hash is `unlike`: the newest snapshot's content. Holds `per_shard` rows.
    EngineError when there is no row.
    """
    path = f"{layout.snapshot_folder(number)}/{MANIFEST}"
    schema = MANIFEST_SCHEMA.with_metadata({META_KEY: json.dumps(dict(meta), sort_keys=True).encode()})
    digest, shards, stream = hashlib.sha256(), 0, iter(rows)
    with suppress(_NothingNew), storage.staged(path) as part:
        with pq.ParquetWriter(part, schema, compression="zstd", write_page_checksum=True) as writer:
            while group := [_table_row(shards, row) for row in islice(stream, per_shard)]:
                for row in group:
                    digest.update(bytes.fromhex(row["sha256"]))
                writer.write_table(pa.Table.from_pylist(group, schema=schema), row_group_size=per_shard)
                shards += 1
        if not shards:
            raise EngineError(f"{storage.url}: no accepted image yet; a reviewer accepts them in the annotator")
        if digest.hexdigest() == unlike:
            raise _NothingNew
    return open_manifest(storage, number) if digest.hexdigest() != unlike else None


def open_manifest(storage: Storage, number: int) -> Manifest | None:
    """The manifest of a snapshot; None when there is none. EngineError when it is damaged."""
    path = f"{layout.snapshot_folder(number)}/{MANIFEST}"
    try:
        with storage.open(path) as stream:
            file = pq.ParquetFile(stream, page_checksum_verification=True)
            meta = json.loads(file.schema_arrow.metadata[META_KEY])
            table = file.read(columns=["masks", "sha256"])
            shards = file.num_row_groups
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise EngineError(f"{storage.url_of(path)}: not a manifest of this engine ({error})") from error
    digest = hashlib.sha256()
    for sha256 in table["sha256"].to_pylist():
        digest.update(bytes.fromhex(sha256))
    masks = sum(table["masks"].to_pylist())
    return Manifest(number, path, shards, table.num_rows, masks, digest.hexdigest(), meta)


def manifest_rows(storage: Storage, manifest: Manifest, shard: int) -> Iterator[ManifestRow]:
    """The rows of one shard, in order, each checked against its hash."""
    with storage.open(manifest.path) as stream:
        table = pq.ParquetFile(stream, page_checksum_verification=True).read_row_group(shard)
    for content, sha256 in zip(table["content"].to_pylist(), table["sha256"].to_pylist(), strict=True):
        if hashlib.sha256(content.encode()).hexdigest() != sha256:
            raise EngineError(f"{storage.url_of(manifest.path)}: damaged: a row differs from its hash")
        yield ManifestRow.model_validate_json(content)


def snapshot_numbers(storage: Storage) -> list[int]:
    """Numbers of the snapshots that have a folder, ascending."""
    return sorted(int(name) for name in storage.list(layout.SNAPSHOTS) if name.isdigit())


def read_snapshot(storage: Storage, number: int) -> SnapshotRecord | None:
    """The record of a finished snapshot; None when it isn't finished."""
    path = f"{layout.snapshot_folder(number)}/{RECORD}"
    try:
        return SnapshotRecord.model_validate_json(storage.read(path))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise EngineError(f"{storage.url_of(path)}: damaged snapshot record") from error


def latest_snapshot(storage: Storage) -> SnapshotRecord | None:
    """The newest finished snapshot; None when there is none. Its shards lie in `snapshots/NNN/`."""
    for number in reversed(snapshot_numbers(storage)):
        record = read_snapshot(storage, number)
        if record is not None:
            return record
    return None


def _table_row(shard: int, row: ManifestRow) -> dict[str, Any]:
    content = row.model_dump_json(by_alias=False)
    return {
        "shard": shard,
        "image_id": row.accepted.image.id,
        "masks": len(row.accepted.masks),
        "content": content,
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
    }

"""Arrow schemas of every Parquet file the engine writes, beside the records they hold."""

from __future__ import annotations

import pyarrow as pa

BOX_TYPE = pa.struct(
    [
        ("x0", pa.float32()),
        ("y0", pa.float32()),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("score", pa.float32()),
        ("detector", pa.string()),
    ]
)

_PROVENANCE = [
    ("licence", pa.string()),
    ("author", pa.string()),
    ("source_url", pa.string()),
    ("caption", pa.string()),
]

INGEST_PLAN_SCHEMA = pa.schema(
    [
        ("unit", pa.int32()),
        ("image_id", pa.int64()),
        ("source", pa.string()),
        ("path", pa.string()),
        *_PROVENANCE,
    ]
)
"""`plans/ingest-NNN.parquet`: one row an input, one row group a unit (catalog part)."""

GENERATE_PLAN_SCHEMA = pa.schema([("unit", pa.int32()), ("image_id", pa.int64()), ("part", pa.int32())])
"""`plans/generate-NNN.parquet`: one row an image, one row group a unit (shard); `part` is its catalog part."""

CATALOG_SCHEMA = pa.schema(
    [
        ("image_id", pa.int64()),
        ("source", pa.string()),
        ("path", pa.string()),
        *_PROVENANCE,
        ("status", pa.string()),
        ("reason", pa.string()),
        ("duplicate_of", pa.int64()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("faces", pa.list_(BOX_TYPE)),
        ("plates", pa.list_(BOX_TYPE)),
        ("detectors", pa.list_(pa.string())),
    ]
)
"""`catalog/part-NNNNNN.parquet`: one `ImageRecord` an input."""

SHARD_IMAGES_SCHEMA = pa.schema(
    [
        ("image_id", pa.int64()),
        ("file_name", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("masks", pa.int32()),
        ("faces_blurred", pa.int32()),
        ("plates_blurred", pa.int32()),
        ("sha256", pa.string()),
        ("source_sha256", pa.string()),
        *_PROVENANCE,
    ]
)
"""`shards/images-NNNNNN.parquet`: one row a *planned* image; `status` is `ok`, `source changed`, `quarantined`, ...

`width`/`height` are the released image's, `sha256` is the released JPEG's. No path of the source: a
released file must not tell where the original lies."""

MASKS_SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("image_id", pa.int64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("counts", pa.string()),
        ("bbox", pa.list_(pa.float64(), 4)),
        ("area", pa.int64()),
        ("predicted_iou", pa.float64()),
        ("stability_score", pa.float64()),
        ("crop_box", pa.list_(pa.float64(), 4)),
        ("point_coords", pa.list_(pa.float64(), 2)),
    ]
)
"""`shards/masks-NNNNNN.parquet`: the annotations of one shard as columns."""

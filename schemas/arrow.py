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

ANNOTATED_MASKS_SCHEMA = pa.schema(
    [
        ("mask_id", pa.string()),
        ("image_id", pa.int64()),
        ("task_id", pa.int64()),
        ("pass", pa.int32()),
        ("purpose", pa.string()),
        ("task_state", pa.string()),
        ("author", pa.string()),
        ("source", pa.string()),
        ("state", pa.string()),
        ("verdict", pa.string()),
        ("parent_id", pa.string()),
        ("model", pa.string()),
        ("prominence", pa.int32()),
        ("area", pa.int64()),
        ("clicks", pa.int32()),
        ("predicted_iou", pa.float64()),
        ("edit_iou", pa.float64()),
        ("active_ms", pa.int64()),
        ("counted_ms", pa.int64()),
        ("revisions", pa.int32()),
        ("created_at", pa.timestamp("ms", tz="UTC")),
    ]
)
"""`masks.parquet` of `dataengine annotations export`: how each mask came to be. `active_ms` is what the page
claimed, `counted_ms` what the server believed; `edit_iou` is the IoU of the model's mask and the final one;
`parent_id` names the mask of a rejected pass that this one is a copy of."""

ANNOTATORS_SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("role", pa.string()),
        ("masks", pa.int64()),
        ("images", pa.int64()),
        ("seconds_per_mask", pa.float64()),
        ("clicks_per_mask", pa.float64()),
        ("edit_iou", pa.float64()),
        ("accepted", pa.int64()),
        ("rejected", pa.int64()),
        ("agreement", pa.float64()),
        ("overlaps", pa.int64()),
        ("withheld", pa.int64()),
        ("recall", pa.float64()),
        ("planted", pa.int64()),
        ("automation_bias", pa.float64()),
    ]
)
"""`annotators.parquet`: the same figures as the dashboard's."""

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
        ("perceptual_hash", pa.string()),
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

MANIFEST_SCHEMA = pa.schema(
    [
        ("shard", pa.int32()),
        ("image_id", pa.int64()),
        ("masks", pa.int32()),
        ("content", pa.string()),
        ("sha256", pa.string()),
    ]
)
"""`snapshots/NNN/manifest.parquet`: one row an image, one row group a shard. `content` is a
`schemas.snapshots.ManifestRow` as JSON, `sha256` its hash."""

PROVENANCE_SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("image_id", pa.int64()),
        ("mask", pa.string()),
        ("revision", pa.int32()),
        ("stage", pa.string()),
        ("task", pa.int64()),
        ("annotator", pa.string()),
        ("reviewer", pa.string()),
        ("source", pa.string()),
        ("model", pa.string()),
        ("points", pa.list_(pa.list_(pa.float64(), 3))),
        ("box", pa.list_(pa.float64(), 4)),
        ("clicks", pa.int32()),
        ("active_ms", pa.int64()),
        ("predicted_iou", pa.float64()),
        ("score", pa.float64()),
        ("suggestion", pa.string()),
        ("edit_iou", pa.float64()),
        ("prominence", pa.int32()),
        ("group", pa.bool_()),
        ("exhaustive", pa.bool_()),
    ]
)
"""`snapshots/NNN/provenance-NNNNNN.parquet`: how each mask of one shard came about; `id` is the mask's in the shard.

`annotator` and `reviewer` are pseudonyms, `points` rows of x, y, label in the release frame, `suggestion` the
run lengths (of the mask's size) of what the model offered, `edit_iou` its IoU with what the person made of it.
`predicted_iou` is the model's for its suggestion, null where none had a part; the sample's JSON says 1 there."""

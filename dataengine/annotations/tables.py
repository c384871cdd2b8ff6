"""The tables of the annotation store. `migrations/` builds them; a test keeps the two equal.

Times are integers, milliseconds since 1970 of the server's clock: exact on every database, and part of the
event chain's hashes.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only where the type is spelled INTEGER."""

user = Table(
    "user",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("password", Text),
    Column("active", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

token = Table(
    "token",
    metadata,
    # Only the hash: whoever reads the database can't log in with what he finds.
    Column("hash", String(64), primary_key=True),
    Column("user_id", ForeignKey("user.id"), nullable=False),
    Column("scope", String(16), nullable=False),
    Column("label", String(128), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

model = Table(
    "model",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("encoder", String(128), nullable=False),
    Column("input_size", Integer, nullable=False),
    Column("embedding_size", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("mask_threshold", Float, nullable=False),
    Column("promoted_at", BigInteger, nullable=False),
)
"""The current model is the one that was promoted last; promoting an older one again is the rollback."""

image = Table(
    "image",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("original_width", Integer, nullable=False),
    Column("original_height", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("redactions", JSON, nullable=False),
)

embedding = Table(
    "embedding",
    metadata,
    Column("image_id", ForeignKey("image.id"), primary_key=True),
    Column("encoder", String(128), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("updated_at", BigInteger, nullable=False),
)
"""`state`: ready | failed. No row = not made yet."""

task = Table(
    "task",
    metadata,
    Column("id", Id, primary_key=True),
    Column("image_id", ForeignKey("image.id"), nullable=False),
    Column("stage", String(32), nullable=False),
    Column("pass", Integer, nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("parent_id", ForeignKey("task.id")),
    Column("state", String(16), nullable=False),
    Column("priority", BigInteger, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("lease_id", String(36)),
    Column("lease_user_id", ForeignKey("user.id")),
    Column("lease_expires_at", BigInteger),
    Column("annotator_id", ForeignKey("user.id")),
    Column("encoder", String(128)),
    Column("exhaustive", Boolean),
    Column("reason", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("submitted_at", BigInteger),
    UniqueConstraint("image_id", "stage", "pass"),
    Index("ix_task_queue", "stage", "state", "priority", "id"),
    Index("ix_task_lease_user_id", "lease_user_id"),
)

lease = Table(
    "lease",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("task_id", ForeignKey("task.id"), nullable=False, index=True),
    Column("user_id", ForeignKey("user.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("touched_at", BigInteger, nullable=False),
    Column("active_ms", BigInteger, nullable=False),
    Column("counted_ms", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("ending", String(16)),
    UniqueConstraint("task_id", "fence"),
)
"""`active_ms`: time between the holder's requests, each gap capped: what his masks' times may add up to."""

mask = Table(
    "mask",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("task_id", ForeignKey("task.id"), nullable=False, index=True),
    Column("author_id", ForeignKey("user.id"), nullable=False),
    Column("parent_id", ForeignKey("mask.id")),
    Column("source", String(16), nullable=False),
    Column("counts", Text, nullable=False),
    Column("bbox", JSON, nullable=False),
    Column("area", BigInteger, nullable=False),
    Column("prompts", JSON),
    Column("clicks", Integer),
    Column("suggestion", Text),
    Column("edit_iou", Float),
    Column("predicted_iou", Float),
    Column("score", Float),
    Column("model", String(128)),
    Column("active_ms", BigInteger, nullable=False),
    Column("counted_ms", BigInteger, nullable=False),
    Column("prominence", Integer, nullable=False),
    Column("is_group", Boolean, nullable=False),
    Column("locked", Boolean, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("verdict", String(16)),
    Column("verdict_reason", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)
"""`counts` and `suggestion` are COCO's compressed strings; their size is the image's."""

mask_revision = Table(
    "mask_revision",
    metadata,
    Column("mask_id", ForeignKey("mask.id"), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("user_id", ForeignKey("user.id"), nullable=False),
    Column("lease_id", String(36)),
    Column("state", String(16), nullable=False),
    Column("content", JSON, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("counted_ms", BigInteger, nullable=False),
    Column("reason", Text),
    Column("created_at", BigInteger, nullable=False),
)

orphan = Table(
    "orphan",
    metadata,
    Column("id", Id, primary_key=True),
    Column("user_id", ForeignKey("user.id"), nullable=False),
    Column("mutation", String(36), nullable=False),
    Column("task_id", ForeignKey("task.id"), nullable=False, index=True),
    Column("mask_id", String(36), nullable=False),
    Column("lease_id", String(36), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("cause", String(32), nullable=False),
    Column("content", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("user_id", "mutation"),
)
"""Work that came too late, under a lease that had gone to somebody else: kept, never dropped."""

mutation = Table(
    "mutation",
    metadata,
    Column("user_id", ForeignKey("user.id"), primary_key=True),
    Column("id", String(36), primary_key=True),
    Column("request", String(64), nullable=False),
    Column("answer", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

review = Table(
    "review",
    metadata,
    Column("id", Id, primary_key=True),
    Column("task_id", ForeignKey("task.id"), nullable=False, index=True),
    Column("reviewer_id", ForeignKey("user.id"), nullable=False),
    Column("lease_id", String(36), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("reason", Text),
    Column("masks", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

agreement = Table(
    "agreement",
    metadata,
    Column("task_id", ForeignKey("task.id"), primary_key=True),
    Column("other_id", ForeignKey("task.id"), primary_key=True),
    Column("matched", Integer, nullable=False),
    Column("unmatched", Integer, nullable=False),
    Column("mean_iou", Float),
    Column("panoptic_quality", Float),
    Column("created_at", BigInteger, nullable=False),
)

probe = Table(
    "probe",
    metadata,
    Column("id", Id, primary_key=True),
    Column("task_id", ForeignKey("task.id"), nullable=False, index=True),
    Column("mask_id", String(36), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("content", JSON, nullable=False),
    Column("outcome", String(16)),
    Column("created_at", BigInteger, nullable=False),
)
"""A confident prefill that was withheld (`content`: the suggestion), or a bad one that was planted, of a task of
stage 2. `kind`: withheld | planted. `outcome`, when the task is finished: found | missed, deleted | kept."""

prefill = Table(
    "prefill",
    metadata,
    Column("task_id", ForeignKey("task.id"), primary_key=True),
    Column("model", String(128), nullable=False),
    Column("source", String(192), nullable=False),
    Column("found", JSON, nullable=False),
    Column("reason", Text),
    Column("created_at", BigInteger, nullable=False),
)
"""That the task was prefilled for a model (its id) by a detector with its settings (`source`); `found`: one entry a
mask, with detector, label and stability. `reason`: why there is nothing, when it failed."""

snapshot = Table(
    "snapshot",
    metadata,
    Column("id", Id, primary_key=True),
    Column("event_seq", BigInteger, nullable=False),
    Column("event_hash", String(64), nullable=False),
    Column("images", Integer, nullable=False),
    Column("masks", Integer, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

event = Table(
    "event",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("user_id", BigInteger),
    Column("task_id", BigInteger, index=True),
    Column("image_id", BigInteger),
    Column("mask_id", String(36)),
    Column("data", JSON, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
"""Append-only (triggers refuse anything else), each row's hash covers the row and the hash before it."""

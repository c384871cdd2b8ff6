"""The model the annotators use now, and which images are ready for it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from dataengine.annotations.tables import embedding, lease, model, prefill, task
from schemas.annotations import AnnotationModel

SEMI_AUTOMATIC = "semi-automatic"


def current_model(connection: Connection) -> AnnotationModel | None:
    """The model that was promoted last; None when none was."""
    row = connection.execute(sa.select(model).order_by(model.c.promoted_at.desc(), model.c.id).limit(1)).first()
    return _view(row) if row is not None else None


def model_by_id(connection: Connection, model_id: str) -> AnnotationModel | None:
    row = connection.execute(sa.select(model).where(model.c.id == model_id)).first()
    return _view(row) if row is not None else None


def model_of_lease(connection: Connection, encoder: str | None, lease_id: str | None) -> AnnotationModel | None:
    """The model of this encoder that was the current one when the lease was given: its holder finishes on it.

    Without a lease, or when that model was promoted again since, the newest of the encoder.
    """
    given = sa.select(lease.c.created_at).where(lease.c.id == lease_id).scalar_subquery()
    of_encoder = sa.select(model).where(model.c.encoder == encoder).limit(1)
    # Those promoted later come last.
    later = sa.case((model.c.promoted_at > given, 1), else_=0)
    row = connection.execute(of_encoder.order_by(later, model.c.promoted_at.desc())).first()
    return _view(row) if row is not None else None


def current_encoder(connection: Connection) -> str | None:
    found = current_model(connection)
    return found.encoder if found is not None else None


def has_embedding(image_id: ColumnElement[int] | int, encoder: str | None) -> ColumnElement[bool]:
    """SQL condition: the image's embedding of this encoder is ready."""
    return sa.exists().where(
        embedding.c.image_id == image_id, embedding.c.encoder == encoder, embedding.c.state == "ready"
    )


def is_prefilled(of: Any, model_id: str | None) -> ColumnElement[bool]:
    """SQL condition on a task: nothing is to be prefilled, or it has been for this model.

    Only untouched tasks of stage 2 are ever prefilled: never leased, and no repetition of a rejected pass.
    """
    done = sa.exists().where(prefill.c.task_id == of.c.id, prefill.c.model == model_id)
    return sa.or_(of.c.stage != SEMI_AUTOMATIC, ~untouched(of), done)


def untouched(of: Any) -> ColumnElement[bool]:
    """SQL condition: nobody ever had the task."""
    return sa.and_(of.c.parent_id.is_(None), ~sa.exists().where(lease.c.task_id == of.c.id))


def idle_state(connection: Connection, image_id: int, task_id: int | None = None) -> str:
    """State of a task that nobody holds: `ready` when its image's embedding is, and its prefill, else `pending`.

    Without `task_id`: of a new pass of the image, which is not prefilled.
    """
    now = current_model(connection)
    wanted = has_embedding(image_id, now.encoder if now else None)
    if task_id is not None:
        mine = sa.exists().where(task.c.id == task_id, is_prefilled(task, now.id if now else None))
        wanted = sa.and_(wanted, mine)
    return "ready" if connection.execute(sa.select(wanted)).scalar_one() else "pending"


def _view(row: sa.Row) -> AnnotationModel:
    return AnnotationModel(
        id=row.id,
        name=row.name,
        encoder=row.encoder,
        input_size=row.input_size,
        embedding_size=row.embedding_size,
        source=row.source,
        mask_threshold=row.mask_threshold,
    )

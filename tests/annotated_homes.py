"""Small homes with a catalog, and images as the annotation store holds them; without Ray and detectors."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from dataengine.catalog import Examiner, records_to_table
from dataengine.catalog.rows import iter_rows
from dataengine.home import Home, create_home
from dataengine.masks import box_of_mask, encode, xyxy_to_xywh
from dataengine.shards.release_image import release_size
from schemas import ImageRecord, ImageRef
from schemas.annotations import AnnotatedMask, Prompts, Redaction, TaskImage
from schemas.snapshots import AcceptedImage
from tests.dataengine.labelled_sets import drawn_object
from tests.workflows.conftest import write_photos
from workflows.snapshot import AcceptedMasks


def home_with_catalog(folder: Path, photos: int, overrides: Sequence[str] = ()) -> Home:
    """A home over the first photos of `write_photos`, whose catalog is finished."""
    images = folder / "photos"
    kept = write_photos(images)[:photos]
    home = create_home(str(folder / "home"), [str(images)], overrides)
    examiner = Examiner([], 300)
    rows = [
        examiner.examine(
            ImageRef(image_id=number, source=str(images), path=path.name, licence="CC0", author="somebody"),
            path.read_bytes(),
        )
        for number, path in enumerate(kept, start=1)
    ]
    with home.storage.staged("catalog/part-000000.parquet") as part:
        pq.write_table(records_to_table(rows), part)
    home.storage.write("units/ingest/part-000000.json", b"{}")
    return home


def catalog_of(home: Home) -> list[ImageRecord]:
    return list(iter_rows(home.storage.url_of("catalog/part-000000.parquet")))


def task_image(row: ImageRecord, short_side: int = 1500, redactions: Sequence[Redaction] = ()) -> TaskImage:
    assert row.sha256 and row.width and row.height
    height, width = release_size(row.height, row.width, short_side)
    return TaskImage(
        id=row.image_id,
        name=row.path,
        width=width,
        height=height,
        original_width=row.width,
        original_height=row.height,
        source=row.source,
        path=row.path,
        sha256=row.sha256,
        redactions=list(redactions),
    )


def annotated(mask: np.ndarray, number: int, **more: object) -> AnnotatedMask:
    """A live, assisted mask of author 7, whose id follows from `number`."""
    box = box_of_mask(mask)
    facts: dict[str, object] = {
        "id": str(uuid.UUID(int=number)),
        "task_id": 1,
        "author": 7,
        "rle": encode(mask)[0],
        "bbox": xyxy_to_xywh(box) if box else [0.0, 0.0, 0.0, 0.0],
        "area": int(mask.sum()),
        "source": "assisted",
        "prompts": Prompts(points=[(12.0, 14.0, 1), (3.0, 4.0, 0)], clicks=2),
        "suggestion": encode(mask)[0],
        "predicted_iou": 0.83,
        "model": "nano",
        "active_ms": 4200,
        "prominence": number,
        "locked": False,
        "score": None,
        "revision": 1,
        "state": "live",
    }
    return AnnotatedMask.model_validate(facts | more)


def accepted_image(image: TaskImage, masks: Sequence[AnnotatedMask]) -> AcceptedImage:
    return AcceptedImage(
        image=image,
        task=image.id,
        stage="assisted-manual",
        exhaustive=True,
        reviewer=9,
        masks=list(masks),
    )


def two_objects(image: TaskImage) -> list[np.ndarray]:
    size = image.height, image.width
    return [
        drawn_object(size, "ellipse", (5, 8, image.width // 2, image.height // 2)),
        drawn_object(size, "rectangle", (10, 10, image.width - 20, image.height - 15)),
    ]


@dataclass
class FixedMasks:
    """Accepted masks that are simply there, in place of a database."""

    images: list[AcceptedImage]

    @contextmanager
    def accepted(self) -> Iterator[AcceptedMasks]:
        yield AcceptedMasks(iter(self.images), 42, "f" * 64)

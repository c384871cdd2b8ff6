"""Our own shards as labelled images: a folder or URL of `sa_NNNNNN.tar`, or one tar."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

from dataengine.catalog.decode import decode
from dataengine.catalog.rows import read_columns
from dataengine.errors import ConfigError, RejectedImageError
from dataengine.home.storage import Storage
from dataengine.labelled.image import MAX_MEGAPIXELS, LabelledImage, LabelledMask
from dataengine.shards.names import file_names, key_of, shard_of, split_url
from dataengine.shards.reader import DamagedShardError, ShardReader
from dataengine.shards.rle_check import parse_runs
from schemas import SampleRecord


def is_shard(name: str) -> bool:
    """Whether a file of this name is a shard's tar."""
    return name.endswith(".tar") and shard_of(name) is not None


def shard_urls(url: str) -> list[str]:
    """The tars of a folder or URL in their order, or the one tar that is named. ConfigError without any."""
    if url.endswith(".tar"):
        return [url]
    storage = Storage(url)
    urls = [storage.url_of(name) for name in storage.list("") if is_shard(name)]
    if not urls:
        raise ConfigError(f"{url}: no shards (sa_000000.tar) there")
    return urls


def originals_of(shard: str) -> dict[int, str]:
    """Image id -> sha256 of the photo it was made from, by the table beside a tar; empty where there is none."""
    folder, name = split_url(shard)
    number = shard_of(name)
    if number is None:
        return {}
    storage, table = Storage(folder), file_names(number)[2]
    if not storage.exists(table):
        return {}
    rows = read_columns(storage.url_of(table), ["image_id", "source_sha256", "status"])
    return {row["image_id"]: row["source_sha256"] for row in rows.to_pylist() if row["status"] == "ok"}


def labelled_of(sample: SampleRecord, jpeg: bytes) -> LabelledImage:
    """A shard's sample, decoded. RejectedImageError for what `dataengine verify` would complain about."""
    image = sample.image
    pixels = decode(jpeg, MAX_MEGAPIXELS).pixels
    if pixels.shape[:2] != (image.height, image.width):
        raise RejectedImageError("the image's size is not the one that its record states")
    return LabelledImage(key_of(image.image_id), pixels, masks_of(sample))


def masks_of(sample: SampleRecord) -> list[LabelledMask]:
    """Damaged run lengths, which would crash pycocotools (see rle_check), raise RejectedImageError."""
    image = sample.image
    good = [record for record in sample.annotations if record.segmentation.size == [image.height, image.width]]
    faults = parse_runs([record.segmentation.counts for record in good], image.height * image.width).faults
    if len(good) < len(sample.annotations) or any(faults):
        raise RejectedImageError("damaged run lengths")
    return [LabelledMask(record.id, record.segmentation) for record in good if record.area]


class ShardFolder:
    """Random access over all shards of a folder; opening it reads the headers of every tar."""

    def __init__(self, url: str) -> None:
        self.skipped: Counter[str] = Counter()
        self._where: dict[str, tuple[str, int]] = {}
        for shard in shard_urls(url):
            with ShardReader(shard) as reader:
                self._where |= {key_of(image_id): (shard, image_id) for image_id in reader.image_ids()}
        self.names = list(self._where)
        self._originals: dict[str, dict[int, str]] = {}
        self._open: ShardReader | None = None

    def read(self, name: str) -> LabelledImage:
        return labelled_of(*self._sample(name))

    def masks(self, name: str) -> tuple[tuple[int, int], list[LabelledMask]]:
        sample, _ = self._sample(name)
        return (sample.image.height, sample.image.width), masks_of(sample)

    def content_hash(self, name: str) -> str:
        """The original's, where the shard's images table tells it: a released JPEG is a copy of the photo."""
        shard, image_id = self._where[name]
        if shard not in self._originals:
            self._originals[shard] = originals_of(shard)
        return self._originals[shard].get(image_id) or hashlib.sha256(self._sample(name)[1]).hexdigest()

    def state_hash(self) -> str:
        """Of the tars' names and sizes: their bytes are many, and verified shards don't change in place."""
        shards = [split_url(shard) for shard in dict.fromkeys(shard for shard, _ in self._where.values())]
        sizes = [(name, Storage(folder).size(name)) for folder, name in shards]
        return hashlib.sha256(json.dumps(sizes).encode()).hexdigest()

    def _sample(self, name: str) -> tuple[SampleRecord, bytes]:
        shard, image_id = self._where[name]
        if self._open is None or self._open.url != shard:
            if self._open is not None:
                self._open.close()
            self._open = ShardReader(shard)
        try:
            return self._open.get(image_id)
        except DamagedShardError as error:
            raise RejectedImageError(f"damaged shard: {error}") from error

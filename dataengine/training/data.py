"""Endless, seeded streams of labelled images that stop and go on anywhere, exactly.

A stream's state is a position (epoch, place), never a buffer: an epoch's order follows from the seed. Workers
share a stream by taking turns in that order, so no image is seen twice in an epoch and none is left out.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from dataengine.errors import ConfigError, EngineError, RejectedImageError
from dataengine.home.storage import Storage
from dataengine.labelled import LabelledImage, LabelledMask, LabelledSource
from dataengine.labelled.shard_folder import labelled_of, shard_urls
from dataengine.shards.names import split_url
from dataengine.shards.reader import ShardReader, open_url
from dataengine.training.seeds import generator_of

State = dict[str, Any]
"""Plain numbers, strings, lists and dicts: goes into a checkpoint."""


class SampleStream(Protocol):
    """An endless iterator of labelled images whose position can be saved and restored.

    `skipped` counts images that could not be used, by reason.
    """

    @property
    def skipped(self) -> Counter[str]: ...

    def __iter__(self) -> Iterator[LabelledImage]: ...

    def __next__(self) -> LabelledImage: ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


class MemorySource:
    """Labelled images that are already in memory, as a `LabelledSource`."""

    def __init__(self, images: Sequence[LabelledImage]) -> None:
        self.skipped: Counter[str] = Counter()
        self._images = {image.name: image for image in images}
        self.names = list(self._images)

    def content_hash(self, name: str) -> str:
        return hashlib.sha256(self._images[name].pixels.tobytes()).hexdigest()

    def state_hash(self) -> str:
        masks = {name: [mask.rle.counts for mask in image.masks] for name, image in self._images.items()}
        return hashlib.sha256(json.dumps(masks).encode()).hexdigest()

    def masks(self, name: str) -> tuple[tuple[int, int], list[LabelledMask]]:
        image = self._images[name]
        return (int(image.pixels.shape[0]), int(image.pixels.shape[1])), image.masks

    def read(self, name: str) -> LabelledImage:
        return self._images[name]


class SetStream:
    """A set with random access (COCO folder, shards, memory), shuffled anew each epoch.

    `names` restricts it to a part, e.g. what isn't held out. With fewer images than workers every
    worker sees all of them.
    """

    def __init__(
        self,
        source: LabelledSource,
        names: Sequence[str] | None = None,
        *,
        seed: int = 0,
        worker: int = 0,
        workers: int = 1,
    ) -> None:
        self._source = source
        self._names = list(source.names if names is None else names)
        if not self._names:
            raise ConfigError("a training set without a single usable image")
        self._seed, self._worker, self._workers = seed, worker, workers
        self.skipped: Counter[str] = Counter()
        self._epoch = self._position = 0
        self._order = self._order_of(0)

    def __iter__(self) -> SetStream:
        return self

    def __next__(self) -> LabelledImage:
        for _ in range(2 * len(self._names)):
            if self._position >= len(self._order):
                self._epoch, self._position = self._epoch + 1, 0
                self._order = self._order_of(self._epoch)
            name = self._names[self._order[self._position]]
            self._position += 1
            try:
                return self._source.read(name)
            except RejectedImageError as error:
                self.skipped[str(error)] += 1
        raise EngineError(f"no image of the training set can be read: {self.skipped.most_common(1)[0][0]}")

    def state_dict(self) -> State:
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: State) -> None:
        self._epoch, self._position = int(state["epoch"]), int(state["position"])
        self._order = self._order_of(self._epoch)

    def _order_of(self, epoch: int) -> list[int]:
        order = torch.randperm(len(self._names), generator=generator_of("set", self._seed, epoch)).tolist()
        return order[self._worker :: self._workers] or order


class ShardStream:
    """Our own shards, local or at any fsspec URL, a few at a time: a folder's, or the tars that are listed.

    Shards come in a new order each epoch and are split among workers; images are shuffled within groups
    of `shards_at_once`. Only the group in hand is open; a remote shard is copied to the local disk while
    it is, one sequential read each, and deleted after. Where there are fewer shards than workers, several
    workers share a shard and take turns in its images. Images whose ids are in `barred` are left out.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        seed: int = 0,
        worker: int = 0,
        workers: int = 1,
        shards_at_once: int = 4,
        barred: Collection[int] = (),
    ) -> None:
        self._urls = shard_urls(url) if isinstance(url, str) else list(url)
        if not self._urls:
            raise ConfigError("a training set without a single shard")
        self._barred = frozenset(barred)
        self._seed, self._at_once = seed, shards_at_once
        lanes = min(workers, len(self._urls))
        self._lane, self._lanes = worker % lanes, lanes
        self._share, self._sharers = worker // lanes, len(range(worker % lanes, workers, lanes))
        self.skipped: Counter[str] = Counter()
        self._epoch = self._group = self._position = 0
        self._readers: list[ShardReader] = []
        self._order: list[tuple[int, int]] | None = None
        self._copies: tempfile.TemporaryDirectory[str] | None = None

    def __iter__(self) -> ShardStream:
        return self

    def __next__(self) -> LabelledImage:
        before = self._epoch
        while self._epoch <= before + 1:
            if self._order is None:
                self._open_group()
            assert self._order is not None
            while self._position < len(self._order):
                reader, image_id = self._order[self._position]
                self._position += 1
                try:
                    return labelled_of(*self._readers[reader].get(image_id))
                except RejectedImageError as error:
                    self.skipped[str(error)] += 1
            self._next_group()
        raise EngineError(f"no image of {self._urls[0]} and the shards beside it can be used for training")

    def state_dict(self) -> State:
        return {"epoch": self._epoch, "group": self._group, "position": self._position}

    def load_state_dict(self, state: State) -> None:
        self.close()
        self._epoch, self._group = int(state["epoch"]), int(state["group"])
        self._position = int(state["position"])

    def close(self) -> None:
        """Close the group in hand and delete its copies; the stream can go on afterwards."""
        for reader in self._readers:
            reader.close()
        if self._copies is not None:
            self._copies.cleanup()
        self._readers, self._order, self._copies = [], None, None

    def _groups(self) -> list[list[str]]:
        order = torch.randperm(len(self._urls), generator=generator_of("shards", self._seed, self._epoch)).tolist()
        mine = [self._urls[index] for index in order[self._lane :: self._lanes]]
        return [mine[first : first + self._at_once] for first in range(0, len(mine), self._at_once)]

    def _open_group(self) -> None:
        self._readers = [ShardReader(self._local(url)) for url in self._groups()[self._group]]
        images = [
            (i, image_id)
            for i, reader in enumerate(self._readers)
            for image_id in reader.image_ids()
            if image_id not in self._barred
        ]
        shuffled = torch.randperm(
            len(images), generator=generator_of("images", self._seed, self._epoch, self._lane, self._group)
        ).tolist()
        self._order = [images[index] for index in shuffled[self._share :: self._sharers]]

    def _next_group(self) -> None:
        self.close()
        self._group, self._position = self._group + 1, 0
        if self._group >= len(self._groups()):
            self._epoch, self._group = self._epoch + 1, 0

    def _local(self, url: str) -> str:
        folder, name = split_url(url)
        if Storage(folder).is_local:
            return url
        if self._copies is None:
            self._copies = tempfile.TemporaryDirectory(prefix="dataengine-shards-")
        copy = Path(self._copies.name) / name
        with open_url(url) as remote, copy.open("wb") as local:
            shutil.copyfileobj(remote, local, 1 << 22)
        return str(copy)


class MixedStream:
    """Several streams with weights: each image comes from stream i with probability weight_i / sum.

    The paper draws each human-made image ten times as often as an automatic one: weights 10 x images
    and 1 x images. Which stream the n-th image comes from follows from the seed and n alone.
    """

    def __init__(self, streams: Sequence[tuple[SampleStream, float]], *, seed: int = 0) -> None:
        if not streams or any(weight <= 0 for _, weight in streams):
            raise ConfigError("a mixture needs at least one stream, and weights above 0")
        self._streams = [stream for stream, _ in streams]
        self._weights = torch.tensor([weight for _, weight in streams], dtype=torch.float64)
        self._seed, self._drawn = seed, 0

    @property
    def skipped(self) -> Counter[str]:
        return sum((stream.skipped for stream in self._streams), Counter())

    def __iter__(self) -> MixedStream:
        return self

    def __next__(self) -> LabelledImage:
        draw = torch.multinomial(self._weights, 1, generator=generator_of("mixture", self._seed, self._drawn))
        self._drawn += 1
        return next(self._streams[int(draw)])

    def state_dict(self) -> State:
        return {"drawn": self._drawn, "streams": [stream.state_dict() for stream in self._streams]}

    def load_state_dict(self, state: State) -> None:
        self._drawn = int(state["drawn"])
        for stream, position in zip(self._streams, state["streams"], strict=True):
            stream.load_state_dict(position)

"""Streams: every image once an epoch, workers share it, and a restored position goes on exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from dataengine.errors import EngineError
from dataengine.labelled import LabelledImage, LabelledMask, open_labelled
from dataengine.masks.rle import encode
from dataengine.model import build_sam
from dataengine.training.data import MemorySource, MixedStream, SampleStream, SetStream, ShardStream
from dataengine.training.examples import frame_of, make_example
from dataengine.training.seeds import generator_of
from schemas.training import Phase
from tests.dataengine.labelled_sets import compressed, drawn_object, photo, write_coco
from tests.dataengine.shards.sample_shards import write_sample_shard

SIZE = (24, 36)


def small_source(count: int, prefix: str = "image") -> MemorySource:
    mask = LabelledMask(1, encode(drawn_object(SIZE, "rectangle", (4, 4, 20, 15)))[0])
    return MemorySource([LabelledImage(f"{prefix}{i}", photo(*SIZE), [mask]) for i in range(count)])


def take(stream: SampleStream, count: int) -> list[str]:
    return [image.name for image in islice(stream, count)]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(5):
        write_sample_shard(folder, shard, count=3, short_side=48)
    return str(folder)


def test_an_epoch_has_every_image_once_in_a_new_order() -> None:
    names = take(SetStream(small_source(9), seed=3), 27)
    epochs = [names[i : i + 9] for i in (0, 9, 18)]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs) and len(set(map(tuple, epochs))) == 3
    assert take(SetStream(small_source(9), seed=3), 27) == names != take(SetStream(small_source(9), seed=4), 27)


def test_workers_share_an_epoch() -> None:
    seen = [take(SetStream(small_source(9), worker=w, workers=3), 3) for w in range(3)]
    assert len({name for part in seen for name in part}) == 9
    assert len(take(SetStream(small_source(2), worker=4, workers=5), 4)) == 4


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_shards_are_shared_too_also_by_more_workers_than_there_are(shards: str, workers: int) -> None:
    everything = set(open_labelled(shards).names)
    streams = [ShardStream(shards, worker=w, workers=workers, shards_at_once=2) for w in range(workers)]
    seen: Counter[str] = Counter()
    for stream in streams:
        while stream.state_dict()["epoch"] == 0:
            seen[next(stream).name] += 1
    # The last image of each worker opened its second epoch.
    assert set(seen) == everything
    assert sum(seen.values()) - len(everything) <= workers


def test_shard_images_come_in_a_new_order_each_epoch(shards: str) -> None:
    stream = ShardStream(shards, seed=1, shards_at_once=2)
    first, second = take(stream, 15), take(stream, 15)
    assert sorted(first) == sorted(second) == sorted(open_labelled(shards).names) and first != second


def test_remote_shards_are_copied_one_group_at_a_time(shards: str, tmp_path: Path) -> None:
    import fsspec

    remote = fsspec.filesystem("memory")
    for path in Path(shards).glob("*.tar"):
        remote.pipe_file(f"/bucket/shards/{path.name}", path.read_bytes())
    stream = ShardStream("memory://bucket/shards", seed=1, shards_at_once=2)
    assert take(stream, 15) == take(ShardStream(shards, seed=1, shards_at_once=2), 15)
    assert stream._copies is not None
    kept = Path(stream._copies.name)
    assert len(list(kept.iterdir())) <= 2
    stream.close()
    assert not kept.exists()


def mixture(shards: str) -> MixedStream:
    return MixedStream([(SetStream(small_source(5, "human")), 3.0), (ShardStream(shards, shards_at_once=2), 1.0)])


@pytest.mark.parametrize("after", [0, 1, 4, 13, 40])
@pytest.mark.parametrize(
    "make",
    [lambda shards: SetStream(small_source(5)), lambda shards: ShardStream(shards, shards_at_once=2), mixture],
    ids=["set", "shards", "mixture"],
)
def test_a_restored_position_goes_on_exactly(make: Callable[[str], SampleStream], shards: str, after: int) -> None:
    stream = make(shards)
    take(stream, after)
    state = stream.state_dict()
    rest = take(stream, 25)
    again = make(shards)
    again.load_state_dict(state)
    assert take(again, 25) == rest


def test_a_mixture_follows_its_weights() -> None:
    stream = MixedStream([(SetStream(small_source(5, "human")), 10.0), (SetStream(small_source(5, "auto")), 2.0)])
    share = sum(name.startswith("human") for name in take(stream, 1200)) / 1200
    assert share == pytest.approx(10 / 12, abs=0.035)


def test_images_that_are_gone_are_counted_and_passed_over(tmp_path: Path) -> None:
    mask = compressed(drawn_object(SIZE, "rectangle", (4, 4, 20, 15)))
    folder = write_coco(tmp_path / "set", {f"{i}.jpg": (photo(*SIZE), [mask]) for i in range(3)})
    (folder / "images" / "1.jpg").unlink()
    stream = SetStream(open_labelled(str(folder)))
    assert set(take(stream, 4)) == {"0.jpg", "2.jpg"}
    assert stream.skipped["the image file is missing"] == 2
    for name in ("0.jpg", "2.jpg"):
        (folder / "images" / name).unlink()
    with pytest.raises(EngineError, match="missing"):
        next(stream)


def labelled(*masks: np.ndarray) -> LabelledImage:
    pixels = photo(*masks[0].shape)
    return LabelledImage("a", pixels, [LabelledMask(i, encode(mask)[0]) for i, mask in enumerate(masks)])


def test_examples_keep_image_and_masks_aligned() -> None:
    sam = build_sam("nano")
    size = (300, 400)
    mask = drawn_object(size, "rectangle", (100, 120, 299, 239))
    image = labelled(mask)
    image.pixels[mask] = 255
    image.pixels[~mask] = 0
    plain = Phase(steps=1)
    frame = frame_of(sam, plain)
    phases = [plain, Phase(steps=1, flip=1.0), *[Phase(steps=1, jitter=(0.3, 2.0))] * 6]
    for number, phase in enumerate(phases):
        generator = generator_of("aligned", number)
        example = make_example(sam, image, phase, frame, generator)
        if example is None:  # jitter may cut the object away
            assert phase.jitter is not None
            continue
        assert max(example.size) <= 512 and example.truth.dtype == torch.bool
        cells = example.pixels.float().mean(0)[: example.truth.shape[1] * 4, : example.truth.shape[2] * 4]
        bright = torch.nn.functional.avg_pool2d(cells[None], 4)[0] > 127.5
        assert (bright != example.truth[0]).float().mean() < 0.01
    whole = make_example(sam, image, plain, frame, generator_of(1))
    assert whole is not None and whole.size == (384, 512) and whole.truth.shape == (1, 96, 128)
    rows, columns = whole.truth[0].any(1).nonzero()[:, 0], whole.truth[0].any(0).nonzero()[:, 0]
    assert (columns[0], columns[-1] + 1, rows[0], rows[-1] + 1) == (32, 96, 38, 77)


def test_large_and_vanishing_masks_are_discarded_and_the_rest_is_sampled() -> None:
    sam = build_sam("nano")
    size = (128, 128)
    over = np.ones(size, bool)
    over[:12] = False  # 90.6 %
    under = np.ones(size, bool)
    under[:14] = False  # 89.1 %
    speck = np.zeros((1024, 1024), bool)
    speck[500, 500] = True
    frame = frame_of(sam, Phase(steps=1))
    assert make_example(sam, labelled(over), Phase(steps=1), frame, generator_of(1)) is None
    assert make_example(sam, labelled(speck), Phase(steps=1), frame, generator_of(1)) is None
    kept = make_example(sam, labelled(over, under), Phase(steps=1), frame, generator_of(1))
    assert kept is not None and len(kept.truth) == 1
    many = labelled(*[drawn_object(size, "rectangle", (i, i, i + 40, i + 30)) for i in range(20)])
    chosen = [make_example(sam, many, Phase(steps=1, masks_per_image=3), frame, generator_of(i)) for i in range(2)]
    assert all(c is not None and len(c.truth) == 3 for c in chosen)
    assert not torch.equal(chosen[0].truth, chosen[1].truth)  # type: ignore[union-attr]

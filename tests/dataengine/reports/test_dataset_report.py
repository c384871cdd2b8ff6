import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_shards import finished_photo, write_sample_shard

from dataengine.reports.dataset_report import Outcome, render_dataset_report, write_dataset_report
from dataengine.reports.histogram import count_histogram, share_histogram
from dataengine.reports.shard_facts import read_facts
from dataengine.shards.finished import FinishedImage
from dataengine.shards.jpeg_check import check_jpeg
from dataengine.shards.reader import read_samples
from dataengine.shards.writer import write_shard
from schemas import CheckpointCard, EngineConfig, ImageRecord, ShardPlan

EVIL = "<img src=x onerror=\"alert(1)\"> & 'quoted'"
CARD = CheckpointCard(
    name="nano <b>",
    architecture="nano",
    sha256="ab" * 32,
    licence=f"Apache-2.0 {EVIL}",
    description="small",
    image_size=512,
    embedding_size=32,
    parameters=6_600_000,
    pred_iou_thresh=0.41,
    stability_score_thresh=0.52,
    metrics={"miou_top1": 0.375},
)


class _Page(HTMLParser):
    """What a browser would make of the page: its text, its elements and their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).split())

    def pictures(self) -> list[bytes]:
        sources = [attributes.get("src") or "" for tag, attributes in self.elements if tag == "img"]
        return [base64.b64decode(s.partition(",")[2]) for s in sources if s.startswith("data:image/jpeg")]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for shard in (0, 1):
        write_sample_shard(folder, shard, count=4)
    images = [
        finished_photo(900, 0, caption=f"A caption {EVIL}"),
        FinishedImage(901, "failed", reason=f"why {EVIL}"),
    ]
    write_shard(folder, ShardPlan(shard=2, image_ids=[900, 901], parts=[0, 0]), images)
    return folder


def _rejected(count: int) -> list[ImageRecord]:
    rows = [
        ImageRecord(image_id=i, source="s", path=f"p/{i}{EVIL}.jpg", status="rejected", reason=f"reason {i} {EVIL}")
        for i in range(count)
    ]
    return [*rows, ImageRecord(image_id=99, source="s", path="fine.jpg", status="ok")]


def test_the_page_shows_what_the_shards_hold(shards: Path, tmp_path: Path) -> None:
    target = write_dataset_report(
        str(shards),
        tmp_path / "reports" / "report.html",
        title="My photos",
        counts={"inputs": 12},
        timings={"ingest": 3.25, "generate": 4000},
        images_per_second=0.314,
        rejected=_rejected(3),
        card=CARD,
        settings=EngineConfig(),
    )
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]
    page = _Page(target.read_text())
    masks = sum(len(s.annotations) for tar in shards.glob("*.tar") for s, _ in read_samples(str(tar)))
    for expected in (
        "My photos",
        f"{masks:,} masks on 9 images, made by nano <b>.",
        "0.314 images a second",
        "1 h 06 min",
        "of 12 planned",
        "12 inputs",
        "miou_top1 0.375",
        "0.41",
        "0.52",
        "6.6 M parameters",
        "generate.preset auto",
        "shards.short_side 1500",
        "faces",
    ):
        assert expected in page.text, expected


def test_every_reason_is_there_and_nothing_of_it_is_markup(shards: Path) -> None:
    html = render_dataset_report(str(shards), title=EVIL, rejected=_rejected(30), card=CARD)
    page = _Page(html)
    plain = " ".join(EVIL.split())
    for i in range(30):
        assert f"reason {i} {plain}" in page.text
        assert f"p/{i}{plain}.jpg" in page.text
    assert f"why {plain}" in page.text and f"A caption {plain}" in page.text
    assert "its bytes are not those that were ingested" in page.text
    assert "fine.jpg" not in page.text
    assert EVIL not in html
    assert not [attributes for _, attributes in page.elements if "onerror" in attributes]
    assert "33 inputs ended without a sample" in page.text


def test_the_page_loads_nothing_and_runs_its_own_script_only(shards: Path) -> None:
    import hashlib

    html = render_dataset_report(str(shards))
    page = _Page(html)
    for _, attributes in page.elements:
        for name in ("src", "href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("data:image/jpeg;base64,", "#")), value[:60]
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert "default-src 'none'" in html


def test_pictures_are_the_released_ones_spread_over_the_shards(shards: Path) -> None:
    pictures = _Page(render_dataset_report(str(shards), max_images=3)).pictures()
    assert len(pictures) == 6
    assert all(check_jpeg(picture)[1] == [] for picture in pictures)
    shown = read_facts(str(shards), 3).shown
    assert len({image.shard for image in shown}) >= 2
    released = {s.image.image_id: jpeg for tar in shards.glob("*.tar") for s, jpeg in read_samples(str(tar))}
    for image, picture in zip(shown, pictures[::2], strict=True):
        ours = np.asarray(Image.open(io.BytesIO(picture)), int)
        theirs = np.asarray(Image.open(io.BytesIO(released[image.image_id])), int)
        assert np.abs(ours - theirs).mean() < 5


def test_many_equal_reasons_share_a_row_and_long_lists_are_cut_with_a_number(shards: Path) -> None:
    same = [Outcome(f"copy-{i}.jpg", "duplicate", "same bytes as a.jpg") for i in range(1000)]
    different = [Outcome(f"bad-{i}.jpg", "rejected", f"reason {i}") for i in range(500)]
    page = _Page(render_dataset_report(str(shards), rejected=[*same, *different], max_images=1))
    assert "and 995 more" in page.text and page.text.count("same bytes as a.jpg") == 1
    assert "300 more inputs with other reasons" in page.text


def test_an_empty_dataset_still_has_a_report(tmp_path: Path) -> None:
    lost = FinishedImage(1, "quarantined", reason="its worker died twice")
    write_shard(tmp_path, ShardPlan(shard=0, image_ids=[1], parts=[0]), [lost])
    page = _Page(render_dataset_report(str(tmp_path)))
    assert "its worker died twice" in page.text and "0 masks on 0 images" in page.text
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "Nothing: every input became a sample." in _Page(render_dataset_report(str(empty))).text


def test_histograms_count_everything() -> None:
    rng = np.random.default_rng(0)
    for low, high in ((0, 1), (5, 6), (0, 30), (3, 400), (0, 5000)):
        counts = rng.integers(low, high, 200)
        histogram = count_histogram(counts, "t", "masks")
        assert histogram is not None and sum(bar.count for bar in histogram.bars) == 200
        assert len(histogram.bars) <= 26 and max(bar.height for bar in histogram.bars) <= 1
        for bar in histogram.bars:
            assert bar.count == ((counts >= bar.low) & (counts < bar.high)).sum()
    assert count_histogram(np.zeros(0, np.int64), "t", "") is None
    assert share_histogram(np.zeros(5, np.int64), "t", "") is None
    shares = share_histogram(np.array([3, 0, 1, 0, 7]), "t", "")
    assert shares is not None and [bar.count for bar in shares.bars] == [3, 0, 1, 0, 7]


def test_shards_of_any_store_can_be_verified_inspected_and_shown(shards: Path) -> None:
    import fsspec

    from dataengine.shards.inspect import find_image
    from dataengine.shards.verify import verify_tree

    memory, root = fsspec.filesystem("memory"), "memory://bucket/home/shards"
    for path in shards.iterdir():
        memory.pipe(f"/bucket/home/shards/{path.name}", path.read_bytes())
    report = verify_tree(root)
    assert report.ok and report.images == 9
    assert find_image(root, 900)[0].image.image_id == 900
    assert len(_Page(render_dataset_report(root, max_images=2)).pictures()) == 4

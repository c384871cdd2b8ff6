"""Listing and reading sources: order, globs, links, odd names, metadata, what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest

from dataengine.catalog import list_inputs, read_source
from dataengine.catalog import sources as module
from dataengine.catalog.sources import ListingCounts
from dataengine.errors import ConfigError, EngineError, SourceGoneError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for name in (
        "b.JPG",
        "a.png",
        "sub/deep/z.webp",
        "sub/c.jpeg",
        "sub.jpg",
        "notes.txt",
        ".hidden.png",
        ".git/x.png",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def paths(sources: list[str], base: Path, counts: ListingCounts | None = None) -> list[str]:
    return [item.path for item in list_inputs(sources, str(base), counts)]


def test_folders_are_walked_in_a_stable_order(photos: Path, tmp_path: Path) -> None:
    counts = ListingCounts()
    assert paths(["photos"], tmp_path, counts) == ["a.png", "b.JPG", "sub.jpg", "sub/c.jpeg", "sub/deep/z.webp"]
    assert (counts.images, counts.hidden, counts.other) == (5, 2, 1)


@pytest.mark.parametrize("form", ["photos", "photos/", "{absolute}", "file://{absolute}"])
def test_every_way_to_name_a_folder_reads_the_same_bytes(photos: Path, tmp_path: Path, form: str) -> None:
    source = form.format(absolute=photos)
    for item in list_inputs([source], str(tmp_path)):
        assert read_source(item.source, item.path, str(tmp_path)) == item.path.encode()


def test_globs_and_single_files(photos: Path, tmp_path: Path) -> None:
    assert paths(["photos/*.png"], tmp_path) == ["a.png"]
    assert paths(["photos/**/*.jp*g"], tmp_path) == ["sub.jpg", "sub/c.jpeg"]
    assert paths(["photos/sub/*/z.*"], tmp_path) == ["deep/z.webp"]
    assert paths(["photos/b.JPG"], tmp_path) == ["b.JPG"]
    for source in ("photos/**/*.jp*g", "photos/b.JPG"):
        for item in list_inputs([source], str(tmp_path)):
            assert read_source(item.source, item.path, str(tmp_path)) == item.path.encode()


def test_brackets_in_an_existing_name_are_no_glob(tmp_path: Path) -> None:
    (tmp_path / "trip [2024]").mkdir()
    (tmp_path / "trip [2024]" / "a[1].png").write_bytes(b"x")
    assert paths(["trip [2024]"], tmp_path) == ["a[1].png"]
    assert paths(["trip [2024]/a[1].png"], tmp_path) == ["a[1].png"]
    assert read_source("trip [2024]/a[1].png", "a[1].png", str(tmp_path)) == b"x"


def test_links_that_lead_back_end(photos: Path, tmp_path: Path) -> None:
    (photos / "sub" / "loop").symlink_to(photos)
    (photos / "broken.png").symlink_to(photos / "nowhere.png")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "o.png").write_bytes(b"o")
    (photos / "linked").symlink_to(outside)
    assert "linked/o.png" in paths(["photos"], tmp_path)
    assert len(paths(["photos"], tmp_path)) == 6


def test_names_that_are_not_utf8_are_listed_and_read(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9 100%E9.png"
    try:
        with open(raw, "wb") as sink:  # noqa: PTH123 - a name in bytes
            sink.write(b"bytes")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    (item,) = list_inputs(["."], str(tmp_path))
    item.path.encode("utf-8")
    assert read_source(".", item.path, str(tmp_path)) == b"bytes"


def test_memory_and_its_metadata() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/bucket/x/one.jpg", b"1")
    fs.pipe_file("/bucket/x/y/two.png", b"2")
    fs.pipe_file("/bucket/x/metadata.csv", b"file_name,license\ny/two.png,CC0\n")
    found = list(list_inputs(["memory://bucket/x"], "unused"))
    assert [(item.path, item.licence) for item in found] == [("one.jpg", None), ("y/two.png", "CC0")]
    assert read_source("memory://bucket/x", "y/two.png", "unused") == b"2"
    assert [item.path for item in list_inputs(["x"], "memory://bucket")] == ["one.jpg", "y/two.png"]


def test_metadata_is_carried_through(photos: Path, tmp_path: Path) -> None:
    (photos / "metadata.csv").write_text(
        "\ufefffile_name,licence,author,source_url,caption,extra\n"
        'a.png,CC BY 4.0,"Doe, Jane",https://example.org/a,"two\nlines",z\n'
        "sub/c.jpeg,,,,,\n"
    )
    rows = {item.path: item for item in list_inputs(["photos"], str(tmp_path))}
    assert (rows["a.png"].licence, rows["a.png"].author) == ("CC BY 4.0", "Doe, Jane")
    assert (rows["a.png"].source_url, rows["a.png"].caption) == ("https://example.org/a", "two\nlines")
    assert rows["sub/c.jpeg"].licence is None and rows["b.JPG"].author is None
    (photos / "metadata.csv").unlink()
    (photos / "metadata.jsonl").write_text('{"file_name": "b.JPG", "license": "CC0"}\n\n')
    assert {item.path: item.licence for item in list_inputs(["photos"], str(tmp_path))}["b.JPG"] == "CC0"


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("metadata.csv", b"name,licence\n", "line 1"),
        ("metadata.csv", b"file_name,licence\na.png,x\nb.png\n", "line 3"),
        ("metadata.csv", b"file_name,licence\na.png,x\n\xff\xfe.png,y\n", "line 3"),
        ("metadata.jsonl", b'{"file_name": "a.png"}\n{"file_name": \n', "line 2"),
        ("metadata.jsonl", b"[1]\n", "line 1"),
        ("metadata.jsonl", b'{"file_name": "a.png", "author": {"x": 1}}\n', "line 1"),
    ],
)
def test_malformed_metadata_names_file_and_line(
    photos: Path, tmp_path: Path, name: str, text: bytes, line: str
) -> None:
    (photos / name).write_bytes(text)
    with pytest.raises(EngineError) as caught:
        paths(["photos"], tmp_path)
    assert name in str(caught.value) and line in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "source", ["pipe:cat /etc/passwd", "pipe://ls", "http://example.org/a.jpg", "ssh://host/x", "simplecache::s3://b/x"]
)
def test_what_could_run_a_command_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="refused"):
        paths([source], tmp_path)


def test_missing_and_empty_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        paths(["nowhere"], tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").write_text("no image")
    with pytest.raises(ConfigError, match="empty"):
        paths(["empty"], tmp_path)


def test_reading_what_is_gone(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "a.png").unlink()
    with pytest.raises(SourceGoneError, match="gone"):
        read_source("photos", "a.png", str(tmp_path))
    with pytest.raises(EngineError, match="not a path inside"):
        read_source("photos", "../secret.png", str(tmp_path))
    monkeypatch.setattr(module, "RETRY_PAUSES", (0.0,))
    photos.rename(tmp_path / "unmounted")
    with pytest.raises(EngineError) as caught:
        read_source("photos", "b.JPG", str(tmp_path))
    assert not isinstance(caught.value, SourceGoneError), "an unmounted disk is no image's fault"


def test_a_flaky_store_is_asked_again(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_PAUSES", (0.0, 0.0))
    answers = [OSError("busy"), OSError("busy"), b"pixels"]
    read_bytes = Path.read_bytes

    def flaky(path: Path) -> bytes:
        answer = answers.pop(0) if answers else read_bytes(path)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(Path, "read_bytes", flaky)
    assert read_source("photos", "a.png", str(tmp_path)) == b"pixels"


def test_the_listing_streams(tmp_path: Path) -> None:
    """The first input comes before the second folder has been opened."""
    for folder in ("a", "b"):
        (tmp_path / "many" / folder).mkdir(parents=True)
        (tmp_path / "many" / folder / "1.png").write_bytes(b"")
    stream = list_inputs(["many"], str(tmp_path))
    assert next(stream).path == "a/1.png"
    (tmp_path / "many" / "b" / "2.png").write_bytes(b"")
    assert [item.path for item in stream] == ["b/1.png", "b/2.png"]

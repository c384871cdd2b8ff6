"""The dataset card: README.md with YAML front matter as Hugging Face reads it, from the index alone."""

from __future__ import annotations

import html
from collections import Counter
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from dataengine.release.names import SAMPLE
from schemas.release import ReleasedPart, ReleaseIndex

_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
"""Hugging Face's size categories, by images."""
_ROWS = (("images", "images"), ("masks", "masks"), ("images without a sample", "without_sample"))


def render_card(index: ReleaseIndex) -> str:
    """The whole file. What other people wrote (licences, names) can't break out of its line or its cell."""
    # Markdown: `plain` escapes what is somebody else's, HTML's rules would spoil the rest.
    environment = Environment(
        loader=PackageLoader("dataengine.release"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = _plain
    environment.filters["code"] = lambda text: " ".join(text.replace("`", "'").split())
    licences = Counter[str]()
    for part in index.parts:
        licences.update(part.licences)
    body = environment.get_template("card.md.j2").render(
        index=index,
        title=_title(index),
        counts=_counts(index),
        licences=licences.most_common(),
        restricted=[line for part in index.parts if part.model for line in part.model.non_commercial],
        urls=_urls(index.parts[0]),
        number=_number,
    )
    front = yaml.safe_dump(_front_matter(index), sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{front}---\n\n{_tidy(body)}"


def _front_matter(index: ReleaseIndex) -> dict[str, Any]:
    """Keys of https://huggingface.co/docs/hub/datasets-cards. Paths are relative to the mirror's root."""
    licences = {licence for part in index.parts for licence in part.licences}
    stated: dict[str, Any] = {"license": "unknown"}
    if licences - {""}:
        stated = {"license": "other", "license_name": "see-card"}
    parts = [{"config_name": part.name, "data_files": f"{part.folder}/sa_*.tar"} for part in index.parts]
    sample = {"config_name": "sample", "data_files": f"releases/{index.version}/{SAMPLE}/sa_*.tar"}
    return {
        **stated,
        "pretty_name": _title(index),
        "task_categories": ["image-segmentation", "mask-generation"],
        "tags": ["segment-anything", "sa-1b", "webdataset", "class-agnostic"],
        "size_categories": [_size(index.count("images"))],
        "configs": [{**parts[0], "default": True}, *parts[1:], sample],
    }


def _title(index: ReleaseIndex) -> str:
    return f"Segmentation masks in SA-1B's form, {index.version}"


def _counts(index: ReleaseIndex) -> list[tuple[str, list[str]]]:
    rows = [(label, [_number(part.counts.get(name, 0)) for part in index.parts]) for label, name in _ROWS]
    rows += [
        (f"masks an image, {label}", [f"{part.masks_per_image[label]:g}" for part in index.parts])
        for label in ("mean", "median", "most")
    ]
    sizes = [sum(stored.bytes for shard in part.shards for stored in shard.files) for part in index.parts]
    rows.append(("shards", [_number(len(part.shards)) for part in index.parts]))
    rows.append(("size", [f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB" for size in sizes]))
    return rows


def _size(images: int) -> str:
    return next((name for limit, name in _SIZES if images < limit), "n>10M")


def _urls(part: ReleasedPart) -> str:
    """In webdataset's braces; shards are numbered without a gap."""
    first, last = part.shards[0].name, part.shards[-1].name
    if first == last:
        return part.shards[0].tar.path
    return f"{part.folder}/sa_{{{first.removeprefix('sa_')}..{last.removeprefix('sa_')}}}.tar"


def _number(value: int) -> str:
    return f"{value:,}"


def _plain(text: str) -> str:
    """One line of Markdown that shows `text` and does nothing else."""
    line = html.escape(" ".join(text.split()), quote=False)
    for sign in "\\`*_[]|":
        line = line.replace(sign, f"\\{sign}")
    return line


def _tidy(body: str) -> str:
    """Without the empty lines that blocks leave behind."""
    lines: list[str] = []
    for line in (line.rstrip() for line in body.splitlines()):
        if line or (lines and lines[-1]):
            lines.append(line)
    return "\n".join(lines).strip() + "\n"

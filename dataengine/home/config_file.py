"""Reading and writing `engine.yaml`: every error at once, each with its line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml
from pydantic import ValidationError

from dataengine.errors import ConfigError
from schemas import EngineConfig

TEMPLATE = """\
# The config of this engine home: the only file a person edits. Paths are relative to it.
# Any key can be set for one run: dataengine generate HOME --set generate.points_per_side=16

images: {images}

model: nano                  # registry name (`dataengine models` lists them) or a checkpoint file

ingest:
  duplicates: exact          # exact | off: same bytes twice = one image, one row `duplicate of ...`
  max_megapixels: 300        # larger images become rejected rows
  images_per_part: 1000      # rows of a catalog file, the unit that a rerun repeats

privacy:
  faces: default             # default | off
  plates: default            # default | off
  mode: blur                 # blur | off: what shards, reports and thumbnails show
  blur_for_annotators: true

generate:
  preset: auto               # auto | official (the public code's defaults) | sa-1b (the paper's)
  precision: exact           # exact | bf16 (faster on a GPU; borderline masks may differ)
  memory_gb: 4
  # The preset decides the keys below; take the # away to decide yourself.
  # points_per_side: 32
  # crop_layers: 2
  # points_downscale: 2
  # pred_iou_thresh: 0.88
  # stability_score_thresh: 0.95
  # box_nms_thresh: 0.7
  # crop_nms_thresh: 0.7
  # min_mask_region_area: 100

shards:
  images_per_shard: 1000
  short_side: 1500           # pixels of the released image; never upscaled
  jpeg_quality: 95

ray:
  address: null              # null = start Ray on this machine; auto = join the running cluster
  generators: auto           # actors that own a model: auto = one a GPU, or 1 on a CPU
"""


def template(images: Iterable[str]) -> str:
    """A commented `engine.yaml` for these sources."""
    listed = yaml.safe_dump(list(images), default_flow_style=True, allow_unicode=True, width=10_000).strip()
    return TEMPLATE.replace("{images}", listed)


def parse_config(text: str, where: str, overrides: Iterable[str] = ()) -> EngineConfig:
    """`engine.yaml`'s text plus `key.sub=value` overrides as a config.

    Raises ConfigError that lists every mistake, each with `where` and its line (or the override).
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        tree = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise ConfigError(f"{where}:{line} not valid YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{where}: line 1: expected keys such as `images:`, found {type(tree).__name__}")
    lines = _lines(node)
    for override in overrides:
        _apply_override(tree, lines, override)
    try:
        return EngineConfig.model_validate(tree)
    except ValidationError as error:
        problems = [_describe(where, lines, detail) for detail in error.errors()]
        raise ConfigError("\n".join(problems)) from error


def set_in_text(text: str, override: str) -> str:
    """`section.key=value` written into the template's text, so that its comments stay.

    A key that the preset decides (`# key:`) is switched on. Keys are one or two levels deep, as in the template.
    """
    key, _, value = override.partition("=")
    section, _, name = key.strip().rpartition(".")
    lines = text.splitlines()
    start = lines.index(f"{section}:") + 1 if section else 0
    pattern = re.compile(rf"^({'  ' if section else ''})(?:# )?{re.escape(name)}:[^#]*(#.*)?$")
    for number in range(start, len(lines)):
        if section and lines[number] and not lines[number].startswith(" "):
            break
        if found := pattern.match(lines[number]):
            comment = f"   {found[2]}" if found[2] else ""
            lines[number] = f"{found[1]}{name}: {value.strip()}{comment}"
            return "\n".join(lines) + "\n"
    lines.insert(start, f"{'  ' if section else ''}{name}: {value.strip()}")
    return "\n".join(lines) + "\n"


def _lines(node: yaml.Node | None, path: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], str]:
    """Key path -> `line N` for every key and list item of the YAML tree."""
    found: dict[tuple[str | int, ...], str] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            found[here] = f"line {key.start_mark.line + 1}"
            found.update(_lines(value, here))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found[(*path, index)] = f"line {value.start_mark.line + 1}"
            found.update(_lines(value, (*path, index)))
    return found


def _apply_override(tree: dict[str, Any], lines: dict[tuple[str | int, ...], str], override: str) -> None:
    key, separator, value = override.partition("=")
    keys = [part.strip() for part in key.split(".")]
    if not separator or not all(keys):
        raise ConfigError(f"--set {override}: expected key=value, such as generate.points_per_side=16")
    branch = tree
    for part in keys[:-1]:
        if not isinstance(branch.get(part), dict):
            branch[part] = {}
        branch = branch[part]
    try:
        branch[keys[-1]] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: {value!r} is not a YAML value") from error
    for depth in range(1, len(keys) + 1):
        lines[tuple(keys[:depth])] = f"--set {override}"


def _describe(where: str, lines: dict[tuple[str | int, ...], str], detail: Any) -> str:
    location = tuple(detail["loc"])
    key = ".".join(str(part) for part in location)
    place = next((lines[location[:n]] for n in range(len(location), 0, -1) if location[:n] in lines), "line 1")
    if detail["type"] == "extra_forbidden":
        return f"{where}: {place}: {key}: unknown key"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where}: {place}: {key}: {message} (found {detail['input']!r})"

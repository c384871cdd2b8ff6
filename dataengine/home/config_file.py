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

model: nano                  # registry name (`dataengine models` lists them), a checkpoint file, round-NNN,
                             # or latest = the last promoted round (nano before any)

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
  compile: auto              # auto (on CUDA only) | true | false: faster, after minutes of compiling at each start
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

annotate:
  database: sqlite:///annotations.db   # a file of this home, or postgresql://user@host/name for a team
  ready_ahead: 50            # tasks whose embedding is made ahead of the people
  lease_minutes: 10          # a task that nobody touched for so long goes to somebody else
  leases_per_user: 3         # the task in hand and those that the page prepares meanwhile
  overlap: 0.0               # share of images done twice, blind, to measure the annotators' agreement

prefill:
  # Stage 2: masks that are there before a person comes.
  detector: yolox-nano       # or FILE.onnx (YOLOX's form), FILE.safetensors (a box head trained on this home's
                             # model), FILE.json (boxes or points of another program), transformers:NAME,
                             # latest (each round trains a box head; the newest one is used)
  words: []                  # for a text-prompted one (Grounding DINO, OWLv2): [cup, person, ...]
  score: 0.3                 # least score of the detector
  # The model's card decides the two thresholds of the masks; take the # away to decide yourself.
  # pred_iou_thresh: 0.88
  # stability_score_thresh: 0.95
  same_iou: 0.7              # two masks that overlap more are one object, and so are two of which one lies in the
  inside: 0.9                # other by more than this, unless it is a mere part
  most: 50                   # suggestions an image
  withheld: 0.05             # share of the tasks in which a good suggestion is withheld: is it added?
  planted: 0.05              # share in which a bad one is planted: is it deleted? Statistics show both by annotator

retrain:
  recipe: finetune_decoder   # a name (finetune_decoder | nano | paper_vit_b | ...) or a YAML file
  data: []                   # labelled sets: COCO folders or shards, e.g. [{path: ../coco, weight: 10}]; a tenth of
                             # each is never trained on: the gate measures it. Frames of a video stay together with
                             # {path: ../camvid, sequence: "^([^_]+)_"}
  accepted_weight: 10        # of an image of the newest snapshot: what reviewers accepted here; 0 leaves it out
  automatic_weight: 1        # of an image of this home's own shards; 0 leaves them out
  box_steps: 1000            # with prefill.detector: latest, of the box head that each round trains

engine:
  # What `dataengine run` does after ingest, in this order. until: {images: N}, {masks: N} or {share: 0..1 of the
  # images}, as accepted by reviewers; without it a stage ends when no task is left. retrain inside a stage:
  # {every: {masks: 200}, times: 2, recipe: NAME}; without `every` evenly, the last round at the stage's end.
  schedule:
    - {stage: assisted-manual, until: {share: 0.3}, retrain: {times: 2}}
    - {stage: semi-automatic, until: {share: 0.5}, retrain: {times: 2}}
    - {stage: fully-automatic}         # shards, with the model in use at that moment
    - retrain: {}                      # the final round: people's masks and the shards'; {recipe: paper_stage3}
    - {release: v1}                    # the shards under a name: index, checksums, dataset card

ray:
  address: null              # null = start Ray on this machine; auto = join the running cluster
  generators: auto           # actors that own a model: auto = one a GPU, or 1 on a CPU
  trainers: 1                # workers that train a round together, a GPU each; 1 = the process that runs it
"""


class ConfigLoader(yaml.SafeLoader):
    """Safe, and with YAML 1.2's booleans: `off` is a word here, as in `faces: off`, not false."""


_BOOL = "tag:yaml.org,2002:bool"
ConfigLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
ConfigLoader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def template(images: Iterable[str]) -> str:
    """A commented `engine.yaml` for these sources."""
    listed = yaml.safe_dump(list(images), default_flow_style=True, allow_unicode=True, width=10_000).strip()
    return TEMPLATE.replace("{images}", listed)


def parse_config(text: str, where: str, overrides: Iterable[str] = ()) -> EngineConfig:
    """`engine.yaml`'s text plus `key.sub=value` overrides as a config.

    Raises ConfigError that lists every mistake, each with `where` and its line (or the override).
    """
    try:
        node = yaml.compose(text, Loader=ConfigLoader)
        tree = yaml.load(text, Loader=ConfigLoader) or {}
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


def line_of(text: str, *path: str | int) -> str:
    """`line N` of a key or list item, or of the nearest one above it that is written there."""
    lines = _lines(yaml.compose(text, Loader=ConfigLoader))
    return next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), "line 1")


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
            while number + 1 < len(lines) and lines[number + 1].startswith(f"{found[1]}  - "):
                del lines[number + 1]  # the list that the template has there
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
        branch[keys[-1]] = yaml.load(value, Loader=ConfigLoader)
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

"""Where things lie in a home (paths relative to it), in one place so that no other file spells them."""

from __future__ import annotations

CONFIG = "engine.yaml"
CATALOG = "catalog"
SHARDS = "shards"
PLANS = "plans"
UNITS = "units"
REPORTS = "reports"
MODELS = "models"
SNAPSHOTS = "snapshots"
RELEASES = "releases"
CACHE = "cache"
EMBEDDINGS = "cache/embeddings"
DISPLAY = "cache/display"
DECODERS = "cache/decoders"
ROLLBACKS = "models/rollbacks"
ENGINE_RESULTS = "units/engine/results"


def catalog_part(unit: int) -> str:
    return f"{CATALOG}/part-{unit:06d}.parquet"


def plan_segment(workflow: str, segment: int) -> str:
    return f"{PLANS}/{workflow}-{segment:03d}.parquet"


def commit_record(workflow: str, unit: str) -> str:
    return f"{UNITS}/{workflow}/{unit}.json"


def units_of(workflow: str) -> str:
    return f"{UNITS}/{workflow}"


def journal(workflow: str, unit: str) -> str:
    """Chunks of finished work inside a unit that has no commit record yet."""
    return f"{UNITS}/{workflow}/journal/{unit}"


def owners(workflow: str) -> str:
    return f"{UNITS}/{workflow}/owners"


def round_data(name: str) -> str:
    """What a round is made of, frozen when it begins."""
    return f"{MODELS}/{name}/data.json"


def round_model(name: str) -> str:
    return f"{MODELS}/{name}/model.safetensors"


def round_card(name: str) -> str:
    return f"{MODELS}/{name}/card.json"


def round_boxes(name: str) -> str:
    """The box head that a round trained for stage 2; its card is `round_boxes_card`."""
    return f"{MODELS}/{name}/boxes.safetensors"


def round_boxes_card(name: str) -> str:
    return f"{MODELS}/{name}/boxes.json"


def round_events(name: str) -> str:
    """TensorBoard's event files."""
    return f"{MODELS}/{name}/tensorboard"


def round_report(name: str) -> str:
    return f"{REPORTS}/{name}.html"


def rollback(number: int) -> str:
    return f"{ROLLBACKS}/{number:03d}.json"


def engine_begun(unit: str) -> str:
    """What a step of the whole loop started from."""
    return f"{UNITS}/engine/begun/{unit}.json"


def engine_result(unit: str) -> str:
    """What a finished step of the whole loop came to."""
    return f"{ENGINE_RESULTS}/{unit}.json"


def attempt(final: str, attempt_id: str) -> str:
    """The unfinished name of `final`, on the same file system so that promoting it is a rename."""
    folder, _, name = final.rpartition("/")
    return f"{folder}/.attempts/{attempt_id}/{name}"


def attempts(folder: str) -> str:
    return f"{folder}/.attempts"


def decoder(model_id: str) -> str:
    return f"{DECODERS}/{model_id}.onnx"


def snapshot_folder(number: int) -> str:
    """The folder of one snapshot of accepted masks: `snapshots/001`, ..."""
    return f"{SNAPSHOTS}/{number:03d}"


def release_folder(version: str) -> str:
    return f"{RELEASES}/{version}"

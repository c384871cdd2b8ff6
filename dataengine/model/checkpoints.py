"""Checkpoints by name or file: where they come from, under which licence, and whether they are intact.

Nothing is ever unpickled: `.pth` files go through torch's `weights_only` loader, our own are
safetensors. A card (`schemas.CheckpointCard`) lies beside our weights as `<stem>.json` or `card.json`.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialised

from dataengine.errors import EngineError
from dataengine.model.memory import keep_freed_memory
from dataengine.model.sam import ARCHITECTURES, Sam, build_sam
from schemas.records import CheckpointCard

MODELS_FOLDER = "DATAENGINE_MODELS"
"""Environment variable: folders (separated as in PATH) that hold model files under their published names."""

CACHE = Path(".cache") / "dataengine" / "models"
"""Inside the home folder: where `models pull` puts files, and what is searched last."""

_META = "https://dl.fbaipublicfiles.com/segment_anything/"


def model_folders() -> list[Path]:
    """Where model files are looked for, first match wins; the last is where they are pulled to."""
    named = [Path(folder).expanduser() for folder in os.environ.get(MODELS_FOLDER, "").split(os.pathsep) if folder]
    return [*named, Path.home() / CACHE]


@dataclass(frozen=True)
class KnownCheckpoint:
    """A line of the registry. `source` is `bundled` or a URL; `sha256` empty = the bundled card says it."""

    name: str
    architecture: str
    file_name: str
    source: str
    sha256: str
    licence: str
    bytes: int
    description: str

    def find(self) -> Path | None:
        """The file on this machine, or None."""
        bundled = Path(str(resources.files("dataengine.model"))) / "weights"
        folders = [bundled] if self.source == "bundled" else []
        folders += model_folders()
        return next((path for folder in folders if (path := folder / self.file_name).is_file()), None)


@dataclass(frozen=True)
class CheckpointStatus:
    """What `dataengine models` shows: a registry line and the file, when it is here."""

    checkpoint: KnownCheckpoint
    path: Path | None

    @property
    def here(self) -> bool:
        return self.path is not None


_REGISTRY = (
    KnownCheckpoint(
        "nano",
        "nano",
        "nano.safetensors",
        "bundled",
        "",
        "weights: research and demonstration (see the card's `data`)",
        13_334_776,
        "EfficientNet-Lite0 + light neck, 512 px: runs on a laptop, ships with the package",
    ),
    KnownCheckpoint(
        "mobile_sam",
        "tiny_vit",
        "mobile_sam.pt",
        # The file's last commit: a branch could move to another file under the same name.
        "https://github.com/ChaoningZhang/MobileSAM/raw/f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/mobile_sam.pt",
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        "Apache-2.0",
        40_728_226,
        "MobileSAM: TinyViT distilled from ViT-H, the paper's decoder",
    ),
    KnownCheckpoint(
        "sam_vit_b",
        "vit_b",
        "sam_vit_b_01ec64.pth",
        _META + "sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        "Apache-2.0",
        375_042_383,
        "Segment Anything, ViT-B",
    ),
    KnownCheckpoint(
        "sam_vit_l",
        "vit_l",
        "sam_vit_l_0b3195.pth",
        _META + "sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        "Apache-2.0",
        1_249_524_607,
        "Segment Anything, ViT-L",
    ),
    KnownCheckpoint(
        "sam_vit_h",
        "vit_h",
        "sam_vit_h_4b8939.pth",
        _META + "sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        "Apache-2.0",
        2_564_550_879,
        "Segment Anything, ViT-H: the model of the paper",
    ),
)


def known_checkpoints() -> list[CheckpointStatus]:
    """Every checkpoint of the registry, in its order, with its file where there is one."""
    return [CheckpointStatus(checkpoint, checkpoint.find()) for checkpoint in _REGISTRY]


def load_model(name_or_path: str | Path, device: str | torch.device = "cpu") -> tuple[Sam, CheckpointCard]:
    """A registry name, or a `.safetensors`/`.pth` file -> the model in eval mode on `device`, and its card.

    The card's `sha256` is the file's, just computed: the engine's fingerprint is made of it. Raises
    EngineError, one line, when the name is unknown, the file is missing, damaged or of another
    architecture, or its hash isn't the one that the registry or the card states.
    """
    if torch.device(device).type == "cpu":
        keep_freed_memory()
    known = next((line for line in _REGISTRY if line.name == str(name_or_path)), None)
    path = _path_of(known) if known else Path(name_or_path)
    if known is None and not path.is_file():
        names = ", ".join(line.name for line in _REGISTRY)
        raise EngineError(f"model {str(name_or_path)!r} is neither a file nor a known checkpoint ({names})")
    digest = sha256_of(path)
    card = _card_beside(path)
    stated = (known.sha256 if known else "") or (card.sha256 if card else "")
    if stated and stated != digest:
        raise EngineError(f"{path}: sha256 is {digest}, expected {stated}; the file is damaged or was replaced")
    state = _read_state(path)
    architecture = known.architecture if known else card.architecture if card else _guess(state, path)
    sam = _filled(architecture, state, path)
    sam.clip = card.clip if card else None
    return sam.to(device), card or _plain_card(path, digest, sam, known)


def save_checkpoint(sam: Sam, card: CheckpointCard, path: Path) -> CheckpointCard:
    """Write `path` (.safetensors, float16) and its card beside it as `<stem>.json`; returns that card.

    `sha256`, sizes, CLIP and the number of parameters are filled in from what was written. Both files are
    written under a temporary name first, so a killed run leaves no half checkpoint.
    """
    state = {
        key: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for key, value in sam.state_dict().items()
    }
    part = path.with_name(path.name + ".part")
    part.write_bytes(serialised(state))
    facts = _facts(sam) | {"architecture": sam.architecture, "sha256": sha256_of(part)}
    written = card.model_copy(update=facts)
    part.replace(path)
    beside = path.with_suffix(".json.part")
    beside.write_text(written.model_dump_json(indent=2) + "\n", encoding="utf-8")
    beside.replace(path.with_suffix(".json"))
    return written


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _path_of(known: KnownCheckpoint) -> Path:
    path = known.find()
    if path is None:
        raise EngineError(
            f"model {known.name!r} is not here: run `dataengine models pull {known.name}`, "
            f"or put {known.file_name} into a folder that {MODELS_FOLDER} names"
        )
    return path


def _card_beside(path: Path) -> CheckpointCard | None:
    for candidate in (path.with_suffix(".json"), path.with_name("card.json")):
        if candidate.is_file():
            try:
                return CheckpointCard.model_validate_json(candidate.read_text(encoding="utf-8"))
            except ValidationError as error:
                raise EngineError(f"{candidate} is not a checkpoint card: {error.errors()[0]['msg']}") from error
    return None


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, ValueError, EOFError, OSError) as error:
        raise EngineError(f"{path} can't be read as a checkpoint: {_first_line(error)}") from error
    except Exception as error:  # the unpickler's own error type is private to torch
        raise EngineError(f"{path} holds more than plain tensors and is not loaded: {_first_line(error)}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise EngineError(f"{path} is not a state dict: expected names and tensors only")
    return state


def _guess(state: dict[str, torch.Tensor], path: Path) -> str:
    """The architecture of a file without a card, from the shape of its encoder."""
    if "image_encoder.net._conv_stem.weight" in state:
        return "nano"
    if "image_encoder.patch_embed.seq.0.c.weight" in state:
        return "tiny_vit"
    width = state["image_encoder.pos_embed"].shape[-1] if "image_encoder.pos_embed" in state else 0
    widths = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
    if width not in widths:
        raise EngineError(f"{path}: its keys fit no known architecture ({', '.join(ARCHITECTURES)})")
    return widths[width]


def _filled(architecture: str, state: dict[str, torch.Tensor], path: Path) -> Sam:
    prefix = "mask_decoder.transformer.layers."
    layers = {key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)}
    projection = state.get("prompt_encoder.text_projection.weight")
    text_width = projection.shape[-1] if projection is not None and projection.ndim == 2 else None
    sam = build_sam(architecture, decoder_depth=len(layers) or 2, text_width=text_width)
    try:
        missing, unexpected = sam.load_state_dict(state, strict=False)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise EngineError(
            f"{path} does not fit architecture {architecture!r}: {lines[min(1, len(lines) - 1)]}"
        ) from error
    if missing or unexpected:
        example = (missing or unexpected)[0]
        raise EngineError(
            f"{path} does not fit architecture {architecture!r}: {len(missing)} keys missing, "
            f"{len(unexpected)} unexpected, e.g. {example}"
        )
    return sam.eval()


def _plain_card(path: Path, digest: str, sam: Sam, known: KnownCheckpoint | None) -> CheckpointCard:
    """A card for weights that came without one, with the public code's thresholds."""
    return CheckpointCard(
        name=known.name if known else path.stem,
        architecture=sam.architecture,
        sha256=digest,
        licence=known.licence if known else "unknown",
        description=known.description if known else "a checkpoint without a card",
        pred_iou_thresh=0.88,
        stability_score_thresh=0.95,
        data=["SA-1B"] if known else [],
        **_facts(sam),
    )


def _facts(sam: Sam) -> dict[str, Any]:
    parameters = sum(parameter.numel() for parameter in sam.parameters())
    sizes = {"image_size": sam.image_size, "embedding_size": sam.embedding_size}
    return {**sizes, "parameters": parameters, "clip": sam.clip}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

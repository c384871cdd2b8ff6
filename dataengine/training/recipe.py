"""Recipes: files in `recipes/`, or the user's own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import torch
import yaml
from pydantic import ValidationError

from dataengine.errors import ConfigError
from dataengine.model.sam import Sam, build_sam
from dataengine.training.seeds import seed_of
from dataengine.training.trunk import load_imagenet_trunk
from schemas.training import Recipe

FOLDER = Path(str(resources.files("dataengine.training"))) / "recipes"


def known_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_recipe(name_or_path: str) -> Recipe:
    """A known name or a YAML file. ConfigError, one line for each fault, when it is neither or wrong."""
    path = FOLDER / f"{name_or_path}.yaml" if name_or_path in known_recipes() else Path(name_or_path)
    if not path.is_file():
        raise ConfigError(f"recipe {name_or_path!r} is neither a file nor one of {', '.join(known_recipes())}")
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        faults = (
            f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise ConfigError("\n".join(faults)) from error


def fresh_model(recipe: Recipe, seed: int = 0) -> Sam:
    """The recipe's architecture with random weights that follow from the seed, but for a trunk that it asks for.

    ConfigError when it names no architecture, or a trunk that isn't installed.
    """
    if recipe.architecture is None:
        raise ConfigError(f"recipe {recipe.name} names no architecture: it continues from a checkpoint")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("weights", seed))
        sam = build_sam(recipe.architecture, recipe.decoder_depth)
    if recipe.trunk == "imagenet":
        load_imagenet_trunk(sam)
    return sam

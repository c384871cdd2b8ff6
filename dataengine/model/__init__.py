"""Sam: image encoder + prompt encoder + mask decoder, its checkpoints, and a predictor for one image."""

from dataengine.model.checkpoints import known_checkpoints, load_model, save_checkpoint
from dataengine.model.predictor import Prediction, Predictor
from dataengine.model.sam import ARCHITECTURES, Sam, build_sam

__all__ = [
    "ARCHITECTURES",
    "Prediction",
    "Predictor",
    "Sam",
    "build_sam",
    "known_checkpoints",
    "load_model",
    "save_checkpoint",
]

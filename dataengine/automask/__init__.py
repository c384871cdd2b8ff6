"""Automatic masks: prompt a grid of points over an image and its crops, keep what deserves to be kept."""

from dataengine.automask.crops import Crop, crop_boxes
from dataengine.automask.generator import MaskGenerator
from dataengine.automask.grids import layer_grids, point_grid
from dataengine.automask.presets import describe_settings, resolve_settings

__all__ = [
    "Crop",
    "MaskGenerator",
    "crop_boxes",
    "describe_settings",
    "layer_grids",
    "point_grid",
    "resolve_settings",
]

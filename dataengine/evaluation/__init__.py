"""Measures a model against labelled images. Results come mask by mask, so that two models can be paired."""

from dataengine.evaluation.gate import Rival, judge, paired_bootstrap
from dataengine.evaluation.single_point import SIZES, MaskResult, SinglePointResult, evaluate_single_point
from dataengine.evaluation.thresholds import Thresholds, thresholds_like

__all__ = [
    "SIZES",
    "MaskResult",
    "Rival",
    "SinglePointResult",
    "Thresholds",
    "evaluate_single_point",
    "judge",
    "paired_bootstrap",
    "thresholds_like",
]

"""Prompts as people and training give them: points, boxes, rough masks, text, and clicks at what is wrong.

One definition for training, evaluation and the simulated annotator. Points are xy in pixels and name a
pixel: (0, 0) is the middle of the top-left one, and the prompt encoder adds the half. Every draw takes
a `torch.Generator` on the CPU; nothing touches a global random state.
"""

from dataengine.prompts.boxes import boxes_of_masks, noisy_boxes
from dataengine.prompts.centres import ErrorCentre, centre_point, centre_points, error_centre, squared_distances
from dataengine.prompts.errors import error_clicks
from dataengine.prompts.first_prompt import FirstPrompts, TextOfMasks, draw_first_prompts
from dataengine.prompts.frame import Frame
from dataengine.prompts.points import uniform_points
from dataengine.prompts.rough_masks import ROUGH_LOGIT, rough_mask_logits

__all__ = [
    "ROUGH_LOGIT",
    "ErrorCentre",
    "FirstPrompts",
    "Frame",
    "TextOfMasks",
    "boxes_of_masks",
    "centre_point",
    "centre_points",
    "draw_first_prompts",
    "error_centre",
    "error_clicks",
    "noisy_boxes",
    "rough_mask_logits",
    "squared_distances",
    "uniform_points",
]

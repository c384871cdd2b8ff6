"""Stage 2's suggestions: a detector's boxes and points become masks, and the confident ones are kept.

In the annotation frame throughout. Knows detectors and the model; no database, no Ray.
"""

from dataengine.prefill.confident import confident
from dataengine.prefill.image import prefill_image
from dataengine.prefill.prompted import Candidate, prompted_masks
from dataengine.prefill.thresholds import Thresholds, thresholds_of

__all__ = ["Candidate", "Thresholds", "confident", "prefill_image", "prompted_masks", "thresholds_of"]

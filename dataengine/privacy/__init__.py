"""Which parts of a picture are hidden, how, and the audit of it."""

from dataengine.privacy.audit import blurred_share, detail_left
from dataengine.privacy.blur import hide
from dataengine.privacy.policy import grow, hidden_boxes

__all__ = ["blurred_share", "detail_left", "grow", "hidden_boxes", "hide"]

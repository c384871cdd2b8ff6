"""What an annotator's browser is given for one image: its picture, its embedding, and the decoder.

All of it lies under `cache/` of the home and can be deleted at any time. `encoder` and `prepare` need torch
and are imported from their modules; what a web server reads needs neither torch nor Ray.
"""

from dataengine.media.cache import MediaCache
from dataengine.media.decoding import DecoderSession
from dataengine.media.display import display_key, display_levels

__all__ = ["DecoderSession", "MediaCache", "display_key", "display_levels"]

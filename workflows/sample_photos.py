"""Sample photos for `dataengine demo`, taken from installed packages: nothing is downloaded.

scikit-image and scikit-learn carry a handful of photos with clear licences. One of them gets a number plate
drawn in and one a phone's EXIF block with a GPS position, so that the demo can show what the release hides
and drops.
"""

from __future__ import annotations

from dataclasses import dataclass

PLATE_TEXT = "SAM 1B23"


@dataclass(frozen=True)
class SamplePhoto:
    """One photo: the file inside its package, what the demo calls it, and where it comes from."""

    package: str
    file: str
    name: str
    licence: str
    author: str
    source_url: str
    caption: str


_SKIMAGE = ("skimage", "data")
_SKLEARN = ("sklearn", "datasets/images")
_IMAGES = "https://scikit-image.org/docs/stable/api/skimage.data.html"

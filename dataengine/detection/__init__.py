"""Every detector: faces and number plates (`protocol`), and objects that prefill tasks of stage 2 (`objects`).

No detector that the config asks for may be missing silently: `default_detectors` names the command that
installs it.
"""

from dataengine.detection.defaults import default_detectors
from dataengine.detection.fusion import fuse
from dataengine.detection.protocol import Detector

__all__ = ["Detector", "default_detectors", "fuse"]

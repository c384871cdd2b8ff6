from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def coffee() -> np.ndarray:
    """uint8 (400, 600, 3): a cup on a saucer, from scikit-image."""
    skimage = pytest.importorskip("skimage")
    return np.asarray(Image.open(Path(skimage.__file__).parent / "data" / "coffee.png").convert("RGB"))

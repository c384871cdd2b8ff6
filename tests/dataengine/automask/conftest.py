from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataengine.model import Sam, load_model
from schemas import CheckpointCard

Photo = Callable[[str], np.ndarray]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine make these small batches many times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def nano() -> tuple[Sam, CheckpointCard]:
    return load_model("nano")


@pytest.fixture(scope="session")
def photo() -> Photo:
    """RGB uint8 photos that lie inside scikit-image and scikit-learn: no download."""
    skimage, sklearn = pytest.importorskip("skimage"), pytest.importorskip("sklearn")
    folders = [Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets" / "images"]

    def load(name: str) -> np.ndarray:
        path = next(path for folder in folders if (path := folder / name).is_file())
        return np.asarray(Image.open(path).convert("RGB"))

    return load

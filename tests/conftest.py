"""Shared by all tests: one short Ray session for those that need one, and real photos."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local Ray with two logical CPUs, ended with the test session."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=200 << 20,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real annotated images; not part of the repository."""
    folder = Path(os.environ.get("DATAENGINE_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no annotated images at {folder}; set DATAENGINE_DATA")
    return folder


def package_file(package: str, *parts: str) -> Path:
    """A file inside an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None, f"{package} is not installed"
    return Path(spec.origin).parent.joinpath(*parts)


@pytest.fixture(scope="session")
def astronaut_png() -> Path:
    """512x512, one face."""
    return package_file("skimage", "data", "astronaut.png")


@pytest.fixture(scope="session")
def coffee_png() -> Path:
    """600x400, no face."""
    return package_file("skimage", "data", "coffee.png")

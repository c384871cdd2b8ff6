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

    from dataengine.runtime.cluster import quoted_python

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=200 << 20,
        runtime_env=quoted_python(),
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


_S3_ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """A bucket of a real S3 protocol on loopback; this process and its children are configured for it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    before = {name: os.environ.get(name) for name in _S3_ENVIRONMENT}
    os.environ.update(_S3_ENVIRONMENT | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"})
    import s3fs

    s3fs.S3FileSystem().mkdir("bucket")
    yield "s3://bucket/home"
    server.stop()
    for name, value in before.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    os.environ.pop("AWS_ENDPOINT_URL", None)


_S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}

import subprocess
import sys
from pathlib import Path

import pytest

import dataengine.reports
import dataengine.shards

MODULES = sorted(
    f"{package.__name__}.{path.stem}"
    for package in (dataengine.shards, dataengine.reports)
    for path in Path(package.__path__[0]).glob("[a-z]*.py")
)


@pytest.mark.parametrize("names", [MODULES, MODULES[::-1]], ids=["forwards", "backwards"])
def test_every_module_can_be_the_first_one_and_none_brings_torch_or_ray(names: list[str]) -> None:
    """The two rooms use each other; that must not become a circle, whichever module is asked for first."""
    code = f"""
import importlib, sys
for name in {names!r}:
    for loaded in [m for m in sys.modules if m.startswith("dataengine")]:
        del sys.modules[loaded]
    importlib.import_module(name)
heavy = {{"torch", "ray", "webdataset", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-500:]

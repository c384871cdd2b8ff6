"""`cluster.yaml` is what Ray's cluster launcher accepts. Checked offline, with the launcher's own code."""

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

CLUSTER = Path(__file__).parents[1] / "cluster.yaml"


@pytest.fixture
def config() -> dict[str, Any]:
    return yaml.safe_load(CLUSTER.read_text())  # type: ignore[no-any-return]


def test_the_launcher_accepts_it(config: dict[str, Any]) -> None:
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    assert prepared["available_node_types"]["head"]["max_workers"] == 0
    assert prepared["available_node_types"]["gpu"]["max_workers"] == config["max_workers"]


def test_the_launcher_would_refuse_a_mistake(config: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config({**config, "max_wrokers": 3}))
    with pytest.raises(ValueError, match="head_node_type"):
        validate_config(prepare_config({**copy.deepcopy(config), "head_node_type": "hed"}))


def test_a_cpu_head_and_gpu_workers_of_which_one_stays(config: dict[str, Any]) -> None:
    types = config["available_node_types"]
    assert "GPU" not in types[config["head_node_type"]]["resources"]
    workers = [kind for name, kind in types.items() if name != config["head_node_type"]]
    assert all(kind["resources"]["GPU"] >= 1 and kind["min_workers"] == 1 for kind in workers)


def test_every_node_gets_the_package_the_detectors_and_the_token(config: dict[str, Any]) -> None:
    commands = "\n".join(config["setup_commands"])
    assert "sa_dataengine-*.whl" in commands
    assert "pip install -q --no-deps face-recognition platedet" in commands
    assert "/home/ubuntu/.ray/auth_token" in config["file_mounts"]
    for start in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        assert any("RAY_AUTH_MODE=token" in command and "ray start" in command for command in start)
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]

"""`engine.schedule`: what fits together is taken, what doesn't is named with its line, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataengine.errors import ConfigError
from dataengine.home import create_home
from dataengine.home.config_file import parse_config, template
from schemas.schedule import default_schedule

WRONG = """\
engine:
  schedule:
    - {stage: assisted-manual, until: {images: 3, masks: 2}}
    - {stage: by-magic}
    - {stage: assisted-manual, until: {images: 30}, retrain: {every: {masks: 3}}}
    - {stage: assisted-manual, until: {images: 30}, retrain: {every: {images: 20}, times: 2}}
    - {stage: fully-automatic, until: {images: 3}}
    - {publish: v1}
    - {retrain: {every: {masks: 3}}}
    - {}
"""


def test_every_mistake_of_a_schedule_is_named_with_its_line() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(WRONG, "engine.yaml")
    lines = str(caught.value).splitlines()
    told = {number: [line for line in lines if line.startswith(f"engine.yaml: line {number}:")] for number in range(11)}
    assert [len(told[number]) for number in range(3, 11)] == [1] * 8 and len(lines) == 8
    assert "exactly one" in told[3][0] and "by-magic" in told[4][0] and "how many times" in told[5][0]
    assert "doesn't fit 2 time" in told[6][0] and "step of their own" in told[7][0] and "unknown key" in told[8][0]


RELEASED_WRONGLY = """\
engine:
  schedule:
    - {release: v1}
    - stage: fully-automatic
    - {release: v2}
    - retrain: {}
    - release: v2
"""


def test_a_release_needs_shards_before_it_and_a_name_of_its_own() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(RELEASED_WRONGLY, "engine.yaml")
    early, twice = str(caught.value).splitlines()
    assert early.startswith("engine.yaml: line 3: engine.schedule.0.release: comes before fully-automatic")
    assert twice.startswith("engine.yaml: line 7: engine.schedule.4.release: version v2 is released twice")
    for entry in ("{release: ../v1}", "{release: 1}", "{release: v1, retrain: {}}", '{release: "v1\\n"}'):
        with pytest.raises(ConfigError, match=r"line 4: engine\.schedule\.1.*(version|string|step of its own)"):
            parse_config(f"engine:\n  schedule:\n    - stage: fully-automatic\n    - {entry}\n", "engine.yaml")


def test_the_template_has_the_default_schedule() -> None:
    assert parse_config(template(["photos"]), "engine.yaml").engine.schedule == default_schedule()


def test_an_override_replaces_the_templates_schedule(tmp_path: Path) -> None:
    home = create_home(
        str(tmp_path / "home"),
        ["photos"],
        ["engine.schedule=[{stage: assisted-manual, until: {masks: 9}, retrain: {every: {masks: 4}}}, {retrain: }]"],
    )
    first, last = home.config.engine.schedule
    assert (first.rounds, last.rounds, last.stage) == (2, 1, None)
    assert "# until" not in str(first) and "retrain inside a stage" in (tmp_path / "home" / "engine.yaml").read_text()

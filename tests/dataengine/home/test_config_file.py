"""engine.yaml: comments survive, every error comes at once and with its line."""

from __future__ import annotations

import pytest

from dataengine.errors import ConfigError
from dataengine.home import create_home, open_home
from dataengine.home.config_file import parse_config, set_in_text, template
from schemas import EngineConfig


def test_the_template_says_the_defaults() -> None:
    config = parse_config(template(["photos/"]), "engine.yaml")
    assert config == EngineConfig(images=["photos/"])


def test_odd_source_names_survive_the_template() -> None:
    names = ["a b/ü: #c", "s3://bucket/*.jpg", "it's", '"quoted"', "-", "*glob*"]
    assert parse_config(template(names), "engine.yaml").images == names


def test_every_error_at_once_with_its_line() -> None:
    text = "images: [a]\nshards:\n  jpeg_quality: 3\n  jpg: 1\nmodel: 5\n"
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "engine.yaml", ["generate.points_per_side=0"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert any("line 3: shards.jpeg_quality" in line for line in lines)
    assert any("line 4: shards.jpg: unknown key" in line for line in lines)
    assert any("line 5: model" in line for line in lines)
    assert any("--set generate.points_per_side=0" in line for line in lines)


@pytest.mark.parametrize("text", ["images: [a", "- a\n- b\n", "images: [a]\n\tmodel: x\n"])
def test_what_is_no_config_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"engine.yaml: line \d"):
        parse_config(text, "engine.yaml")


@pytest.mark.parametrize("override", ["generate.points_per_side", "=3", "generate.=1", "a.b.c.d=[", "nonsense=1"])
def test_wrong_overrides_are_named(override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        parse_config("images: [a]\n", "engine.yaml", [override])


def test_overrides_are_written_where_their_comments_are() -> None:
    text = template(["p"])
    for override in (
        "generate.points_per_side=8",
        "shards.images_per_shard=16",
        "model=sam_vit_b",
        "generate.threads=2",
    ):
        text = set_in_text(text, override)
    config = parse_config(text, "engine.yaml")
    assert (config.generate.points_per_side, config.shards.images_per_shard) == (8, 16)
    assert (config.model, config.generate.threads) == ("sam_vit_b", 2)
    assert text.count("#") >= template(["p"]).count("#") - 1


def test_create_and_open(tmp_path) -> None:
    url = str(tmp_path / "my home")
    with pytest.raises(ConfigError, match=r"dataengine init"):
        open_home(url)
    assert create_home(url, ["photos"], ["shards.short_side=256"]).config.shards.short_side == 256
    with pytest.raises(ConfigError, match="exists already"):
        create_home(url, ["photos"])
    assert open_home(url, ["shards.short_side=128"]).config.shards.short_side == 128


def test_off_is_a_word_as_the_comments_say() -> None:
    text = "images: [photos]\ningest:\n  duplicates: off\nprivacy:\n  faces: off\n  mode: off\n"
    config = parse_config(text, "engine.yaml", ["privacy.plates=off", "generate.compile=false"])
    assert (config.ingest.duplicates, config.privacy.faces, config.privacy.plates) == ("off", "off", "off")
    assert config.privacy.mode == "off" and config.generate.compile is False

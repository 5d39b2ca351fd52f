"""The home folder: for its owner only, and who finds it otherwise is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.service.home import Home, HomeError


def test_a_new_home_is_its_owners_alone(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "home", None, None)
    home.prepare()
    assert home.root.stat().st_mode & 0o077 == 0
    assert home.exposure() == ""


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701])
def test_an_open_home_is_told_and_left_as_it_is(tmp_path: Path, mode: int) -> None:
    home = Home.at(tmp_path / "home", None, None)
    home.root.mkdir()
    home.root.chmod(mode)
    home.prepare()
    assert f"mode {mode:o}" in home.exposure()
    assert f"chmod 700 {home.root}" in home.exposure()
    assert home.root.stat().st_mode & 0o777 == mode  # it may be a folder of other things as well


def test_folders_below_the_home_are_made_and_others_must_be_there(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "home", None, None)
    home.prepare()
    assert home.models.is_dir()
    assert home.texts.is_dir()
    with pytest.raises(HomeError, match="modles is not a folder; name another with --models"):
        Home.at(tmp_path / "home", tmp_path / "modles", None).prepare()
    assert not (tmp_path / "modles").exists()


def test_models_are_folders_with_a_configuration_and_weights(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "home", None, None)
    home.prepare()
    assert home.model_names() == []
    for name in ("org/b", "a", "z", "notes", "bare"):
        (home.models / name).mkdir(parents=True)
    for name in ("org/b", "a", "z", "bare"):
        (home.models / name / "config.json").write_text("{}")
    for name in (
        "org/b/model.safetensors",
        "a/model-00001-of-00002.safetensors",
        "z/model.safetensors",
    ):
        (home.models / name).touch()
    assert home.model_names() == ["local:a", "local:z", "local:org/b"]

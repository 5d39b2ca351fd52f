"""Paths of the machine are found in what is said, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.logs.machine_paths import Paths, paths_of
from jobs.settings import Settings

ODD = ("plain", "a b", "q?uery", "per%20cent", "dou::ble", "ha#sh", "grüße", "(round)", "it's")


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("quotes", ["{}", "'{}'", "({}): torn", "file {}, line 3"])
def test_folders_of_the_service_are_known_by_value(tmp_path: Path, name: str, quotes: str) -> None:
    home = tmp_path / name
    paths = paths_of(Settings(home=home, database_url="sqlite://", artifacts_url=str(home / "a")))
    for folder in (home, home / "work" / "job_1" / "engine", home / "a"):
        for form in (str(folder), folder.as_uri()):
            told = paths.text(quotes.format(form))
            assert told == quotes.format("…")
    model = home / "models" / "tiny" / "x.safetensors"
    assert paths.text(quotes.format(model)) == quotes.format("local:tiny/x.safetensors")


def test_a_folder_with_a_longer_name_is_another_one() -> None:
    paths = Paths([Path("/elsewhere/service")])
    assert paths.text("in /elsewhere/service, /elsewhere/service-2") == (
        "in …, /elsewhere/service-2"  # no such folder on this machine: not a path of it
    )

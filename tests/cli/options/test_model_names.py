"""What a user calls a model, read alike by `prune` and `submit`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.options import local_service
from cli.options.local_service import LocalService
from cli.options.model_names import locate_model, service_name
from slimgpt.errors import ModelNotFoundError
from slimgpt.sources.roots import Roots

URL = "http://127.0.0.1:8000"


def test_a_folder_becomes_a_name_below_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models" / "my model"
    folder.mkdir(parents=True)
    for written, cwd in ((str(folder), tmp_path), ("models/my model/", tmp_path), (".", folder)):
        monkeypatch.chdir(cwd)
        place = locate_model(written)
        assert Roots(place.root, tmp_path, confined=False).model(place.name) == folder


def test_a_folder_of_links_keeps_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "a1b2c3").mkdir()
    (tmp_path / "snapshot").symlink_to(tmp_path / "a1b2c3")
    assert locate_model(str(tmp_path / "snapshot")).name == "local:snapshot"


def test_a_hub_id_is_one_unless_it_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate_model("org/name@main").name == "org/name@main"
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert locate_model("org/name").name == "local:name"


@pytest.mark.parametrize("model", ["./nowhere", "nowhere", "", "a/b/c", "local:name"])
def test_what_is_no_model_is_refused_by_its_name(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLIMGPT_HOME", str(tmp_path))
    with pytest.raises(ModelNotFoundError, match=r"there is no folder|no model is named"):
        locate_model(model)


def test_a_mistyped_path_says_that_there_is_no_such_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it could be a hub id: nobody waits for the hub to say that it knows no `modle`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples" / "model").mkdir(parents=True)
    for read in (locate_model, lambda model: service_name(model, URL)):
        with pytest.raises(ModelNotFoundError) as refused:
            read("examples/modle")
        assert "there is no folder examples/modle; did you mean examples/model?" in str(
            refused.value
        )
        assert refused.value.hint == "a model of the hub: examples/modle@main"
    assert locate_model("examples/modle@main").name == "examples/modle@main"
    assert locate_model("organisation/modle").name == "organisation/modle"
    (tmp_path / "weights.bin").touch()
    with pytest.raises(ModelNotFoundError, match="is a file, not a folder"):
        locate_model("weights.bin")


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalService:
    """A service that runs on this machine, with one model."""
    monkeypatch.setenv("SLIMGPT_HOME", str(tmp_path))
    monkeypatch.delenv("SLIMGPT_MODELS_ROOT", raising=False)
    (tmp_path / "served" / "org" / "tiny").mkdir(parents=True)
    made = LocalService(os.getpid(), URL, str(tmp_path / "served"), str(tmp_path / "texts"))
    made.write(tmp_path)
    return made


def test_local_names_are_those_of_the_service_on_this_machine(
    service: LocalService, tmp_path: Path
) -> None:
    place = locate_model("local:org/tiny")
    assert (place.name, place.root) == ("local:org/tiny", Path(service.models))
    with pytest.raises(ModelNotFoundError, match="did you mean local:org/tiny"):
        locate_model("local:org/tinny")
    assert service_name("local:org/tiny", "https://elsewhere.example") == "local:org/tiny"
    assert service_name(str(tmp_path / "served" / "org" / "tiny"), URL) == "local:org/tiny"


def test_a_folder_that_the_service_cannot_read_is_refused(
    service: LocalService, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(ModelNotFoundError, match=r"is not below .*/served.*slimgpt up --models"):
        service_name(str(folder), URL)
    with pytest.raises(ModelNotFoundError, match=r"of this machine, which https://elsewhere"):
        service_name(str(folder), "https://elsewhere.example")
    assert service_name("org/name@main", "https://elsewhere.example") == "org/name@main"


def test_a_service_that_has_gone_is_not_one(service: LocalService, tmp_path: Path) -> None:
    assert local_service.running(tmp_path) == service
    LocalService(2**22 + 1, URL, service.models, service.texts).write(tmp_path)
    assert local_service.running(tmp_path) is None
    (tmp_path / local_service.NOTE).write_text("{}")
    assert local_service.running(tmp_path) is None

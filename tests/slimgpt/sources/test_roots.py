"""`local:` names stay below their root, whatever they are made of."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from slimgpt.errors import CalibrationError, ModelNotFoundError, SlimGPTError
from slimgpt.sources.roots import Roots


@pytest.fixture
def outside(roots: Roots, tmp_path: Path) -> Path:
    """A folder beside the roots, with links to it and its file from inside them."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.txt").write_text("secret")
    (roots.models / "link").symlink_to(folder)
    (roots.texts / "link.txt").symlink_to(folder / "secret.txt")
    return folder


def test_folders_and_files_below_the_roots_are_found(roots: Roots) -> None:
    (roots.models / "family/small").mkdir(parents=True)
    (roots.texts / "mine").mkdir()
    (roots.texts / "mine/notes.txt").write_text("a note")
    assert roots.model("local:family/small") == (roots.models / "family/small").resolve()
    assert roots.text("local:mine/notes.txt") == (roots.texts / "mine/notes.txt").resolve()


def test_links_inside_the_root_are_followed(roots: Roots) -> None:
    (roots.models / "real").mkdir()
    (roots.models / "alias").symlink_to("real")
    assert roots.model("local:alias") == (roots.models / "real").resolve()


@pytest.mark.parametrize(
    "name",
    ["../outside", "link", "{outside}", "missing", "", ".. ", "a\0b", "x" * 5000, "loop"],
)
def test_what_lies_outside_is_said_not_to_exist(roots: Roots, outside: Path, name: str) -> None:
    (roots.models / "loop").symlink_to("loop")
    name = f"local:{name.format(outside=outside)}"
    with pytest.raises(ModelNotFoundError, match="no such folder below the models folder") as e:
        roots.model(name)
    assert str(outside) not in str(e.value).replace(repr(name), "")
    assert str(roots.models) not in str(e.value)


@pytest.mark.parametrize("name", ["../outside/secret.txt", "link.txt", "missing.txt"])
def test_texts_outside_are_said_not_to_exist(roots: Roots, outside: Path, name: str) -> None:
    with pytest.raises(CalibrationError, match="no such file below the texts folder") as e:
        roots.text(f"local:{name}")
    assert str(roots.texts) not in str(e.value)


def test_a_trusted_caller_may_link_outside(roots: Roots, outside: Path) -> None:
    trusted = Roots(roots.models, roots.texts, confined=False)
    assert trusted.model("local:link") == outside.resolve()
    assert trusted.text("local:link.txt") == roots.texts / "link.txt"  # its own name says its kind


def test_a_root_that_is_a_link_is_the_folder_behind_it(tmp_path: Path) -> None:
    (tmp_path / "disk/model").mkdir(parents=True)
    (tmp_path / "models").symlink_to("disk")
    roots = Roots(models=tmp_path / "models", texts=tmp_path)
    assert roots.model("local:model") == (tmp_path / "disk/model").resolve()


def test_folders_and_devices_are_no_texts(roots: Roots) -> None:
    (roots.texts / "folder").mkdir()
    os.mkfifo(roots.texts / "pipe")
    with pytest.raises(CalibrationError, match="is a folder, not a file"):
        roots.text("local:folder")
    with pytest.raises(CalibrationError, match="no such file"):
        roots.text("local:pipe")


@pytest.mark.parametrize("ask", [lambda r: r.model("local:x"), lambda r: r.text("local:x")])
def test_roots_that_do_not_exist(tmp_path: Path, ask: Callable[[Roots], Path]) -> None:
    with pytest.raises(SlimGPTError, match="no such"):
        ask(Roots(models=tmp_path / "none", texts=tmp_path / "none"))


def test_the_hint_names_the_models_there_are(roots: Roots) -> None:
    with pytest.raises(ModelNotFoundError, match="the models folder is empty"):
        roots.model("local:lama")
    for number in range(10):
        (roots.models / f"llama-{number}").mkdir()
    with pytest.raises(ModelNotFoundError, match=r"local:llama-0, local:llama-1.* and 2 more"):
        roots.model("local:lama")


def test_uploads_are_found_by_id_where_there_are_any(roots: Roots, tmp_path: Path) -> None:
    name = "upload:cal_" + "0" * 26
    with pytest.raises(CalibrationError, match="exist only in the service"):
        roots.upload(name)
    service = replace(roots, uploads=tmp_path / "uploads")
    with pytest.raises(CalibrationError, match="does not exist"):
        service.upload(name)  # not even the folder
    (tmp_path / "uploads").mkdir()
    with pytest.raises(CalibrationError, match="does not exist") as e:
        service.upload(name)
    assert str(tmp_path) not in str(e.value)
    for suffix in (".txt", ".jsonl"):
        path = tmp_path / "uploads" / f"cal_{'0' * 26}{suffix}"
        path.write_text("text")
        assert service.upload(name) == path.resolve()
    path.unlink()
    path.symlink_to(roots.models)  # a link leads nowhere
    assert service.upload(name).suffix == ".txt"

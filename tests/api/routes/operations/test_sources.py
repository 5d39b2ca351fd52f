"""`GET /models` and `GET /texts` over real folders, described by the real engine process."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from api.inventory.models import AGAIN_SECONDS, UNREAD, ModelDescriptions
from jobs.settings import Settings
from tests.api.conftest import TEXT

ROOT = Path(__file__).resolve().parents[4]
MODEL = ROOT / "examples" / "model"


@pytest.fixture
def models(settings: Settings) -> Path:
    """The root of models with the shipped model, twice, and what is none."""
    root = settings.models_root
    shutil.copytree(MODEL, root / "shipped")
    shutil.copytree(MODEL, root / "team" / "deep")
    (root / "torn").mkdir()
    (root / "torn" / "config.json").write_text('{"model_type": "mamba"}')
    (root / "empty").mkdir()
    return root


def test_every_model_is_described_and_what_cannot_be_pruned_says_why(
    api: httpx.Client, models: Path
) -> None:
    page = api.get("/models").json()
    found = {one["model"]: one for one in page["items"]}
    assert list(found) == ["local:shipped", "local:team/deep", "local:tiny", "local:torn"]
    shipped = found["local:shipped"]
    assert (shipped["family"], shipped["prunable"], shipped["pruned"]) == ("llama", True, False)
    plan = api.post("/plans", json={"model": "local:shipped", "ratio": 0.3}).json()
    assert shipped["parameters"] == plan["parameters_before"]
    assert shipped["bytes"] == plan["bytes_before"]
    assert shipped["layers"] == len(plan["layers"])
    assert not found["local:torn"]["prunable"]
    assert "mamba" in found["local:torn"]["reason"]
    assert str(models) not in str(page)
    assert page["complete"]


def test_lists_are_paged_by_name(api: httpx.Client, models: Path, settings: Settings) -> None:
    for path in ("models", "texts"):
        for name in ("a.txt", "b.jsonl", "folder/c.csv.gz", "z.txt"):
            (settings.texts_root / name).parent.mkdir(exist_ok=True)
            (settings.texts_root / name).write_text("Once.")
        whole = api.get(f"/{path}").json()["items"]
        assert len(whole) > 3
        seen: list[dict[str, object]] = []
        asked: dict[str, str] = {}
        while True:
            page = api.get(f"/{path}", params={"limit": "2", **asked}).json()
            assert len(page["items"]) <= 2
            seen += page["items"]
            if page["next_cursor"] is None:
                break
            asked = {"cursor": page["next_cursor"]}
        assert seen == whole
        assert api.get(f"/{path}", params={"cursor": "nonsense"}).status_code == 422
        assert api.get(f"/{path}", params={"limit": 201}).status_code == 422


def test_texts_are_files_below_the_root_that_a_job_may_name(
    api: httpx.Client, settings: Settings, tmp_path: Path
) -> None:
    root = settings.texts_root
    (root / ".hidden.txt").write_text("x")
    (root / "empty.txt").touch()
    (root / "picture.png").write_bytes(b"x")
    (root / "deep").mkdir()
    (root / "deep" / "rows.PARQUET").write_bytes(b"PAR1")
    (tmp_path / "outside.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "outside.txt")
    (root / "loop").symlink_to(root)
    (root / "within.txt").symlink_to(root / "notes.txt")
    os.mkfifo(root / "pipe.txt")
    found = {one["source"]: one["bytes"] for one in api.get("/texts").json()["items"]}
    long = len(TEXT)
    assert found == {
        "local:deep/rows.PARQUET": 4,
        "local:notes.txt": long,
        "local:within.txt": long,
    }


def describing(settings: Settings, tmp_path: Path, before_each: str = "") -> Settings:
    """Settings whose engine says of every model that it can be pruned, and notes who was asked."""
    script = f"""
import json, os, sys, time
for name in json.load(sys.stdin):
    open({str(tmp_path / "asked")!r}, "a").write(name + " ")
    {before_each or "pass"}
    found = [{{"model": name, "prunable": True}}]
    print(json.dumps({{"type": "models", "items": found}}), flush=True)
"""
    return settings.model_copy(update={"engine_command": (sys.executable, "-c", script)})


def folders(settings: Settings, *names: str) -> None:
    for name in names:
        (settings.models_root / name).mkdir()
        (settings.models_root / name / "config.json").write_text("{}")


def test_a_description_is_kept_until_one_of_its_files_changes(
    settings: Settings, tmp_path: Path
) -> None:
    folders(settings, "one")
    folder, weights = settings.models_root / "one", b"weights"
    described = ModelDescriptions(describing(settings, tmp_path))
    changes: list[Callable[[], object]] = [
        lambda: 0,
        lambda: (folder / "config.json").write_text('{"a": 1}'),
        lambda: (folder / "model.safetensors").write_bytes(weights),
        lambda: (folder / "model.safetensors").write_bytes(weights * 2),
        (folder / "model.safetensors").touch,
    ]
    for times, change in enumerate(changes, start=1):
        change()
        assert [one.prunable for _ in range(3) for one in described.of(["one"])] == [True] * 3
        assert (tmp_path / "asked").read_text() == "local:one " * times


def test_a_model_that_is_being_copied_is_described_again_when_it_is_there(
    api: httpx.Client, models: Path
) -> None:
    def shipped() -> dict[str, object]:
        page = api.get("/models").json()["items"]
        return next(one for one in page if one["model"] == "local:shipped")

    (file,) = (models / "shipped").glob("*.safetensors")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert not shipped()["prunable"]
    file.write_bytes(content)
    assert shipped()["prunable"]


@pytest.mark.parametrize("fault", ["time.sleep(60)", "os.abort()"], ids=["hangs", "dies"])
def test_a_folder_that_cannot_be_read_hides_no_other_and_is_left_alone_for_a_while(
    settings: Settings, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.inventory.models.FOLDER_SECONDS", 6.0)
    names = ["a", "bad", "c", "d"]
    folders(settings, *names)
    engine = describing(settings, tmp_path, f"name == 'local:bad' and {fault}")
    described = ModelDescriptions(engine)
    for _ in range(2):
        found = {one.model: (one.prunable, one.reason) for one in described.of(names)}
        good = {f"local:{name}": (True, "") for name in ("a", "c", "d")}
        assert found == {**good, "local:bad": (False, UNREAD)}
        assert (tmp_path / "asked").read_text() == "local:a local:bad local:c local:d "
    monkeypatch.setattr("time.monotonic", lambda now=time.monotonic: now() + AGAIN_SECONDS)
    described.of(names)
    assert (tmp_path / "asked").read_text().endswith("local:d local:bad ")


def test_models_are_still_named_when_the_engine_fails(settings: Settings) -> None:
    broken = settings.model_copy(update={"engine_command": (sys.executable, "-c", "exit(3)")})
    (one,) = ModelDescriptions(broken).of(["any"])
    assert (one.model, one.prunable, one.reason) == ("local:any", False, UNREAD)

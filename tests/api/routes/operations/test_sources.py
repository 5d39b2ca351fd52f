"""`GET /models` and `GET /texts` over real folders, described by the real engine process."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import httpx
import pytest

from api.inventory.models import UNREAD, ModelDescriptions
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


def test_a_description_is_kept_until_its_config_changes(settings: Settings, tmp_path: Path) -> None:
    folder = settings.models_root / "one"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    counter = tmp_path / "asked"
    script = (
        f"import json, sys; open({str(counter)!r}, 'a').write('x'); "
        "print(json.dumps({'type': 'models', 'items': "
        "[{'model': name, 'prunable': True} for name in json.load(sys.stdin)]}))"
    )
    engine = settings.model_copy(update={"engine_command": (sys.executable, "-c", script)})
    described = ModelDescriptions(engine)
    assert [one.prunable for _ in range(3) for one in described.of(["one"])] == [True] * 3
    assert counter.read_text() == "x"
    (folder / "config.json").write_text('{"a": 1}')
    described.of(["one"])
    assert counter.read_text() == "xx"


def test_models_are_still_named_when_the_engine_fails(settings: Settings) -> None:
    broken = settings.model_copy(update={"engine_command": (sys.executable, "-c", "exit(3)")})
    (one,) = ModelDescriptions(broken).of(["any"])
    assert (one.model, one.prunable, one.reason) == ("local:any", False, UNREAD)

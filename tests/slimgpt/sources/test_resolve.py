"""Models from folders and from a hub that speaks the real protocol."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from slimgpt.errors import (
    HubUnreachableError,
    ModelNotFoundError,
    SlimGPTError,
    StorageError,
    UnsupportedModelError,
)
from slimgpt.sources import resolve
from slimgpt.sources.resolve import ResolvedModel, needed, resolve_model
from slimgpt.sources.roots import Roots
from tests.hub import TOKEN, Hub

Resolve = Callable[[str], ResolvedModel]


@pytest.fixture
def ask(roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Resolve a model with a fresh cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return lambda model: resolve_model(model, roots)


@pytest.fixture
def commit(hub: Hub) -> str:
    """The commit of the hub's good model."""
    repository = hub.repository("models", "tiny/stories")
    assert repository is not None
    return repository.commit


def test_a_hub_model_is_downloaded_without_code_and_pickles(
    hub: Hub, ask: Resolve, commit: str, shared: Path
) -> None:
    found = ask("tiny/stories")
    assert (found.model, found.revision, found.licence) == ("tiny/stories", commit, "mit")
    assert {path.name for path in found.folder.iterdir()} == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
    }
    real = shared / "models/stories260K/model.safetensors"
    assert (found.folder / "model.safetensors").read_bytes() == real.read_bytes()
    assert found.bytes == sum(path.stat().st_size for path in found.folder.iterdir())
    fetched = [path for path in hub.asked if "/resolve/" in path]
    assert not [path for path in fetched if path.endswith((".py", ".bin")) or "original" in path]


def test_templates_with_names_and_tokenizers_of_other_names_are_downloaded_too(
    hub: Hub, ask: Resolve
) -> None:
    folder = ask("tiny/templates").folder
    assert (folder / "additional_chat_templates/tool_use.jinja").exists()
    assert (folder / "tokenizer.model.v3").exists()


def test_a_repository_of_a_cache_is_told_from_its_commits(
    hub: Hub, ask: Resolve, roots: Roots
) -> None:
    snapshot = ask("tiny/templates").folder
    shutil.copytree(snapshot.parents[1], roots.models / "cached", symlinks=True)
    assert ask(f"local:cached/snapshots/{snapshot.name}").revision is None
    with pytest.raises(ModelNotFoundError, match="below its `snapshots`"):
        ask("local:cached")


def test_revisions(hub: Hub, ask: Resolve, commit: str) -> None:
    assert ask("tiny/stories@main").revision == commit
    assert ask(f"tiny/stories@{commit}").revision == commit
    with pytest.raises(ModelNotFoundError, match="'tiny/stories@v9' has no such revision"):
        ask("tiny/stories@v9")


def test_a_second_time_nothing_is_downloaded(hub: Hub, ask: Resolve) -> None:
    first = ask("tiny/stories")
    hub.asked.clear()
    assert ask("tiny/stories") == first
    assert not [path for path in hub.asked if "/resolve/" in path]


def test_a_commit_in_the_cache_needs_no_hub_and_a_branch_does(
    hub: Hub, ask: Resolve, commit: str
) -> None:
    first = ask("tiny/stories")
    hub.down = True
    assert ask(f"tiny/stories@{commit}") == first
    with pytest.raises(
        HubUnreachableError, match="'tiny/stories': the hub answered with status 503"
    ):
        ask("tiny/stories")
    with pytest.raises(HubUnreachableError):
        ask(f"tiny/stories@{'0' * 40}")


def test_a_hub_that_is_switched_off(
    hub: Hub, ask: Resolve, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as off:
        off.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(HubUnreachableError, match="HF_HUB_OFFLINE is set"):
            ask("tiny/stories")
    first = ask("tiny/stories@main")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert ask(f"tiny/stories@{commit}") == first


def test_a_hub_that_is_not_there(hub: Hub, ask: Resolve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(HubUnreachableError, match="the hub cannot be reached"):
        ask("tiny/stories")


def test_models_that_may_not_be_read(
    hub: Hub, ask: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated.add("tiny/stories")
    with pytest.raises(ModelNotFoundError, match=r"'tiny/stories' is gated on the hub; .*HF_TOKEN"):
        ask("tiny/stories")
    hub.private.add("tiny/stories")
    for name in ("tiny/stories", "tiny/nothing"):
        with pytest.raises(ModelNotFoundError, match=f"'{name}' does not exist .* or is private"):
            ask(name)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert ask("tiny/stories").model == "tiny/stories"
    with pytest.raises(ModelNotFoundError, match="'tiny/nothing' does not exist"):
        ask("tiny/nothing")


def test_pickled_weights_are_refused_unread(hub: Hub, ask: Resolve, roots: Roots) -> None:
    message = r"no model\.safetensors or numbered shards: it has pytorch_model\.bin"
    with pytest.raises(UnsupportedModelError, match=message):
        ask("tiny/pickled")
    assert not [path for path in hub.asked if "/resolve/" in path]
    (roots.models / "pickled").mkdir()
    (roots.models / "pickled/pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UnsupportedModelError, match=message):
        ask("local:pickled")


def test_a_model_too_large_for_the_disk_is_not_begun(hub: Hub, ask: Resolve) -> None:
    hub.sizes["model.safetensors"] = 1 << 60
    with pytest.raises(
        StorageError, match=r"'tiny/stories' needs 1073741824\.0 GiB in the hub.s cache"
    ):
        ask("tiny/stories")
    assert not [path for path in hub.asked if "/resolve/" in path]


def test_what_is_cached_needs_no_room(
    hub: Hub, ask: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("tiny/stories")
    rooms: list[dict[str, int]] = []
    monkeypatch.setattr(resolve, "check_room", lambda sizes, *_: rooms.append(sizes))
    ask("tiny/stories")
    assert rooms == [{}]


def test_a_local_folder(ask: Resolve, roots: Roots, shared: Path) -> None:
    shutil.copytree(shared / "models/stories260K", roots.models / "family/stories")
    found = ask("local:family/stories")
    assert found.folder == (roots.models / "family/stories").resolve()
    assert (found.model, found.revision, found.licence) == ("local:family/stories", None, None)
    assert found.bytes == sum(path.stat().st_size for path in found.folder.iterdir())


def test_weights_are_taken_once() -> None:
    shards = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    extras = ["config.json", "chat_template.jinja", "LICENSE.txt", "USE_POLICY.md"]
    refused = ["consolidated.safetensors", "x.py", "pytorch_model.bin", "original/params.json"]
    index = "model.safetensors.index.json"
    assert set(needed([*refused, *extras, index, *shards], "m")) == {*shards, *extras, index}
    odd = ["weights-a.safetensors", "weights-b.safetensors"]
    assert set(needed([*odd, index], "m")) == {*odd, index}
    for names, there in (([], "it has no weights"), (refused, "consolidated.safetensors, pyt")):
        with pytest.raises(UnsupportedModelError, match=there):
            needed(names, "m")


ALL_BY_ENVIRONMENT = """
import json, sys
from pathlib import Path
from slimgpt.sources.resolve import resolve_model
from slimgpt.sources.roots import Roots
from slimgpt.texts.sources import documents
roots = Roots(Path("none"), Path("none"))
found = resolve_model("tiny/stories", roots)
print(json.dumps([found.revision, str(found.folder), len(documents("c4", roots=roots))]))
"""


def test_through_the_environment_alone(hub: Hub, commit: str, tmp_path: Path) -> None:
    """As a worker runs it: nothing replaced, nothing but the answer on stdout, no bars."""
    switches = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_CACHE")
    environment = {k: v for k, v in os.environ.items() if k not in switches}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", ALL_BY_ENVIRONMENT],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    revision, folder, count = json.loads(done.stdout)
    assert (revision, count) == (commit, 1000)
    assert Path(folder).is_relative_to(tmp_path)
    assert done.stderr == ""


def test_no_message_names_a_place_on_this_machine(hub: Hub, ask: Resolve, tmp_path: Path) -> None:
    hub.gated.add("tiny/stories")
    for model in ("tiny/stories", "tiny/none", "tiny/pickled", "tiny/stories@x", "local:none"):
        with pytest.raises(SlimGPTError) as e:
            ask(model)
        assert str(tmp_path) not in str(e.value)
        assert hub.url not in str(e.value)

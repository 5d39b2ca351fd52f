"""What needs the hub is tried before anything else, for a few seconds, and there is a way without.

No test here times anything: a hub that never answers would hold it up for ever.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from slimgpt.errors import HubUnreachableError, ModelNotFoundError
from slimgpt.pipeline import run
from slimgpt.sources import hub_check, resolve
from slimgpt.sources.resolve import resolve_model
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from tests.hub import Hub

LOCAL: dict[str, Any] = {
    "model": "local:none",
    "ratio": 0.2,
    "calibration": {"source": "local:none"},
}


@pytest.fixture
def silent() -> Iterator[str]:
    """A hub that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def online(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(hub_check, "SECONDS", 0.5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "o/n"}, r"model 'o/n': the hub cannot be reached.*a local folder"),
        ({"model": "o/n@main"}, r"model 'o/n@main'"),
        ({"calibration": {}}, r"calibration 'c4': .*`--calibration FILE`.*`local:FILE`"),
        ({"calibration": {"source": "hf:o/n"}}, r"calibration 'hf:o/n'"),
        ({"recovery": {}}, r"recovery 'alpaca': .*`--recover FILE`"),
        ({"evaluation": {"texts": ["wikitext2"]}}, r"evaluation 'wikitext2': .*`--eval-text FILE`"),
        ({"evaluation": {"tasks": ["piqa"]}}, r"task 'piqa': .*`--task-source FOLDER`"),
        ({"model": "o/n", "calibration": {}}, r"model 'o/n', calibration 'c4': "),
    ],
)
def test_a_job_says_at_once_what_it_wants_of_a_hub_that_is_silent(
    changes: dict[str, Any],
    words: str,
    silent: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before it looks whether its model is there, which is not."""
    online(monkeypatch, silent)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "none"))
    job = PruneSpec.model_validate(LOCAL | changes)
    with pytest.raises(HubUnreachableError, match=words):
        list(run(job, tmp_path / "work", Roots(tmp_path, tmp_path), "cpu"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model": f"o/n@{'0' * 40}"},  # a commit may be in the cache
        {"evaluation": {"tasks": ["piqa"], "tasks_source": "local:none"}},
        {"evaluation": {"tasks": [{"name": "piqa", "source": "local:none"}]}},
    ],
)
def test_nothing_is_asked_of_a_hub_that_may_not_be_needed(
    changes: dict[str, Any], silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    online(monkeypatch, silent)
    hub_check.require(PruneSpec.model_validate(LOCAL | changes))


def test_a_hub_that_answers_anything_is_there(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.down = True
    hub_check.require(PruneSpec.model_validate(LOCAL | {"calibration": {}}))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachableError, match=r"HF_HUB_OFFLINE is set.*`--calibration FILE`"):
        hub_check.require(PruneSpec.model_validate(LOCAL | {"calibration": {}}))
    hub_check.require(PruneSpec.model_validate(LOCAL | {"model": "o/n"}))  # as the cache has it


def test_a_hub_that_falls_silent_is_not_waited_for(
    silent: str, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    online(monkeypatch, silent)
    monkeypatch.setattr(resolve, "ANSWER_SECONDS", 0.5)
    with pytest.raises(HubUnreachableError, match="'o/n': the hub cannot be reached"):
        resolve_model("o/n", roots)
    with pytest.raises(ModelNotFoundError):
        resolve_model("local:none", roots)


COMMANDS = [
    (["prune", "MODEL", "OUT", "--ratio", "0.2"], "--calibration FILE"),
    (["eval", "MODEL"], "--text FILE"),
]


@pytest.mark.parametrize(("command", "instead"), COMMANDS, ids=["prune", "eval"])
def test_a_command_says_so_before_it_loads_torch(
    command: list[str], instead: str, tmp_path: Path
) -> None:
    (tmp_path / "MODEL").mkdir()
    probe = (
        "import sys\nfrom cli.main import app\n"
        f"try:\n    app({command})\nexcept SystemExit as error:\n    print('status', error.code)\n"
        "print(*{'torch', 'transformers', 'datasets'} & set(sys.modules))"
    )
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=tmp_path,
        env=os.environ | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-2:] == ["status 1", ""], done.stderr
    assert instead in " ".join(done.stderr.split())

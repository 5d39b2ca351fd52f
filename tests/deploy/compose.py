"""docker-compose.yml as the real Docker Compose reads it, with secrets by `deploy/new-env`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
FILE = ROOT / "docker-compose.yml"
PROFILES = ("cpu", "gpu", "monitoring")
Config = dict[str, Any]


def binary() -> Path:
    """Docker Compose itself: the wrapper of its package swallows the exit status."""
    spec = find_spec("compose")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("docker-compose")


def run(arguments: Sequence[str], variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Docker Compose on the file with these variables alone."""
    return subprocess.run(
        [str(binary()), "--project-directory", str(ROOT), "-f", str(FILE), *arguments],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


@cache
def new_env() -> str:
    """What `deploy/new-env` prints."""
    command = [str(ROOT / "deploy" / "new-env")]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def variables(text: str) -> dict[str, str]:
    """The variables of an environment file, comments left out."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def render(profiles: Sequence[str], changes: Mapping[str, str] | None = None) -> Config:
    """The whole configuration, anchors and variables resolved.

    Args:
        profiles: which are active.
        changes: variables in place of those of `deploy/new-env`.

    Raises:
        AssertionError: Compose refuses it; with its words.
    """
    options = [word for profile in profiles for word in ("--profile", profile)]
    given = {**variables(new_env()), **(changes or {})}
    done = run([*options, "config", "--format", "json"], given)
    assert done.returncode == 0, done.stderr
    config: Config = json.loads(done.stdout.replace("$$", "$"))  # it escapes what it was given
    return config

"""`LocalService`: the `slimgpt up` of this machine, as it notes itself in its home."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

NOTE = "up.json"


@dataclass(frozen=True)
class LocalService:
    """A running `slimgpt up`: its process, its address, and its folders of models and texts."""

    pid: int
    url: str
    models: str
    texts: str

    def write(self, home: Path) -> None:
        """Leave the note."""
        (home / NOTE).write_text(json.dumps(asdict(self)), encoding="utf-8")


def running(home: Path | None = None) -> LocalService | None:
    """The service that runs on a home; None if none does.

    Args:
        home: default: SLIMGPT_HOME, else the settings' own.
    """
    import psutil

    try:
        found = LocalService(**json.loads(((home or default_home()) / NOTE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return found if psutil.pid_exists(found.pid) else None


def default_home() -> Path:
    """The home of a service that is not told another."""
    if named := os.environ.get("SLIMGPT_HOME"):
        return Path(named).expanduser().absolute()
    from jobs.settings import Settings

    home: Path = Settings.model_fields["home"].get_default(call_default_factory=True)
    return home


def models_root() -> Path:
    """The folder of `local:` models on this machine."""
    if named := os.environ.get("SLIMGPT_MODELS_ROOT"):
        return Path(named).expanduser().absolute()
    service = running()
    return default_home() / "models" if service is None else Path(service.models)

"""Descriptions of the models below the models root, by the engine, in a subprocess with limits.

The engine reads untrusted headers: it gets no secrets, and little memory and time. A description is
kept while the model's `config.json` stays as it is, for at most `KEPT` models.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Sequence

import structlog
from pydantic import ValidationError

from api.checks import sandbox
from api.checks.plan_check import offline_environment
from api.checks.sources import LOCAL, inside
from api.inventory.listing import CONFIG
from jobs.logs.redaction import for_clients
from jobs.settings import Settings
from slimgpt.planning.document import FoundModel, ModelList

SECONDS = 30
MEMORY_BYTES = 384 << 20
KEPT = 1000
UNREAD = "it could not be read in time or within the memory of a request; plan it to see why"
Mark = tuple[str, int, int]
log = structlog.get_logger(__name__)


class ModelDescriptions:
    """Describes models of one root; thread-safe. One engine runs at a time, the others wait.

    Args:
        settings: the engine's command and the models root.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._asking = threading.Lock()
        self._known: dict[Mark, FoundModel] = {}

    def of(self, names: Sequence[str]) -> list[FoundModel]:
        """Descriptions of folders below the root, in order.

        Args:
            names: paths relative to the root.
        """
        marks = {name: self._mark(name) for name in names}
        with self._asking:
            unknown = [name for name, mark in marks.items() if mark not in self._known]
            found = self._ask(unknown) if unknown else {}
            if len(self._known) + len(found) > KEPT:
                self._known.clear()
            self._known |= {marks[name]: one for name, one in found.items()}
            known = [self._known.get(marks[name]) for name in names]
        return [
            one or FoundModel(model=LOCAL + name, reason=UNREAD)
            for name, one in zip(names, known, strict=True)
        ]

    def _mark(self, name: str) -> Mark:
        """The folder and the time and size of its config: another one needs another look."""
        path = inside(self._settings.models_root, f"{name}/{CONFIG}")
        try:
            seen = path.stat() if path else None
        except OSError:
            seen = None
        return (name, seen.st_mtime_ns, seen.st_size) if seen else (name, 0, 0)

    def _ask(self, names: Sequence[str]) -> dict[str, FoundModel]:
        """The engine's descriptions; none if it was stopped or has answered anything else."""
        settings = self._settings
        root = str(settings.models_root.absolute())
        command = [*settings.engine_command, "models", "-", "--models-root", root]
        try:
            done = subprocess.run(
                sandbox.command(command, memory=MEMORY_BYTES, seconds=SECONDS),
                input=json.dumps([LOCAL + name for name in names]).encode(),
                capture_output=True,
                env=offline_environment(),
                timeout=SECONDS,
                check=False,
            )
            items = ModelList.model_validate_json(done.stdout).items
        except subprocess.TimeoutExpired:
            log.warning("the engine took too long to describe models", seconds=SECONDS)
            return {}
        except ValidationError:
            tail = done.stderr[-2000:].decode(errors="replace")
            log.error("the engine described no models", returncode=done.returncode, stderr=tail)
            return {}
        found = {one.model.removeprefix(LOCAL): one for one in items}
        return {
            name: one.model_copy(update={"reason": for_clients(one.reason)})
            for name, one in found.items()
        }

"""Descriptions of the models below the models root, by the engine, in a subprocess with limits.

The engine reads untrusted headers: it gets no secrets, and little memory and time. It describes one
folder after the other, and each as soon as it is read: one at which it hangs or dies hides no
other, and is left alone for `AGAIN_SECONDS`. A description is kept while the model's files stay as
they are; that a model cannot be pruned, for `AGAIN_SECONDS` at most.
"""

from __future__ import annotations

import json
import math
import os
import selectors
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

import structlog
from pydantic import ValidationError

from api.checks import sandbox
from api.checks.folder_state import state_of
from api.checks.plan_check import offline_environment
from api.checks.sources import LOCAL, inside
from jobs.logs.redaction import for_clients
from jobs.settings import Settings
from slimgpt.planning.document import FoundModel, ModelList

SECONDS = 30
FOLDER_SECONDS = 10.0
"""Longest reading of one folder."""
AGAIN_SECONDS = 60.0
MEMORY_BYTES = 384 << 20
KEPT = 1000
UNREAD = "it could not be read in time or within the memory of a request; plan it to see why"
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Kept:
    """A description until a moment of the monotonic clock.

    Attributes:
        files: their state when it was made; None: it holds whatever they are.
    """

    description: FoundModel
    files: str | None
    until: float

    def holds(self, files: str | None) -> bool:
        return time.monotonic() < self.until and self.files in (None, files)


class ModelDescriptions:
    """Describes models of one root; thread-safe. One engine runs at a time, the others wait.

    Args:
        settings: the engine's command and the models root.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._asking = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    def of(self, names: Sequence[str]) -> list[FoundModel]:
        """Descriptions of folders below the root, in order.

        Args:
            names: paths relative to the root.
        """
        files = {name: state_of(inside(self._settings.models_root, name)) for name in names}
        with self._asking:
            found = {
                name: self._kept[name].description
                for name in files
                if name in self._kept and self._kept[name].holds(files[name])
            }
            if unknown := [name for name in files if name not in found]:
                described = self._described(unknown)
                self._keep(described, files)
                found |= described
        return [found.get(name) or _unread(name) for name in names]

    def _keep(self, found: dict[str, FoundModel], files: dict[str, str | None]) -> None:
        if len(self._kept) + len(found) > KEPT:
            self._kept.clear()
        for name, one in found.items():
            if one.reason != UNREAD and files[name] is None:  # it is gone
                continue
            until = math.inf if one.prunable else time.monotonic() + AGAIN_SECONDS
            self._kept[name] = _Kept(one, None if one.reason == UNREAD else files[name], until)

    def _described(self, names: Sequence[str]) -> dict[str, FoundModel]:
        """The engine's descriptions of those that it reads within `SECONDS`."""
        over = time.monotonic() + SECONDS
        found: dict[str, FoundModel] = {}
        left = list(names)
        while left and time.monotonic() < over:
            answers, stuck = self._ask(left, over)
            found |= answers
            left = [name for name in left if name not in answers]
            if not (stuck and left):
                break
            culprit = left.pop(0)
            log.warning("the engine could not read a model's folder", model=LOCAL + culprit)
            found[culprit] = _unread(culprit)
        return found

    def _ask(self, names: Sequence[str], over: float) -> tuple[dict[str, FoundModel], bool]:
        """What the engine says until it ends or is stopped, and whether a folder is to blame: the
        first that it says nothing of."""
        root = str(self._settings.models_root.absolute())
        command = [*self._settings.engine_command, "models", "-", "--models-root", root]
        found: dict[str, FoundModel] = {}
        with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as log_file:
            asked.write(json.dumps([LOCAL + name for name in names]).encode())
            asked.seek(0)
            with subprocess.Popen(
                sandbox.command(command, memory=MEMORY_BYTES, seconds=SECONDS),
                stdin=asked,
                stdout=subprocess.PIPE,
                stderr=log_file,
                env=offline_environment(),
            ) as process:
                try:
                    assert process.stdout is not None
                    for line in _lines(process.stdout, over):
                        for one in ModelList.model_validate_json(line).items:
                            found[one.model.removeprefix(LOCAL)] = _for_clients(one)
                    with suppress(subprocess.TimeoutExpired):  # then it is killed, too
                        process.wait(1.0)
                except TimeoutError:
                    return found, time.monotonic() < over
                except ValidationError:
                    log.error("the engine described no models", stderr=_tail(log_file))
                    return found, False
                finally:
                    process.kill()
            if process.returncode > 0:
                log.error("the engine failed", status=process.returncode, stderr=_tail(log_file))
            return found, process.returncode < 0


def _lines(output: IO[bytes], over: float) -> Iterator[bytes]:
    """The lines of a process as they come, to its end.

    Raises:
        TimeoutError: the next one takes longer than `FOLDER_SECONDS`, or the time is over.
    """
    held, last = b"", time.monotonic()
    with selectors.DefaultSelector() as ready:
        ready.register(output, selectors.EVENT_READ)
        while ready.select(max(0.0, min(over, last + FOLDER_SECONDS) - time.monotonic())):
            got = os.read(output.fileno(), 1 << 16)
            if not got:
                return
            *whole, held = (held + got).split(b"\n")
            if whole:
                yield from whole
                last = time.monotonic()
    raise TimeoutError


def _for_clients(one: FoundModel) -> FoundModel:
    return one.model_copy(update={"reason": for_clients(one.reason)})


def _unread(name: str) -> FoundModel:
    return FoundModel(model=LOCAL + name, reason=UNREAD)


def _tail(file: IO[bytes]) -> str:
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - 2000))
    return file.read().decode(errors="replace")

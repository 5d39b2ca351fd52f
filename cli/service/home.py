"""`Home`: the folder of a single-machine service, and its lock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from api.checks import listing
from cli.options.local_service import NOTE, LocalService, default_home, running
from jobs.pepper import ensure_pepper

WEIGHTS = "*.safetensors"


class HomeError(Exception):
    """The folder cannot be used; the message is one line."""


@dataclass(frozen=True)
class Home:
    """Folders of a service: below a home folder, and those of models and texts."""

    root: Path
    models: Path
    texts: Path

    @classmethod
    def at(cls, root: Path | None, models: Path | None, texts: Path | None) -> Home:
        """The home given on the command line, else that of the settings."""
        base = (root or default_home()).expanduser().absolute()
        return cls(
            base,
            (models or base / "models").expanduser().absolute(),
            (texts or base / "texts").expanduser().absolute(),
        )

    def model_names(self) -> list[str]:
        """The names `local:NAME` of the models with weights that the API lists, the nearest folders
        first.
        """
        names = sorted(listing.models(self.models).models, key=lambda name: name.count("/"))
        return [f"local:{name}" for name in names if any((self.models / name).glob(WEIGHTS))]

    @property
    def logs(self) -> Path:
        """Folder of the processes' logs."""
        return self.root / "logs"

    @property
    def redis(self) -> Path:
        """Folder of the embedded Redis."""
        return self.root / "redis"

    def prepare(self) -> None:
        """Create missing folders; the home is accessible to its owner only.

        Raises:
            HomeError: a folder cannot be created, or a named folder elsewhere does not exist.
        """
        for folder, option in ((self.models, "--models"), (self.texts, "--texts")):
            if not folder.is_relative_to(self.root) and not folder.is_dir():
                raise HomeError(f"{folder} is not a folder; name another with {option}")
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.logs, self.redis, self.models, self.texts):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HomeError(f"{error.filename} cannot be created: {error.strerror}") from error

    def ensure_pepper(self) -> None:
        """Create the pepper, unless there is one. Requires the lock.

        Raises:
            HomeError: it cannot be written.
        """
        try:
            ensure_pepper(self.root)
        except OSError as error:
            raise HomeError(f"no secret can be kept in {self.root}: {error.strerror}") from error

    def exposure(self) -> str:
        """A warning if other users can read the home, which existed before; else empty."""
        mode = self.root.stat().st_mode & 0o777
        if not mode & 0o077:
            return ""
        return (
            f"other users of this machine can read {self.root} (mode {mode:o}): jobs, hashes of "
            f"keys and results; chmod 700 {self.root} prevents that"
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the home for one service; the kernel releases the lock of a dead process.

        Raises:
            HomeError: another service has the lock; the message says which.
        """
        lock = FileLock(self.root / "up.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            message = f"{_holder(self.root)} runs on {self.root} already"
            hint = "use it, stop it, or name another folder with --home"
            raise HomeError(f"{message}; {hint}") from error
        try:
            yield
        finally:
            (self.root / NOTE).unlink(missing_ok=True)
            lock.release()

    def tell(self, url: str) -> None:
        """Record URL and process id for the message of `locked`. Requires the lock."""
        told = LocalService(os.getpid(), url, str(self.models), str(self.texts))
        told.write(self.root)


def _holder(home: Path) -> str:
    holder = running(home)
    return f"a service ({holder.url}, process {holder.pid})" if holder else "a service"

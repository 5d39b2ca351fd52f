"""Room on the disk for another job: without it, it is not taken in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import structlog
from fsspec.implementations.local import LocalFileSystem

from api.problems import Problem
from api.services import Services, Wired

RETRY_SECONDS = 300
log = structlog.get_logger(__name__)


def require_room(services: Wired) -> None:
    """Refuse while a disk of the service has less free than `Settings.min_free_bytes`.

    Raises:
        Problem: 503; the log names the folder, the answer only what it is for.
    """
    least = services.settings.min_free_bytes
    for what, folder in _folders(services):
        free = shutil.disk_usage(_existing(folder)).free
        if free < least:
            log.error("disk almost full", what=what, folder=str(folder), free=free, least=least)
            raise Problem(
                "storage-low",
                f"the disk of {what} is almost full; no new jobs until space is freed",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )


def _folders(services: Services) -> Iterator[tuple[str, Path]]:
    """Folders on this machine that jobs fill, and what each is for."""
    if isinstance(services.artifacts.fs, LocalFileSystem):
        yield "the artifacts", Path(services.artifacts.root)
    url = services.engine.url
    if url.get_backend_name() == "sqlite" and url.database:
        yield "the database", Path(url.database).absolute()
    yield "the work folder", services.settings.work_root


def _existing(path: Path) -> Path:
    """The path or the nearest folder above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())

"""Refuses new jobs and uploads (503) while free disk space is below the limit."""

from __future__ import annotations

import shutil
from pathlib import Path

import structlog
from fsspec.implementations.local import LocalFileSystem

from api.dependencies import ServicesDep
from api.http.problems import Problem
from api.services import Services
from jobs.files.disks import existing

RETRY_SECONDS = 300
NAMES = {"work": "work folder"}
log = structlog.get_logger(__name__)


def require_free_disk(services: ServicesDep) -> None:
    """Refuse while a disk of the service has less free space than `Settings.min_free_bytes`.

    Raises:
        Problem: 503; the log names the folder, the response only its purpose.
    """
    least = services.settings.min_free_bytes
    for what, folder in folders(services).items():
        free = shutil.disk_usage(existing(folder)).free
        if free < least:
            log.error("disk almost full", what=what, folder=str(folder), free=free, least=least)
            raise Problem(
                "storage-low",
                f"the disk of the {NAMES.get(what, what)} is almost full; "
                "new jobs and uploads are refused until space is freed",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )


def folders(services: Services) -> dict[str, Path]:
    """Folders of this machine that jobs write to, by purpose."""
    found = {"work": services.settings.work_root, "uploads": services.settings.uploads_root}
    if isinstance(services.artifacts.fs, LocalFileSystem):
        found["artifacts"] = Path(services.artifacts.root)
    url = services.engine.url
    if url.get_backend_name() == "sqlite" and url.database:
        found["database"] = Path(url.database).absolute()
    return found

"""Refuses jobs on more devices than `Settings.max_devices`."""

from __future__ import annotations

from api.http.validation import FieldError
from slimgpt.spec.prune import PruneSpec


def too_many_devices(spec: PruneSpec, most: int) -> list[FieldError]:
    """An error if the job asks for more devices than this service gives to one job."""
    if spec.devices <= most:
        return []
    message = (
        f"{spec.devices} devices are more than the {most} that this service gives to one job "
        "(SLIMGPT_MAX_DEVICES)"
    )
    return [FieldError(pointer="/devices", message=message)]

"""`provenance.json`: base model and revision, licence, specification, calibration hash, versions.

With the base model, the specification and the calibration text at hand, the same weights can be
made again; and the kept indices say which of the base model's pieces they are. Imports neither
torch nor transformers.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import slimgpt
from slimgpt.checkpoints.checkpoint import LARGEST_JSON, Checkpoint
from slimgpt.machine import disk
from slimgpt.spec.prune import PruneSpec

FILE = "provenance.json"
FORMAT = 1
LIBRARIES = ("datasets", "numpy", "safetensors", "tokenizers", "torch", "transformers")


@dataclass(frozen=True)
class Origin:
    """What went into a job.

    Attributes:
        model: `org/name` or `local:NAME`.
        revision: commit on the hub; None for a local folder.
        licence: as the model's card or licence file says; None if neither does.
        calibration_sha256: of the calibration token ids.
        started: when the job began, with time zone.
    """

    model: str
    revision: str | None
    licence: str | None
    calibration_sha256: str
    started: datetime


def build(
    checkpoint: Checkpoint,
    origin: Origin,
    spec: PruneSpec,
    layers: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The content of `provenance.json`.

    Args:
        checkpoint: the base model.
        layers: a record for each layer: the kept heads, KV heads and channels as indices into the
            base model's layer, and error and damping of each half.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "base_model": {
            "model": origin.model,
            "revision": origin.revision,
            "licence": origin.licence,
            "parameters": checkpoint.parameters,
            "dtype": checkpoint.architecture.dtype,
            "model_type": checkpoint.architecture.family.model_type,
        },
        "spec": spec.model_dump(mode="json"),
        "seed": spec.calibration.seed,
        "calibration_sha256": origin.calibration_sha256,
        "engine": {"name": "slimgpt-service", "version": slimgpt.__version__},
        "libraries": {"python": platform.python_version(), **_versions()},
        "started": origin.started.astimezone(UTC).isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "layers": [dict(layer) for layer in layers],
    }
    earlier = _earlier(checkpoint)
    return content | ({"base_model_provenance": earlier} if earlier else {})


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `provenance.json` into a folder.

    Raises:
        StorageError: the disk is full or cannot be written.
        ValueError: a number is not finite.
    """
    disk.write_text(folder / FILE, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in LIBRARIES}


def _earlier(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """The base model's own provenance, where it was pruned before."""
    if not checkpoint.location.has(FILE):
        return None
    file = checkpoint.location.file(FILE)
    if file.stat().st_size > LARGEST_JSON:
        return None
    try:
        content = json.loads(file.read_bytes())
    except ValueError:
        return None
    return content if isinstance(content, dict) and "base_model" in content else None

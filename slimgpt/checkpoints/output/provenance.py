"""`provenance.json`: base model and revision, licence, specification, calibration hash, versions.

Base model, specification and calibration text reproduce the weights; the kept indices say which
heads and channels of the base model remain. Imports neither torch nor transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import slimgpt
from slimgpt.checkpoints.checkpoint import LARGEST_JSON, Checkpoint
from slimgpt.machine import disk, environment
from slimgpt.spec.prune import PruneSpec

FILE = "provenance.json"
FORMAT = 1


@dataclass(frozen=True)
class Origin:
    """The inputs of a job.

    Attributes:
        model: `org/name` or `local:NAME`.
        revision: commit on the hub; None for a local folder.
        licence: from the model card or licence file; None if neither states one.
        calibration_sha256: of the calibration token ids.
        started: start of the job, with time zone.
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
        layers: a record for each layer: indices of the kept heads, KV heads and channels in the
            base model, and error and damping of attention and FFN.
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
        "libraries": environment.versions(),
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


def _earlier(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """The base model's own provenance, if it was pruned before."""
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

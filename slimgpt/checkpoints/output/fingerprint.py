"""Fingerprint of everything that pruned layers depend on; jobs never share each other's layers."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from typing import Any

import slimgpt
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.spec.prune import PruneSpec

SAMPLE_BYTES = 2**16
SPARED = {"recovery", "evaluation", "formats", "gguf_type", "devices"}
COMPUTING = ("torch", "transformers")  # versions may differ in rounding


def of(checkpoint: Checkpoint, spec: PruneSpec, calibration_hash: str) -> str:
    """Fingerprint of a job, 64 hexadecimal digits.

    Recovery, evaluation and further formats are excluded: they change no pruned layer; and the
    number of devices, which changes it by rounding alone. Of the weights only the headers and both
    ends of each file are hashed, which distinguishes fine-tunes of one model without reading whole
    files.

    Args:
        calibration_hash: SHA-256 of the calibration token ids.
    """
    content = {
        "versions": [slimgpt.__version__, *(metadata.version(name) for name in COMPUTING)],
        "spec": spec.model_dump(mode="json", exclude=SPARED),
        "alike": spec.layers_alike,
        "calibration": calibration_hash,
        "config": checkpoint.config,
        "tensors": {
            name: [info.dtype, *info.shape] for name, info in sorted(checkpoint.tensors.items())
        },
    }
    return _digest(content, checkpoint)


def of_weights(checkpoint: Checkpoint) -> str:
    """Fingerprint of a model: its config, headers, and both ends of each file of weights."""
    return _digest(checkpoint.config, checkpoint)


def _digest(content: dict[str, Any], checkpoint: Checkpoint) -> str:
    """SHA-256 of a JSON object, and of the size and both ends of each file of weights."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for file in sorted({info.file for info in checkpoint.tensors.values()}):
        size = file.stat().st_size
        digest.update(str(size).encode())
        with file.open("rb") as stream:
            digest.update(stream.read(SAMPLE_BYTES))
            stream.seek(max(0, size - SAMPLE_BYTES))
            digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()

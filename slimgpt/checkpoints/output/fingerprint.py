"""Fingerprint of everything a job's output depends on; layers of different jobs are never mixed."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from pathlib import Path

import slimgpt
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.spec.prune import PruneSpec

SAMPLE_BYTES = 2**16
SPARED = {"recovery", "evaluation", "formats", "gguf_type"}
COMPUTING = ("torch", "transformers")  # another version may round otherwise


def of(checkpoint: Checkpoint, spec: PruneSpec, calibration_hash: str) -> str:
    """Fingerprint of a job, 64 hexadecimal digits.

    Recovery, evaluation and further formats are left out: they change no pruned layer. Of the
    weights, the headers and both ends of each file are hashed, which tells two fine-tunes of one
    model apart without reading them whole.

    Args:
        calibration_hash: of the calibration token ids.
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
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for file in sorted({info.file for info in checkpoint.tensors.values()}):
        _add_ends(digest, file)
    return digest.hexdigest()


def of_weights(checkpoint: Checkpoint) -> str:
    """Fingerprint of a model: its config, headers, and both ends of each file of weights."""
    digest = hashlib.sha256(json.dumps(checkpoint.config, sort_keys=True).encode())
    for file in sorted({info.file for info in checkpoint.tensors.values()}):
        _add_ends(digest, file)
    return digest.hexdigest()


def _add_ends(digest: hashlib._Hash, file: Path) -> None:
    size = file.stat().st_size
    digest.update(str(size).encode())
    with file.open("rb") as stream:
        digest.update(stream.read(SAMPLE_BYTES))
        stream.seek(max(0, size - SAMPLE_BYTES))
        digest.update(stream.read(SAMPLE_BYTES))

"""A report with something in every part of it, of a model with any number of layers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

HOSTILE = '</title><script>alert("1")</script>|`$x_$`\n\x00中'


def report(layers: int = 32, name: str = "org/model-7b", ratio: float = 0.2) -> dict[str, Any]:
    """The content of `report.json`.

    Args:
        layers: how many the model has.
        name: of the model, its texts, tasks and warnings.
        ratio: that was removed.
    """
    return {
        "verdict": f"{ratio:.1%} of the parameters removed of {name}.",
        "schema_version": 2,
        "engine_version": "0.1.0",
        "model": {
            "model": name,
            "revision": "0123456789abcdef0123456789abcdef01234567",
            "licence": "apache-2.0",
            "parameters_before": 6_738_415_616,
            "parameters_after": round(6_738_415_616 * (1 - ratio)),
            "ratio_achieved": ratio + 0.0001234,
            "bytes_before": 13_476_831_232,
            "bytes_after": round(13_476_831_232 * (1 - ratio)),
        },
        "spec": {"model": name, "ratio": ratio, "method": "slimgpt", "schedule": {"shape": "log"}},
        "calibration": {
            "source": f"{name}: c4",
            "samples": 256,
            "sequence_length": 2048,
            "seed": 0,
            "documents_used": 917,
            "sha256": "ab" * 32,
        },
        "layers": [_layer(index, layers, ratio) for index in range(layers)],
        "recovery": _recovery(name),
        "perplexity": [
            _perplexity(name, 128, 12.6312345, ratio),
            _perplexity(name, 2048, 5.4712345, ratio),
        ],
        "tasks": [_task(f"{name}-{index}", index, ratio) for index in range(8)],
        "inference": [
            _speed(model, batch, slower)
            for batch in (1, 8)
            for model, slower in (("dense", 1.0), ("pruned", 0.83), ("recovered", 0.84))
        ],
        "verified": [
            {"loader": f"{name} 5.23", "max_difference": 1.5e-5, "tokens": 512},
            {
                "format": "gguf",
                "loader": f"llama.cpp {name}",
                "max_difference": 3.25e-5,
                "bound": 0.00625,
                "tokens": 256,
                "bytes": 7_123_456,
            },
        ],
        "seconds": {"resolve": 3.25, "plan": 0.125, "prune": 912.5, name: 88.0, "evaluate": 120.0},
        "device": "cuda",
        "stage_memory_bytes": {"prune": 7_812_345_678, name: 5_412_345_678},
        "drift": [
            {
                "model": model,
                "layer": index,
                "stream": 0.01 * (1 + index) * part,
                "ffn": 0.02 * part,
            }
            for model, part in (("pruned", 1.0), ("recovered", 0.7))
            for index in range(layers)
        ],
        "peak_memory_bytes": 7_812_345_678,
        "warnings": [f"layer 3: {name} needed more damping"],
    }


def write(folder: Path, content: dict[str, Any]) -> Path:
    """Put it where a job would: `report.json` in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def _layer(index: int, layers: int, ratio: float) -> dict[str, Any]:
    share = min(0.9, ratio * (0.4 + math.log(index + 2) / math.log(layers + 1)))
    return {
        "layer": index,
        "layers_total": layers,
        "heads_before": 32,
        "heads": round(32 * (1 - share)),
        "kv_heads_before": 8,
        "kv_heads": round(8 * (1 - share)),
        "channels_before": 11008,
        "channels": 32 * round(11008 * (1 - share) / 32),
        "parameters_before": 202_383_360,
        "parameters": round(202_383_360 * (1 - share)),
        "attention_error": 0.0 if index == 0 else 0.0123 * share,
        "ffn_error": 0.0456 * share * (1 + index / 7),
        "attention_damping": 0.01,
        "ffn_damping": 0.1 if index == 3 else 0.01,
        "seconds": 21.5 + index / 3,
        "kept_heads": [0, 1],
    }


def _perplexity(name: str, length: int, dense: float, ratio: float) -> dict[str, Any]:
    return {
        "text": name,
        "protocol": f"{name} in windows of {length} tokens",
        "sequence_length": length,
        "tokens": 341_469,
        "windows": 341_469 // length,
        "sha256": f"{length:064x}",
        "dense": dense,
        "dense_interval": [dense * 0.98, dense * 1.03],
        "pruned": dense * (1 + 1.6 * ratio),
        "pruned_interval": [dense * (0.97 + 1.6 * ratio), dense * (1.04 + 1.6 * ratio)],
        "pruned_ratio_interval": [0.99 + 1.6 * ratio, 1.01 + 1.6 * ratio],
        "recovered": dense * (1 + 0.9 * ratio),
        "recovered_interval": [dense * (0.97 + 0.9 * ratio), dense * (1.04 + 0.9 * ratio)],
        "recovered_ratio_interval": [0.99 + 0.9 * ratio, 1.01 + 0.9 * ratio],
    }


def _task(name: str, index: int, ratio: float) -> dict[str, Any]:
    dense = 0.75 - index / 23
    return {
        "task": name,
        "metric": "acc_norm",
        "shots": 0,
        "samples": 1838 - index,
        "group": "commonsense",
        "dense": dense,
        "dense_error": 0.0103,
        "pruned": dense - ratio / 3,
        "pruned_error": 0.0112,
        "recovered": dense - ratio / 5,
        "recovered_error": 0.0108,
    }


def _speed(model: str, batch: int, slower: float) -> dict[str, Any]:
    return {
        "model": model,
        "loader": "transformers 5.23.0",
        "batch": batch,
        "prompt_tokens": 128,
        "new_tokens": 64,
        "prefill_ms": 31.25 * batch * slower,
        "prefill_spread_ms": 1.125,
        "decode_ms_per_token": 24.5 * slower,
        "decode_spread_ms": 0.375,
        "tokens_per_second": 40.8 * batch / slower,
        "peak_memory_bytes": round(14_000_000_000 * slower),
        "weights_bytes": round(13_476_831_232 * slower),
        "repeats": 10,
        "interleaved": True,
    }


def _recovery(name: str) -> dict[str, Any]:
    points = [
        {
            "step": step,
            "steps": 300,
            "learning_rate": 1e-4,
            "train": None if step == 0 else 1.2 + 2 / (step + 3),
            "text": 2.5 + 1 / (step + 2) if step % 30 == 0 else None,
            "lessons": 1.3 + 1 / (step + 2) if step % 30 == 0 else None,
        }
        for step in range(0, 301, 10)
    ]
    return {
        "source": name,
        "sequences": 49_402,
        "tokens": 6_123_456,
        "held_out": 200,
        "left_out": f"12 rows of {name} without an answer",
        "sha256": "cd" * 32,
        "trainable_parameters": 19_988_480,
        "curves": points,
        "published": True,
    }

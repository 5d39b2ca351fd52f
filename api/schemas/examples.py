"""Example requests and responses for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import JsonValue

JOB_ID = "job_01jd5xa3k8e6q7m2n4p9r0s1t2"
SET_ID = "cal_01jd5xa3k8e6q7m2n4p9r0s1t2"
WEBHOOK_ID = "wh_01jd5xa3k8e6q7m2n4p9r0s1t2"
DELIVERY_ID = "msg_01jd5xa3k8e6q7m2n4p9r0s1t2"

_TEXT: dict[str, JsonValue] = {
    "source": "local:calibration.jsonl",
    "samples": 64,
    "sequence_length": 256,
}
JOBS: list[JsonValue] = [
    {
        "model": "local:model",
        "ratio": 0.3,
        "calibration": _TEXT,
        "evaluation": {"texts": ["held-out"], "sequence_lengths": [256]},
        "metadata": {"team": "search"},
    },
    {"model": "local:model", "ratios": [0.2, 0.3, 0.5], "calibration": _TEXT},
    {"model": "local:model", "parameters": "1.6M", "calibration": _TEXT},
    {"model": "local:model", "memory": "6MiB", "calibration": _TEXT},
    {
        "model": "meta-llama/Llama-2-7b-hf",
        "ratio": 0.2,
        "calibration": {"source": "c4", "samples": 256, "sequence_length": 2048, "seed": 0},
        "evaluation": {"texts": ["wikitext2"], "sequence_lengths": [128, 2048]},
    },
]
"""All but the last, which needs the hub, work on the service of the README, as it is started there:
`slimgpt up --models examples --texts examples/model/texts`."""

_SHAPE: dict[str, JsonValue] = {
    "layer": 0,
    "heads_before": 32,
    "heads": 24,
    "kv_heads_before": 32,
    "kv_heads": 24,
    "channels_before": 11008,
    "channels": 8256,
    "parameters_before": 202383360,
    "parameters": 151781376,
}
LAYER: dict[str, JsonValue] = _SHAPE | {
    "job_id": JOB_ID,
    "point": 0,
    "epoch": 1,
    "layers_total": 32,
    "attention_error": 0.0123,
    "ffn_error": 0.0098,
    "attention_damping": 0.01,
    "ffn_damping": 0.01,
    "seconds": 9.1,
    "resumed": False,
    "finished_at": "2026-11-22T08:15:00.123000Z",
}
PLAN: dict[str, JsonValue] = {
    "type": "plan",
    "parameters_before": 6738415616,
    "parameters_after": 5390732492,
    "ratio_achieved": 0.2,
    "channel_multiple": 32,
    "bytes_before": 13476831232,
    "bytes_after": 10781464984,
    "peak_memory_bytes": 9126805504,
    "activation_bytes": 4294967296,
    "provisional": False,
    "layers": [_SHAPE],
    "points": [],
    "formats": [
        {"format": "exact", "possible": True, "reason": ""},
        {"format": "uniform", "possible": False, "reason": "its layers differ in size"},
        {"format": "gguf", "possible": True, "reason": ""},
        {"format": "padded", "possible": True, "reason": ""},
    ],
    "loaders": {"32-blocks": "Q8_0, Q4_0: possible, all row lengths are multiples of 32"},
    "token_costs": {
        "cache_bytes_before": 524288,
        "cache_bytes_after": 419840,
        "operations_before": 13214154752,
        "operations_after": 10518788504,
    },
    "warnings": [],
    "time": {"seconds": 812.0, "low": 640.5, "high": 1105.0, "basis": "same-model", "jobs": 4},
}
ARTIFACT: dict[str, JsonValue] = {
    "path": "model.safetensors",
    "size": 10781464984,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
REPORT: dict[str, JsonValue] = {
    "model": {
        "model": "meta-llama/Llama-2-7b-hf",
        "parameters_before": 6738415616,
        "parameters_after": 5390732492,
        "ratio_achieved": 0.2,
        "bytes_before": 13476831232,
        "bytes_after": 10781464984,
    },
    "seconds": 812.0,
    "layers": [_SHAPE],
}
JSON_LINES = '{"text": "Once upon a time there was a model."}\n{"text": "It was large."}\n'
METRICS = '# TYPE slimgpt_jobs gauge\nslimgpt_jobs{status="queued"} 2.0\n'


def answers(example: Any) -> dict[int | str, Any]:
    """The example of a 200, for a route's `responses`."""
    return {200: {"content": {"application/json": {"example": example}}}}

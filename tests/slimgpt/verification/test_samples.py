"""Sample texts: drawn from the models' distributions, the same for the same model and seed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from slimgpt.errors import CalibrationError
from slimgpt.events import Warned
from slimgpt.pipeline import run
from slimgpt.report import html_page
from slimgpt.report.document import read
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from slimgpt.verification.processes import transformers_samples as process
from slimgpt.verification.processes.transformers_samples import SampleRequest
from tests.slimgpt.tiny import Tiny

CPU = torch.device("cpu")
SAMPLES = {"prompts": 2, "prompt_tokens": 8, "new_tokens": 6, "seed": 5, "temperature": 0.01}
"""Cold: random weights say little, and noise would decide what all models write."""
SETTINGS: dict[str, Any] = {
    "model": "local:model",
    "ratio": 0.3,
    "calibration": {"source": "local:text.txt", "samples": 4, "sequence_length": 32},
    "evaluation": {"texts": ["held-out"], "max_tokens": 256, "samples": SAMPLES},
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    Tiny(tokenizer=True).save(tmp_path / "model")
    (tmp_path / "text.txt").write_text("All work and no play makes <b>Jack</b> a dull boy. " * 80)
    return tmp_path


def reports(place: Path, work: str, **changes: Any) -> dict[str, Any]:
    spec = PruneSpec.model_validate(SETTINGS | changes)
    events = list(run(spec, place / work, Roots(place, place), "cpu"))
    warned = [event.message for event in events if isinstance(event, Warned)]
    assert [message for message in warned if "sample texts" in message] == []
    found: dict[str, Any] = json.loads((place / work / "checkpoint/report.json").read_text())
    return found


def test_a_report_has_what_each_model_wrote_and_again_the_same(place: Path) -> None:
    first = reports(place, "one")["samples"]
    assert first == reports(place, "two")["samples"]
    assert (first["source"], first["seed"], first["new_tokens"]) == ("held-out", 5, 6)
    assert len(first["texts"]) == 2
    for text in first["texts"]:
        assert text["prompt"]
        assert text["dense"] != text["pruned"]
        assert text["recovered"] is None
    page = html_page.render(read(place / "one" / "checkpoint"))
    assert "Sample texts" in page
    assert "<b>Jack" not in page


def test_the_dense_model_writes_once_in_a_sweep(place: Path) -> None:
    points = reports(place, "sweep", ratio=None, ratios=[0.0, 0.4])["points"]
    same, other = (point["report"]["samples"]["texts"] for point in points)
    for unpruned, pruned in zip(same, other, strict=True):
        assert unpruned["dense"] == pruned["dense"]
        assert unpruned["pruned"] == unpruned["dense"]  # nothing was removed: the same noise
        assert pruned["pruned"] != pruned["dense"]


def test_ids_are_drawn_from_the_models_own_distribution() -> None:
    """Frequencies of the first token over many equal prompts, against the softmax."""
    model = Tiny(vocabulary=8, layers=1).build()
    prompt, temperature, count = [3, 4, 5], 0.7, 20_000
    request = SampleRequest(prompts=[prompt] * count, new_tokens=1, temperature=temperature, seed=1)
    ids = Counter(row[0] for row in process.answer(model, request, CPU).ids)
    with torch.no_grad():
        expected = (model(torch.tensor([prompt])).logits[0, -1] / temperature).softmax(-1)
    for token, share in enumerate(expected.tolist()):
        deviation = (share * (1 - share) / count) ** 0.5
        assert abs(ids[token] / count - share) < 6 * deviation + 1e-9


@pytest.mark.filterwarnings("ignore:`past_key_values` is deprecated")  # its name before 5.24
def test_the_cache_changes_nothing() -> None:
    """What is written token by token is what the whole sequence's logits and the noise give."""
    model = Tiny().build()
    request = SampleRequest(prompts=[[3, 4, 5], [9, 8, 7]], new_tokens=5, temperature=1.0, seed=2)
    ids = torch.tensor(process.answer(model, request, CPU).ids)
    whole = torch.cat([torch.tensor(request.prompts), ids], dim=1)
    with torch.no_grad():
        logits = model(whole).logits
    generator = torch.Generator().manual_seed(2)
    for step in range(5):
        drawn = process._drawn(logits[:, : 3 + step], 1.0, generator)
        assert drawn[:, 0].tolist() == ids[:, step].tolist()


def test_sequences_beyond_the_models_positions_are_refused(place: Path) -> None:
    long = {"samples": {"prompt_tokens": 100, "new_tokens": 100}}
    with pytest.raises(CalibrationError, match="200 tokens are longer than the model's 128"):
        reports(place, "work", evaluation=long)

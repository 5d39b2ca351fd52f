"""`slimgpt eval` against the whole model in memory, by the same protocol."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.cli.conftest import Slimgpt

LENGTH = 64


def reference(model_folder: Path, text: str) -> float:
    """Perplexity of non-overlapping windows by transformers alone."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(model_folder)(text)["input_ids"]
    windows = torch.tensor(ids[: len(ids) // LENGTH * LENGTH]).view(-1, LENGTH)
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    with torch.no_grad():
        losses = [float(model(w[None], labels=w[None]).loss) for w in windows]
    return math.exp(sum(losses) / len(losses))


def test_perplexity_is_what_transformers_gives(
    slimgpt: Slimgpt, tiny_model: Path, prose: Path
) -> None:
    arguments = ("--text", prose, "--seq-len", LENGTH, "--device", "cpu")
    done = slimgpt("eval", tiny_model, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    score = json.loads(done.stdout.splitlines()[-1])
    expected = reference(tiny_model, prose.read_text())
    assert score["perplexity"] == pytest.approx(expected, rel=1e-4)
    assert score["tokens"] % (LENGTH - 1) == 0


def test_a_text_that_is_missing_is_said_at_once(slimgpt: Slimgpt, tiny_model: Path) -> None:
    done = slimgpt("eval", tiny_model, "--text", "absent.txt")
    assert (done.returncode, done.stdout) == (1, "")
    assert "absent.txt: there is no such file" in done.stderr


def test_tasks_are_scored_from_a_folder(slimgpt: Slimgpt, tiny_model: Path, tmp_path: Path) -> None:
    row = {"goal": "Open it.", "sol1": "Pull.", "sol2": "Push.", "label": 0}
    (tmp_path / "piqa.jsonl").write_text(f"{json.dumps(row)}\n" * 4)
    arguments = ("--task", "piqa", "--limit", 3, "--task-source", tmp_path, "--device", "cpu")
    done = slimgpt("eval", tiny_model, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    score = json.loads(done.stdout.splitlines()[-1])
    assert score["perplexity"] is None
    assert [(row["metric"], row["samples"]) for row in score["tasks"]] == [
        ("acc", 3),
        ("acc_norm", 3),
    ]
    assert {row["value"] for row in score["tasks"]} <= {0.0, 1.0}  # one question, asked thrice


def test_settings_of_tasks_without_a_task_are_wrong_usage(
    slimgpt: Slimgpt, tiny_model: Path
) -> None:
    done = slimgpt("eval", tiny_model, "--shots", 5)
    assert done.returncode == 2
    assert "--task" in done.stderr

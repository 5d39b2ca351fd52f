"""The model as it lies in the repository: loads anywhere, and is as good as its card says."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from examples.train.__main__ import MEASURED
from examples.train.fitting import held_out_loss

MODEL = Path(__file__).resolve().parents[2] / "examples" / "model"
TEXTS = MODEL / "texts"
FRESH = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
ids = tokenizer("    def __init__(self, ", return_tensors="pt")["input_ids"]
print(tokenizer.decode(model.generate(ids, max_new_tokens=24, do_sample=False)[0]))
"""


def documents(part: str) -> list[str]:
    lines = (TEXTS / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def stream(part: str) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    rows = tokenizer(documents(part))["input_ids"]
    return torch.tensor([i for row in rows for i in (*row, tokenizer.eos_token_id)])


def test_it_is_small_and_grouped() -> None:
    config = json.loads((MODEL / "config.json").read_text())
    assert (MODEL / "model.safetensors").stat().st_size <= 12_000_000
    assert config["num_attention_heads"] == 2 * config["num_key_value_heads"] == 8
    assert config["intermediate_size"] % 32 == 0
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"]


def test_a_fresh_process_writes_words_of_the_library() -> None:
    command = [sys.executable, "-W", "error", "-c", FRESH, str(MODEL)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    words = re.findall(r"[a-z]+", run.stdout.lower())
    known = set(re.findall(r"[a-z]+", " ".join(documents("evaluation")).lower()))
    assert len(words) > 10
    assert sum(word in known for word in words) / len(words) > 0.9, run.stdout


@pytest.mark.parametrize("part", ["calibration", "evaluation"])
def test_the_card_tells_the_truth(part: str) -> None:
    row = re.search(rf"\| {part} \| ([\d,]+) \| ([\d.]+) \|", (MODEL / "README.md").read_text())
    assert row is not None
    tokens = stream(part)
    assert len(tokens) == int(row[1].replace(",", ""))
    model = AutoModelForCausalLM.from_pretrained(MODEL)
    loss = held_out_loss(model, tokens[:MEASURED], 128)
    assert math.isclose(loss, float(row[2]), rel_tol=0.01)
    assert loss < math.log(model.config.vocab_size) / 2


def test_texts_suffice_and_share_no_module() -> None:
    assert len(stream("calibration")) >= 128 * 256
    assert len(stream("evaluation")) >= 30_000
    calibration, evaluation = (set(documents(part)) for part in ("calibration", "evaluation"))
    assert not calibration & evaluation


@pytest.mark.parametrize("part", ["calibration", "evaluation"])
def test_no_text_tells_of_the_machine_that_made_it(part: str) -> None:
    assert not re.search(r"\.pyenv|python-build|/home/\w+/", " ".join(documents(part)))

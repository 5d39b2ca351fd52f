"""What windows begin with, from the specification to the report, held against transformers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from slimgpt.events import Event, Perplexity
from slimgpt.layers import perplexity
from slimgpt.layers.stack import Stack
from slimgpt.pipeline import run
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from slimgpt.stages.resolve import JobInputs, resolve
from slimgpt.texts.label_masking import IGNORED
from slimgpt.texts.tokenization import windows
from tests.slimgpt.tiny import Tiny, put_around

LINES = [f"{n} bottles of beer on the wall, {n} bottles of beer." for n in range(400, 0, -1)]
BOS = 1


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer puts `<s>` before a text, and text."""
    folder = tmp_path_factory.mktemp("place")
    put_around(Tiny(tokenizer=True).save(folder / "model"), "<s> $A")
    (folder / "text.txt").write_text("\n\n".join(LINES))
    return folder


def spec(calibration: str = "tokenizer", evaluation: str = "tokenizer", **more: Any) -> PruneSpec:
    texts = ["local:text.txt", "held-out"]
    return PruneSpec.model_validate(
        {
            "model": "local:model",
            "ratio": 0.25,
            "calibration": {
                "source": "local:text.txt",
                "samples": 4,
                "sequence_length": 64,
                "bos": calibration,
            },
            "evaluation": {"texts": texts, "sequence_lengths": [16], "bos": evaluation},
            **more,
        }
    )


def taken(place: Path, chosen: PruneSpec) -> JobInputs:
    """The inputs of a job: tokens, windows."""
    events = resolve(chosen, Roots(place, place))
    while True:
        try:
            next(events)
        except StopIteration as finished:
            inputs: JobInputs = finished.value
            return inputs


def loss(folder: Path, windows: Tensor, given: int) -> float:
    """transformers' mean loss over the tokens of windows that are not given."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    labels = windows.clone()
    labels[:, :given] = IGNORED
    with torch.no_grad():
        return float(model(windows, labels=labels).loss)


def test_a_job_says_what_its_windows_begin_with(place: Path, tmp_path: Path) -> None:
    events: list[Event] = [*run(spec(), tmp_path / "work", Roots(place, place), "cpu")]
    inputs = taken(place, spec())
    assert set(inputs.calibration.input_ids[:, 0].tolist()) == {BOS}
    measured = [event for event in events if isinstance(event, Perplexity)]
    for event, evaluated in zip(measured, inputs.evaluation_sets, strict=True):
        assert set(evaluated.windows[:, 0].tolist()) == {BOS}
        assert int((evaluated.windows[:, 1:2] == BOS).sum()) == 0
        expected = math.exp(loss(place / "model", evaluated.windows, 1))
        assert event.dense == pytest.approx(expected, rel=1e-5)
        assert event.begins_with == "<s>"
        assert "each begins with <s>" in event.protocol
    folder = tmp_path / "work/checkpoint"
    report = json.loads((folder / "report.json").read_bytes())
    assert report["calibration"]["begins_with"] == "<s>"
    assert [one["begins_with"] for one in report["perplexity"]] == ["<s>", "<s>"]
    assert "at 16 tokens a window, each begins with <s>: dense" in report["verdict"]
    page, card = (folder / "report.html").read_text(), (folder / "README.md").read_text()
    assert "4 × 64 tokens, seed 0, each begins with &lt;s&gt;" in page
    assert "16-token windows from <s>" in card


@pytest.mark.parametrize("calibration", ["tokenizer", "none"])
@pytest.mark.parametrize("evaluation", ["tokenizer", "none"])
def test_calibration_and_evaluation_are_asked_apart(
    place: Path, calibration: str, evaluation: str
) -> None:
    """Held-out windows are calibration's source, and begin as evaluation asks."""
    inputs = taken(place, spec(calibration, evaluation))
    begin = [inputs.calibration.begins_with]
    assert (inputs.calibration.input_ids[:, 0] == BOS).all() == (calibration == "tokenizer")
    for evaluated in inputs.evaluation_sets:
        assert (evaluated.windows[:, 0] == BOS).all() == (evaluation == "tokenizer")
        assert evaluated.length == 16
        begin.append(evaluated.begin.text)
        assert evaluated.ids == evaluated.windows[:, len(evaluated.begin.ids) :].flatten().tolist()
    expected = {"tokenizer": "<s>", "none": ""}
    assert begin == [expected[calibration], expected[evaluation], expected[evaluation]]


def test_two_first_tokens_are_not_predicted(place: Path) -> None:
    windows = torch.randint(3, 200, (5, 16), generator=torch.Generator().manual_seed(0))
    windows[:, :2] = torch.tensor([0, 1])
    from slimgpt.checkpoints.checkpoint import Checkpoint

    stack = Stack(Checkpoint.open(place / "model"), torch.device("cpu"))
    measured = perplexity.measure(stack, windows, given=2)
    while True:
        try:
            next(measured)
        except StopIteration as finished:
            value = finished.value.perplexity
            break
    assert value == pytest.approx(math.exp(loss(place / "model", windows, 2)), rel=1e-5)


def test_prose_that_recovery_learns_begins_so_in_every_piece(place: Path) -> None:
    text = " ".join(LINES[:60])
    (place / "prose.jsonl").write_text(
        json.dumps({"text": text}) + "\n" + json.dumps({"text": "b"})
    )
    recovery = {"source": "local:prose.jsonl", "sequence_length": 48}
    data = taken(place, spec(recovery=recovery, evaluation="none")).training_data
    assert data is not None
    pieces = [piece for piece in [*data.training, *data.held_out] if len(piece.input_ids) > 2]
    assert len(pieces) > 9
    assert all(piece.input_ids[0] == BOS and piece.labels[0] == IGNORED for piece in pieces)
    assert all(piece.labels[1:] == piece.input_ids[1:] for piece in pieces)
    assert all(len(piece.input_ids) <= 48 for piece in pieces)


def test_overlap_is_found_over_the_edges_of_windows(place: Path) -> None:
    """Runs of 64 tokens do not fit windows of 16; what begins a window is not of the text."""
    said: list[str] = []
    (place / "long.txt").write_text(" ".join(LINES))  # one document, from which both are cut
    chosen = spec()
    changes = {"source": "local:long.txt", "sequence_length": 128}
    calibration = chosen.calibration.model_copy(update=changes)
    evaluation = chosen.evaluation.model_copy(update={"texts": ("local:long.txt",)})
    parts = {"calibration": calibration, "evaluation": evaluation}
    events = resolve(chosen.model_copy(update=parts), Roots(place, place))
    while True:
        try:
            event = next(events)
        except StopIteration:
            break
        said.append(str(getattr(event, "message", "")))
    assert any("windows of 16 tokens share 64 tokens in a row" in message for message in said)


def test_the_hash_of_an_evaluation_is_that_of_its_tokens_and_what_is_predicted() -> None:
    tokens = torch.arange(24).view(3, 8)
    assert windows.digest(tokens, 1) == windows.digest(tokens.clone(), 1)
    others = [tokens + 1, tokens.flip(0), tokens[:2], tokens.view(6, 4), tokens.view(4, 6)]
    marks = {windows.digest(other.contiguous(), 1) for other in others}
    assert len({*marks, windows.digest(tokens, 1), windows.digest(tokens, 2)}) == 7

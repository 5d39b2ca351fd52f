"""Whole jobs with a recovery: what is learned, published, kept, resumed and refused."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import CalibrationError, NumericalError
from slimgpt.events import Event, LayerFinished, Loss, Perplexity, Result, Warned, parse
from slimgpt.pipeline import run
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import EvaluationSpec, PruneSpec
from slimgpt.texts.tokenization.tokenizer import Tokenizer
from tests.fork_server import ForkServer
from tests.slimgpt.tiny import Tiny

LINES = [f"{n} bottles of beer on the wall, {n} bottles of beer." for n in range(500, 0, -1)]
RECOVERY: dict[str, Any] = {
    "source": "local:lessons.jsonl",
    "sequence_length": 48,
    "batch_size": 8,
    "learning_rate": 0.01,
    "rank": 4,
}
SETTINGS: dict[str, Any] = {
    "model": "local:model",
    "ratio": 0.3,
    "schedule": {"shape": "log"},
    "calibration": {"source": "local:text.txt", "samples": 8, "sequence_length": 64},
    "evaluation": {"texts": ["held-out"], "sequence_lengths": [32], "max_tokens": 256},
    "recovery": RECOVERY,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, text to calibrate on, and rows that follow a simple rule."""
    folder = tmp_path_factory.mktemp("place")
    Tiny(tokenizer=True, channels=96, heads=8, kv_heads=4).save(folder / "model")
    (folder / "text.txt").write_text("\n\n".join(LINES))
    rows = [{"messages": conversation(f"After {n}?", f"{n + 1}, of course.")} for n in range(120)]
    (folder / "lessons.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def conversation(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def spec(**recovery: Any) -> PruneSpec:
    return PruneSpec.model_validate(SETTINGS | {"recovery": RECOVERY | recovery})


def job(place: Path, workdir: Path, chosen: PruneSpec, **options: Any) -> Iterator[Event]:
    return run(chosen, workdir, Roots(models=place, texts=place), "cpu", **options)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        name: tensor
        for file in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


@pytest.fixture(scope="module")
def recovered(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """A finished job: its checkpoint folder and its events."""
    workdir = tmp_path_factory.mktemp("job") / "work"
    events = list(job(place, workdir, spec(publish="recovered")))
    return workdir / "checkpoint", events


def test_it_learns(recovered: tuple[Path, list[Event]]) -> None:
    _, events = recovered
    losses = [event for event in events if isinstance(event, Loss)]
    held_out = [loss.lessons for loss in losses if loss.lessons is not None]
    assert held_out[-1] < held_out[0] * 0.8
    trained = [loss.train for loss in losses if loss.train is not None]
    assert [loss.step for loss in losses if loss.train is not None] == list(
        range(1, losses[-1].steps + 1)
    )
    assert trained[-1] < trained[0]


def test_what_is_published_is_the_pruned_model_plus_the_adapters(
    recovered: tuple[Path, list[Event]],
) -> None:
    """W + (alpha / rank) B A, from the files of the adapters; all else bit for bit."""
    folder, _ = recovered
    published, before = weights(folder), weights(folder / "unrecovered")
    adapters = load_file(folder / "adapters" / "adapter_model.safetensors")
    config = json.loads((folder / "adapters" / "adapter_config.json").read_bytes())
    scale = config["lora_alpha"] / config["r"]
    changed = 0
    for name, tensor in published.items():
        key = f"base_model.model.{name.removesuffix('.weight')}.lora_{{}}.weight"
        if key.format("A") in adapters:
            product = adapters[key.format("B")] @ adapters[key.format("A")]
            expected = before[name] + scale * product
            assert torch.allclose(tensor, expected, atol=1e-6), name
            changed += not torch.equal(tensor, before[name])
        else:
            assert torch.equal(tensor, before[name]), name
    assert changed == 7 * 3  # every linear layer of every decoder layer
    assert config["base_model_name_or_path"] == "unrecovered"


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_peft_loads_the_adapters_onto_the_unrecovered_model(
    recovered: tuple[Path, list[Event]],
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder, _ = recovered
    tokens = torch.arange(24).view(1, 24)
    logits = []
    for base in (folder / "unrecovered", folder):
        model = AutoModelForCausalLM.from_pretrained(base, trust_remote_code=True)
        if base != folder:
            model = PeftModel.from_pretrained(model, folder / "adapters")
        with torch.no_grad():
            logits.append(model.eval()(tokens).logits)
    assert torch.allclose(logits[0], logits[1], atol=1e-4)


def test_the_report_has_the_curves_and_what_was_learned(
    recovered: tuple[Path, list[Event]],
) -> None:
    folder, events = recovered
    report = json.loads((folder / "report.json").read_bytes())
    told = [
        event.model_dump(exclude={"type", "point"}) for event in events if isinstance(event, Loss)
    ]
    assert report["recovery"]["curves"] == told
    assert report["recovery"]["sequences"] == 114
    assert report["recovery"]["held_out"] == 6
    assert report["recovery"]["published"] is True
    adapters = load_file(folder / "adapters" / "adapter_model.safetensors")
    sizes = sum(tensor.numel() for tensor in adapters.values())
    assert report["recovery"]["trainable_parameters"] == sizes
    assert next(iter(report)) == "verdict"
    (perplexity,) = [event for event in events if isinstance(event, Perplexity)]
    assert f"recovered {perplexity.recovered:.4g}" in report["verdict"]


def test_nothing_is_left_in_the_working_folder(recovered: tuple[Path, list[Event]]) -> None:
    folder, _ = recovered
    assert [entry.name for entry in folder.parent.iterdir()] == ["checkpoint"]


def test_worse_is_not_published_unless_asked(place: Path, tmp_path: Path) -> None:
    """Rows of a single letter at a high rate spoil what the model knew of the held-out text."""
    noise = (json.dumps({"messages": conversation("?", "!" * 20)}) + "\n") * 60
    (place / "noise.jsonl").write_text(noise)
    chosen = spec(source="local:noise.jsonl", learning_rate=1.0)
    plain = chosen.model_copy(update={"recovery": None})
    events = list(job(place, tmp_path / "worse", chosen))
    list(job(place, tmp_path / "plain", plain))
    folder = tmp_path / "worse" / "checkpoint"
    report = json.loads((folder / "report.json").read_bytes())
    assert report["verdict"].startswith(
        "Recovery made the model worse: perplexity on held-out rose from"
    )
    assert all(
        torch.equal(tensor, weights(folder)[name])
        for name, tensor in weights(tmp_path / "plain" / "checkpoint").items()
    )
    assert "the unrecovered model is published" in report["verdict"]
    assert report["verdict"] in [event.message for event in events if isinstance(event, Warned)]
    assert not (folder / "unrecovered").exists()
    assert (folder / "adapters" / "adapter_model.safetensors").exists()

    asked = spec(source="local:noise.jsonl", learning_rate=1.0, publish="recovered")
    list(job(place, tmp_path / "asked", asked))
    report = json.loads((tmp_path / "asked/checkpoint/report.json").read_bytes())
    assert "published as requested" in report["verdict"]
    assert (tmp_path / "asked/checkpoint/unrecovered").is_dir()


@pytest.mark.parametrize("publish", ["better", "recovered"])
def test_what_nothing_was_held_out_to_judge_is_not_published_as_the_better_one(
    place: Path, tmp_path: Path, publish: str
) -> None:
    """Too few rows to hold one out, and no text to evaluate; a rate that spoils any model."""
    rows = [{"messages": conversation("?", chr(65 + n) * 20)} for n in range(12)]
    (place / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = spec(source="local:few.jsonl", learning_rate=1.0, publish=publish).model_copy(
        update={"evaluation": EvaluationSpec(texts=())}
    )
    events = list(job(place, tmp_path / "work", chosen))
    folder = tmp_path / "work" / "checkpoint"
    report = json.loads((folder / "report.json").read_bytes())
    assert report["recovery"]["held_out"] == 0
    assert report["recovery"]["published"] == (publish == "recovered")
    assert (folder / "unrecovered").exists() == (publish == "recovered")
    assert report["verdict"].startswith("Recovery was not judged, for nothing was held out; the ")
    assert report["verdict"] in [event.message for event in events if isinstance(event, Warned)]
    if publish == "better":
        list(job(place, tmp_path / "plain", chosen.model_copy(update={"recovery": None})))
        before, after = weights(tmp_path / "plain" / "checkpoint"), weights(folder)
        assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_an_interrupted_training_goes_on_to_the_same_bytes(
    place: Path, recovered: tuple[Path, list[Event]], tmp_path: Path, fork_server: ForkServer
) -> None:
    """kill -9 in the middle of the training, once with a snapshot torn on the way."""
    file, work = tmp_path / "spec.json", tmp_path / "work"
    file.write_text(spec(publish="recovered").model_dump_json())
    command = [*fork_server.command("slimgpt"), "run", str(file), str(work), "--device", "cpu"]
    command += ["--models-root", str(place), "--texts-root", str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as engine:
        assert engine.stdout is not None
        for line in engine.stdout:
            event = parse(line)
            if isinstance(event, Loss) and event.step == 9 and event.train is not None:
                engine.send_signal(signal.SIGKILL)
    (training,) = work.glob("recovery-*/training")
    snapshot = sorted(training.glob("step-*.safetensors"))[-1]
    (training / "step-0000099.safetensors").write_bytes(snapshot.read_bytes()[:999])  # no record

    events = list(job(place, work, spec(publish="recovered"), resume=True))
    assert all(event.resumed for event in events if isinstance(event, LayerFinished))
    steps = [event.step for event in events if isinstance(event, Loss)]
    assert min(step for step in steps if step) > 1  # not from the start
    assert isinstance(events[-1], Result)
    folder, _ = recovered
    for name, tensor in weights(folder).items():
        assert torch.equal(tensor, weights(work / "checkpoint")[name]), name
    curves = [json.loads((path / "report.json").read_bytes())["recovery"]["curves"]
              for path in (folder, work / "checkpoint")]  # fmt: skip
    assert curves[0] == curves[1]


def test_a_loss_that_is_no_number_stops_and_keeps_the_layers(place: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    valid = spec(learning_rate=1.0)
    assert valid.recovery is not None
    # No value that the API takes overflows float32 in a model this small.
    overflowing = valid.model_copy(
        update={"recovery": valid.recovery.model_copy(update={"alpha": 1e300})}
    )
    with pytest.raises(NumericalError, match=r"recovery: the .* loss is (nan|inf) at step"):
        list(job(place, work, overflowing))
    assert len(list((work / "layers").glob("layer-*.json"))) == 3
    assert not (work / "checkpoint").exists()
    events = list(job(place, work, spec(learning_rate=1e-3), resume=True))
    assert all(event.resumed for event in events if isinstance(event, LayerFinished))


def test_distillation_comes_closer_to_the_dense_model(place: Path, tmp_path: Path) -> None:
    """KL(dense ‖ published) on the text that it learned falls well below what pruning left."""
    chosen = spec(
        method="distillation",
        source="local:text.txt",
        publish="recovered",
        samples=300,
    )
    list(job(place, tmp_path / "work", chosen))
    folder = tmp_path / "work" / "checkpoint"
    from transformers import AutoModelForCausalLM

    tokenizer = Tokenizer.load(folder)
    tokens = torch.tensor([tokenizer.encode(line)[:40] for line in LINES[:300:10]])
    with torch.no_grad():
        dense, before, after = (
            AutoModelForCausalLM.from_pretrained(path, trust_remote_code=True)
            .eval()(tokens)
            .logits.log_softmax(-1)
            for path in (place / "model", folder / "unrecovered", folder)
        )

    def distance(logits: torch.Tensor) -> float:
        return float((dense.exp() * (dense - logits)).sum(-1).mean())

    assert distance(after) < 0.8 * distance(before)


def test_layers_learn_in_whole_and_nothing_around_them_does(place: Path, tmp_path: Path) -> None:
    """By distillation, at a rate that is found, within a time that is much too long."""
    chosen = spec(
        method="distillation",
        weights="layers",
        source="local:text.txt",
        publish="recovered",
        learning_rate=None,
        batch_size=None,
        minutes=60,
        epochs=0.1,
    )
    events = list(job(place, tmp_path / "work", chosen))
    folder = tmp_path / "work" / "checkpoint"
    before, after = weights(folder / "unrecovered"), weights(folder)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {name for name in after if ".layers." in name}
    assert not (folder / "adapters").exists()
    (told,) = [event for event in events if isinstance(event, Perplexity)]
    assert told.recovered is not None
    assert told.recovered < told.pruned
    report = json.loads((folder / "report.json").read_bytes())["recovery"]
    tried = {one["learning_rate"]: one["loss"] for one in report["probe"]}
    assert len(tried) >= 2
    assert tried[report["learning_rate"]] == min(tried.values())
    assert report["trainable_parameters"] == sum(after[name].numel() for name in changed)
    assert report["steps"] == report["curves"][-1]["step"]
    assert report["teacher_bytes"] > 0


def test_the_dense_model_is_never_run_from_its_own_code(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "model", tmp_path / "model")
    shutil.copy(place / "text.txt", tmp_path)
    config = json.loads((tmp_path / "model/config.json").read_bytes())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_evil.Evil"}
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    (tmp_path / "model/modeling_evil.py").write_text("raise SystemExit('code of a model ran')")
    chosen = spec(method="distillation", source="local:text.txt", samples=16)
    list(job(tmp_path, tmp_path / "work", chosen))
    assert Checkpoint.open(tmp_path / "work/checkpoint").parameters


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"instruction": "a"}\n', "line 1: the instruction has no answer"),
        (
            '{"instruction": "a", "output": " "}\n',
            r"no training row .* 1 with an empty answer \(row 1\)",
        ),
        ('{"instruction": "' + "a " * 99 + '", "output": "b"}\n', "1 with a prompt that fills"),
        ("", "the file is empty"),
    ],
)
def test_bad_rows_are_refused_before_anything_is_pruned(
    content: str, complaint: str, place: Path, tmp_path: Path
) -> None:
    (place / "bad.jsonl").write_text(content)
    with pytest.raises(CalibrationError, match=complaint):
        list(job(place, tmp_path / "work", spec(source="local:bad.jsonl")))
    assert not list(tmp_path.glob("work/layers/*.safetensors"))


def test_rows_of_the_evaluation_text_are_left_out(place: Path, tmp_path: Path) -> None:
    """The text of the exam is no lesson, wherever in a row it stands."""
    evaluation_set = " ".join(f"token{n}" for n in range(400))
    (place / "exam.txt").write_text(evaluation_set)
    rows = [
        "other words " * 9,
        f"intro {evaluation_set[:1200]}",
        *(f"sentence {n} of many" for n in range(40)),
    ]
    (place / "prose.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    chosen = spec(source="local:prose.jsonl", epochs=0.2)
    evaluation = {"texts": ["local:exam.txt"], "sequence_lengths": [128]}
    chosen = PruneSpec.model_validate(chosen.model_dump() | {"evaluation": evaluation})
    events = list(job(place, tmp_path / "work", chosen))
    said = [event.message for event in events if isinstance(event, Warned)]
    assert "recovery skips rows: 1 with text that the evaluation asks for (row 2)" in said

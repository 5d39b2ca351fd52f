"""`slimgpt prune --recover` and `slimgpt recover`, run as users run them, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.events import Failed, LayerFinished, Loss, parse
from tests.cli.conftest import Slimgpt
from tests.slimgpt.tiny import Tiny

QUESTION = {"goal": "Sweep", "sol1": "with a broom", "sol2": "with a spoon", "label": 0}
QUICK = ("--epochs", "1", "--batch-size", "4", "--learning-rate", "0.01", "--device", "cpu")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    file.write_text("".join(json.dumps({"text": f"{n} and {n + 1}"}) + "\n" for n in range(40)))
    return file


@pytest.fixture(scope="module")
def recovered(
    slimgpt: Slimgpt,
    tiny_model: Path,
    prose: Path,
    rows: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, str]:
    """The folder that `prune --recover` made, and what it said."""
    out = tmp_path_factory.mktemp("out") / "pruned"
    sizes = ("--ratio", "0.3", "--samples", "6", "--seq-len", "32", "--calibration", prose)
    done = slimgpt(
        "prune", tiny_model, out, *sizes, "--recover", rows, "--recover-seq-len", "32", *QUICK
    )
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_prune_recovers(recovered: tuple[Path, str]) -> None:
    out, said = recovered
    report = json.loads((out / "report.json").read_bytes())
    assert report["spec"]["recovery"]["epochs"] == 1.0
    assert report["recovery"]["sequences"] == 38
    (told,) = report["perplexity"]
    assert f"→ {told['recovered']:.2f} recovered" in said
    assert "recovery, step 10 of 10: loss" in said
    assert (out / "adapters" / "adapter_model.safetensors").exists()


def test_recover_teaches_a_pruned_model_what_the_dense_one_knows(
    slimgpt: Slimgpt, tiny_model: Path, recovered: tuple[Path, str], rows: Path, tmp_path: Path
) -> None:
    pruned, _ = recovered
    options = ("--method", "distillation", "--teacher", tiny_model, "--publish-recovered")
    (tmp_path / "questions").mkdir()
    (tmp_path / "questions" / "piqa.jsonl").write_text(json.dumps(QUESTION) + "\n")
    tasks = ("--task", "piqa", "--task-source", tmp_path / "questions", "--eval-text", rows)
    done = slimgpt(
        "recover",
        pruned,
        tmp_path / "out",
        "--data",
        rows,
        "--seq-len",
        "32",
        *options,
        *tasks,
        *("--eval-seq-len", "32", "--max-tokens", "96"),
        *QUICK,
        "--json",
    )
    assert done.returncode == 0, done.stderr
    events = [parse(line) for line in done.stdout.splitlines()]
    assert any(isinstance(event, Loss) for event in events)
    layers = [event for event in events if isinstance(event, LayerFinished)]
    assert all(layer.parameters == layer.parameters_before for layer in layers)
    before, after = Checkpoint.open(pruned), Checkpoint.open(tmp_path / "out")
    assert after.architecture.sizes == before.architecture.sizes
    report = json.loads((tmp_path / "out" / "report.json").read_bytes())
    assert report["spec"]["recovery"]["teacher"].endswith(tiny_model.name)
    assert report["recovery"]["published"]
    assert report["tasks"]
    for scored in report["tasks"]:
        assert (scored["task"], scored["samples"]) == ("piqa", 1)
        assert scored["recovered"] in (0, 1)
    assert report["perplexity"][0]["tokens"] == 3 * 31


def test_a_teacher_with_another_vocabulary_is_refused(
    slimgpt: Slimgpt, tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    Tiny(vocabulary=77).save(tmp_path / "other")
    options = ("--method", "distillation", "--teacher", tmp_path / "other", "--json")
    done = slimgpt(
        "recover", tiny_model, tmp_path / "out", "--data", rows, "--seq-len", "32", *options, *QUICK
    )
    assert done.returncode == 1
    failed = parse(done.stdout.splitlines()[-1])
    assert isinstance(failed, Failed)
    assert "has a vocabulary of 77, the model of 259" in failed.message


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("prune", "--ratio", "0.2", "--epochs", "2"), "add --recover TEXT"),
        (("recover", "--eval-text", "held-out"), "nothing is calibrated here"),
        (("recover", "--teacher", "org/name"), "--teacher needs method `distillation`"),
        (("recover", "--shots", "1"), "name one with --task NAME"),
        (("recover", "--lora-rank", "0"), "greater than or equal to 1"),
    ],
)
def test_options_that_mean_nothing_are_wrong_usage(
    slimgpt: Slimgpt, tiny_model: Path, tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    command, *rest = arguments
    done = slimgpt(command, tiny_model, tmp_path / "out", *rest)
    assert done.returncode == 2
    assert complaint in " ".join(done.stderr.replace("│", " ").split())

"""`slimgpt plan`: counts that agree with the model's own, and no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Slimgpt


@pytest.fixture(scope="module")
def planned(slimgpt: Slimgpt, tiny_model: Path) -> dict[str, Any]:
    done = slimgpt("plan", tiny_model, "--ratio", "0.3", "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    plan: dict[str, Any] = json.loads(line)
    return plan


def test_parameters_before_are_the_models_own(planned: dict[str, Any], tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert planned["parameters_before"] == sum(p.numel() for p in model.parameters())
    assert planned["bytes_before"] == 4 * planned["parameters_before"]


def test_layers_add_up_to_the_whole(planned: dict[str, Any]) -> None:
    removed = sum(layer["parameters_before"] - layer["parameters"] for layer in planned["layers"])
    assert removed == planned["parameters_before"] - planned["parameters_after"]
    assert planned["ratio_achieved"] == pytest.approx(removed / planned["parameters_before"])
    assert abs(planned["ratio_achieved"] - 0.3) < 0.002


def test_people_get_the_same_counts_without_escape_codes(
    slimgpt: Slimgpt, tiny_model: Path, planned: dict[str, Any]
) -> None:
    done = slimgpt("plan", tiny_model, "--ratio", "0.3")
    assert done.returncode == 0, done.stderr
    assert f"{planned['parameters_after']:,}" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines()[1:4]]
    assert [row[3] for row in rows] == [f"{x['channels']}/48" for x in planned["layers"]]
    assert "\x1b" not in done.stdout
    assert "warning: calibration.sequence_length: 2,048 tokens" in done.stdout
    fitting = slimgpt("plan", tiny_model, "--ratio", "0.3", "--seq-len", "128")
    assert "warning" not in fitting.stdout


@pytest.mark.parametrize("option", ["--parameters", "--memory"])
def test_the_target_may_be_what_shall_be_left(
    slimgpt: Slimgpt, tiny_model: Path, planned: dict[str, Any], option: str
) -> None:
    name = {"--parameters": "parameters_after", "--memory": "bytes_after"}[option]
    done = slimgpt("plan", tiny_model, option, planned[name], "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["layers"] == planned["layers"]


def test_a_plan_loads_no_more_than_the_model_is_built_with(tiny_model: Path) -> None:
    """The API's plans load no torch at all: `tests/slimgpt/planning/test_preview.py`."""
    probe = (
        "import sys\nfrom cli.main import app\n"
        f"app(['plan', {str(tiny_model)!r}, '--ratio', '0.2', '--json'], standalone_mode=False)\n"
        "print(*{'datasets', 'peft', 'lm_eval'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[1] == ""


def test_a_list_of_ratios_is_read_from_a_file(
    slimgpt: Slimgpt, tiny_model: Path, tmp_path: Path
) -> None:
    lines, array = tmp_path / "lines.txt", tmp_path / "array.json"
    lines.write_text("0\n0.3\n0.6\n")
    array.write_text("[0, 0.3, 0.6]")
    plans = [
        slimgpt("plan", tiny_model, "--ratio", "0.2", "--schedule", path, "--json")
        for path in (lines, array)
    ]
    assert plans[0].stdout == plans[1].stdout
    layers = json.loads(plans[0].stdout)["layers"]
    assert layers[0]["parameters"] == layers[0]["parameters_before"]
    assert layers[2]["parameters"] < layers[1]["parameters"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--ratio", "1.5"), 2, ("--ratio", "1.5")),
        (("--ratio", "0.99"), 1, ("0.99", "nearest")),
        (("--ratio", "a lot"), 2, ("--ratio", "valid number")),
        (("--ratio", "0.2", "--schedule", "steep"), 2, ("--schedule", "steep")),
        (("--ratio", "0.2", "--first-ratio", "2"), 2, ("--first-ratio",)),
        (("--ratio", "0.2", "--first-ratio", "0.1", "--last-ratio", "0.2"), 2, ("--last-ratio",)),
        (("--ratio", "0.2", "--method", "luck"), 2, ("--method", "luck")),
    ],
)
def test_refusals_are_one_clear_line(
    slimgpt: Slimgpt, tiny_model: Path, arguments: tuple[str, ...], status: int, words: tuple[str]
) -> None:
    done = slimgpt("plan", tiny_model, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert [word for word in words if word not in done.stderr] == []
    assert "Traceback" not in done.stderr


def test_refusals_are_events_for_programs(slimgpt: Slimgpt, tmp_path: Path) -> None:
    done = slimgpt("plan", tmp_path / "nowhere", "--ratio", "0.2", "--json")
    event = json.loads(done.stdout)
    assert (done.returncode, event["type"], event["code"]) == (1, "failed", "model-not-found")
    assert str(tmp_path / "nowhere") in event["message"]

"""`slimgpt prune`, run as users and programs run it, on a tiny model."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slimgpt.events import Failed, LayerFinished, Result, parse
from tests.cli.conftest import Slimgpt, command

QUICK = ("--ratio", "0.3", "--samples", "6", "--seq-len", "32", "--device", "cpu")
RESULT_FIELDS = {
    "parameters_before",
    "parameters_after",
    "ratio_achieved",
    "seconds",
    "peak_memory_bytes",
    "layers",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def plain(slimgpt: Slimgpt, tiny_model: Path, prose: Path, folder: Path) -> str:
    """Standard output of an uninterrupted run into `folder / "plain"`, through a pipe."""
    arguments = ("prune", tiny_model, folder / "plain", *QUICK, "--calibration", prose)
    done = slimgpt(*arguments, cold=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _heed() -> None:
    """A shell that starts the tests in the background has them ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def interrupted(tiny_model: Path, prose: Path, folder: Path) -> tuple[int, list[Any]]:
    """Exit status and events of a run that got Ctrl-C after its first layer."""
    arguments = ("prune", tiny_model, folder / "resumed", *QUICK, "--calibration", prose, "--json")
    events: list[Any] = []
    with subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_heed,  # noqa: PLW1509 - one thread
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            events.append(parse(line))
            if isinstance(events[-1], LayerFinished):
                process.send_signal(signal.SIGINT)
    return process.returncode, events


@pytest.fixture(scope="module")
def resumed(
    slimgpt: Slimgpt,
    tiny_model: Path,
    prose: Path,
    folder: Path,
    interrupted: tuple[int, list[Any]],
) -> list[Any]:
    """Events of the same command with --resume."""
    arguments = ("prune", tiny_model, folder / "resumed", *QUICK, "--calibration", prose)
    done = slimgpt(*arguments, "--json", "--resume")
    assert done.returncode == 0, done.stderr
    return [parse(line) for line in done.stdout.splitlines()]


def test_a_pipe_gets_a_row_a_layer_and_a_summary(plain: str, folder: Path) -> None:
    assert "\x1b" not in plain
    assert "\r" not in plain
    rows = [line for line in plain.splitlines() if re.match(r" +\d+ +\d+/4", line)]
    assert len(rows) == 3
    names = ("parameters ", "perplexity ", "verified ", "took ", "checkpoint ", "load it ")
    assert [name for name in names if f"\n{name}" not in plain] == []
    assert sorted(path.name for path in folder.iterdir() if "plain" in path.name) == ["plain"]


def test_the_line_that_loads_it_loads_it(plain: str, folder: Path, tmp_path: Path) -> None:
    (line,) = [x.removeprefix("load it").strip() for x in plain.splitlines() if "load it" in x]
    program = (
        f"from transformers import AutoModelForCausalLM\nmodel = {line}\n"
        "print(sum(p.numel() for p in model.parameters()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path)},
    )
    assert f"→ {int(done.stdout):,} (" in plain


def test_ctrl_c_leaves_work_to_resume_and_says_so(
    interrupted: tuple[int, list[Any]], folder: Path
) -> None:
    status, events = interrupted
    assert status == 130
    assert isinstance(events[-1], Failed)
    assert events[-1].code == "interrupted"
    assert f"{folder / 'resumed'}.work" in events[-1].hint
    assert "--resume" in events[-1].hint


def test_a_resumed_run_ends_with_the_result(resumed: list[Any], folder: Path) -> None:
    result = resumed[-1]
    assert isinstance(result, Result)
    assert set(json.loads(result.line())) >= RESULT_FIELDS
    assert result.checkpoint == str(folder / "resumed")
    assert [layer["layer"] for layer in result.layers] == [0, 1, 2]
    assert not (folder / "resumed.work").exists()
    assert any(isinstance(event, LayerFinished) and event.resumed for event in resumed)


def test_resumed_and_uninterrupted_give_the_same_bytes(
    plain: str, resumed: list[Any], folder: Path
) -> None:
    tensors = [sorted((folder / name).glob("*.safetensors")) for name in ("plain", "resumed")]
    assert tensors[0]
    assert [path.name for path in tensors[0]] == [path.name for path in tensors[1]]
    for one, other in zip(*tensors, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_what_exists_is_not_overwritten(
    slimgpt: Slimgpt, tiny_model: Path, prose: Path, tmp_path: Path
) -> None:
    out = tmp_path / "there"
    out.mkdir()
    done = slimgpt("prune", tiny_model, out, *QUICK, "--calibration", prose)
    assert done.returncode == 1
    assert f"error: {out} exists" in done.stderr
    assert list(out.iterdir()) == []
    assert not (tmp_path / "there.work").exists()


def test_earlier_work_is_neither_lost_nor_taken_for_new(
    slimgpt: Slimgpt, tiny_model: Path, prose: Path, tmp_path: Path
) -> None:
    (tmp_path / "out.work").mkdir()
    done = slimgpt("prune", tiny_model, tmp_path / "out", *QUICK, "--calibration", prose)
    assert done.returncode == 1
    assert "--resume" in done.stderr
    assert (tmp_path / "out.work").is_dir()


def test_bad_values_are_usage_errors_before_any_work(
    slimgpt: Slimgpt, tiny_model: Path, prose: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("prune", tiny_model, out, *QUICK, "--calibration", prose)
    for option, value in (("--samples", "0"), ("--device", "tpu"), ("--group-size", "huge")):
        done = slimgpt(*arguments, option, value, "--json")
        event = json.loads(done.stdout)
        assert (done.returncode, event["code"]) == (2, "invalid-spec")
        assert option in event["message"]
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_nothing_behind(
    slimgpt: Slimgpt, tiny_model: Path, tmp_path: Path
) -> None:
    short = tmp_path / "short.txt"
    short.write_text("Too short.")
    done = slimgpt("prune", tiny_model, tmp_path / "out", *QUICK, "--calibration", short, "--json")
    last = parse(done.stdout.splitlines()[-1])
    assert done.returncode == 1
    assert isinstance(last, Failed)
    assert last.code == "calibration-error"
    assert [path.name for path in tmp_path.iterdir()] == ["short.txt"]

"""vLLM's proof: told where it can be had, a warning where vLLM cannot, an error where it differs.

vLLM is not among the tests' libraries: what stands here for it hands out what it is told to. What
the real one computes was measured by hand, see docs/formats.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from slimgpt import vllm_proof
from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import VerificationError
from slimgpt.events import Verified, Warned
from slimgpt.layers.stack import Stack
from slimgpt.proof import Probe
from tests.slimgpt.tiny import Tiny, tokens

CPU = torch.device("cpu")
STAND_IN = """
from types import SimpleNamespace
from safetensors.torch import load_file

class SamplingParams:
    def __init__(self, **options):
        assert options["prompt_logprobs"] == 0

class LLM:
    def __init__(self, model, trust_remote_code, dtype, **options):
        assert (trust_remote_code, dtype) == ({trusted}, "float32")

    def generate(self, asked, options, use_tqdm):
        told = load_file({answers!r})["logprobs"].tolist()
        return [
            SimpleNamespace(prompt_logprobs=[None] + [
                {{token: SimpleNamespace(logprob=value)}}
                for token, value in zip(ask["prompt_token_ids"][1:], values)
            ])
            for ask, values in zip(asked, told)
        ]
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Probe]:
    model = Tiny()
    folder = model.save(tmp_path_factory.mktemp("proved") / "model")
    opened, ids = Checkpoint.open(folder), tokens(model, batch=3, length=12)
    return opened, Probe(ids, Stack(opened, CPU).logits(ids), CPU)


def install(package: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(source)
    (package / "platforms.py").write_text("class current_platform:\n    device_type = 'cpu'\n")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))


def answers(probe: Probe, file: Path, error: float = 0.0) -> Path:
    """What a vLLM says that is wrong by so much, at one place."""
    rows = probe.logits[:2, :-1].double().log_softmax(-1)
    told = rows.gather(-1, probe.tokens[:2, 1:, None])[..., 0][:, :-2].contiguous()
    told[1, 3] += error
    save_file({"logprobs": told}, file)
    return file


@pytest.mark.parametrize(("form", "trusted"), [("exact", True), ("uniform", False)])
def test_it_is_a_proof_where_the_probabilities_agree(
    form: str,
    trusted: bool,
    checkpoint: tuple[Checkpoint, Probe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened, probe = checkpoint
    file = str(answers(probe, tmp_path / "told.safetensors", error=1e-6))
    install(tmp_path / "vllm", STAND_IN.format(trusted=trusted, answers=file), monkeypatch)
    (proved,) = vllm_proof.prove(opened.folder, form, probe)  # type: ignore[arg-type]
    assert isinstance(proved, Verified)
    assert (proved.format, proved.loader, proved.tokens) == (form, "vllm", 20)
    assert 0.5e-6 < proved.max_difference < 1.5e-6 < proved.bound


def test_it_is_an_error_where_they_differ(
    checkpoint: tuple[Checkpoint, Probe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, probe = checkpoint
    file = str(answers(probe, tmp_path / "told.safetensors", error=0.01))
    install(tmp_path / "vllm", STAND_IN.format(trusted=True, answers=file), monkeypatch)
    with pytest.raises(VerificationError, match=r"vllm differs .* `exact`: .* by up to 0\.01"):
        vllm_proof.prove(opened.folder, "exact", probe)


def test_it_is_a_warning_where_vllm_computes_no_numbers(
    checkpoint: tuple[Checkpoint, Probe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, probe = checkpoint
    file = str(answers(probe, tmp_path / "told.safetensors", error=float("nan")))
    install(tmp_path / "vllm", STAND_IN.format(trusted=True, answers=file), monkeypatch)
    (told,) = vllm_proof.prove(opened.folder, "exact", probe)
    assert isinstance(told, Warned)
    assert "its probabilities are no numbers" in told.message


def test_it_is_a_warning_where_vllm_cannot_run_the_model(
    checkpoint: tuple[Checkpoint, Probe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, probe = checkpoint
    source = "class LLM:\n    def __init__(self, **options): raise ValueError('heads of 8')\n"
    install(tmp_path / "vllm", source, monkeypatch)
    (told,) = vllm_proof.prove(opened.folder, "exact", probe)
    assert isinstance(told, Warned)
    assert "format `exact` is not proved by vllm: exit status 1: ValueError: heads" in told.message


def test_it_says_nothing_of_what_it_does_not_read_or_is_not_there(
    checkpoint: tuple[Checkpoint, Probe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, probe = checkpoint
    assert vllm_proof.prove(opened.folder, "exact", probe) == []
    install(tmp_path / "vllm", "raise AssertionError", monkeypatch)
    assert vllm_proof.prove(opened.folder, "gguf", probe) == []

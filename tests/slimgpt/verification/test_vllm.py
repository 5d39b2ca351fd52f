"""vLLM's proof: told where it can be had, a warning where vLLM cannot, an error where it differs.

vLLM is not among the tests' libraries: what stands here for it loads the folder by transformers
and answers as vLLM does. What the real one computes was measured by hand, see docs/formats.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import VerificationError
from slimgpt.events import Verified, Warned
from slimgpt.formats import stock
from slimgpt.layers.stack import Stack
from slimgpt.spec.prune import Format
from slimgpt.verification import vllm
from slimgpt.verification.formats import Probe
from tests.slimgpt.pruned import Kept, publish
from tests.slimgpt.tiny import Tiny, tokens

CPU = torch.device("cpu")
MODEL = Tiny()


def kept(groups: tuple[int, ...], first: int, channels: int) -> Kept:
    """Groups of two heads, and channels from one on."""
    return Kept(groups, tuple(range(first, first + channels)), 2)


UNEVEN = [kept((0,), 0, 32), kept((0, 1), 16, 32), kept((1,), 0, 16)]
EVEN = [kept((0,), 0, 32), kept((1,), 16, 32), kept((0,), 8, 32)]
STAND_IN = """
from types import SimpleNamespace
import torch
from transformers import AutoModelForCausalLM

class SamplingParams:
    def __init__(self, **options):
        assert options["prompt_logprobs"] == 0

class LLM:
    def __init__(self, model, trust_remote_code, dtype, **options):
        self.model = AutoModelForCausalLM.from_pretrained(
            model, trust_remote_code=trust_remote_code, dtype=getattr(torch, dtype)
        ).eval()

    @torch.no_grad()
    def generate(self, asked, options, use_tqdm):
        return [SimpleNamespace(prompt_logprobs=self.told(a["prompt_token_ids"])) for a in asked]

    def told(self, ids):
        rows = self.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        told = [{token: SimpleNamespace(logprob=float(rows[place, token]))}
                for place, token in enumerate(ids[1:])]
        return [None, *told]
"""


def pruned(parts: list[Kept], folder: Path) -> tuple[Checkpoint, Probe]:
    """A pruned model, and what it computes in memory."""
    dense = Checkpoint.open(MODEL.save(folder / "dense"))
    opened = Checkpoint.open(publish(dense, parts, folder / "pruned"))
    ids = tokens(MODEL, batch=3, length=12)
    return opened, Probe(ids, Stack(opened, CPU).logits(ids), CPU)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Probe]:
    return pruned(UNEVEN, tmp_path_factory.mktemp("proved"))


def install(package: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(source)
    (package / "platforms.py").write_text("class current_platform:\n    device_type = 'cpu'\n")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))


def change(folder: Path, by: float) -> None:
    """Add to one weight of the first layer, as a wrong writer would."""
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        for name, tensor in tensors.items():
            if name.endswith("layers.0.mlp.down_proj.weight"):
                tensor[0, 0] += by
        save_file(tensors, file, {"format": "pt"})


@pytest.mark.parametrize("form", ["exact", "uniform", "padded"])
def test_it_is_a_proof_where_the_probabilities_agree(
    form: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, probe = pruned(EVEN if form == "uniform" else UNEVEN, tmp_path)
    folder = tmp_path / "written"
    if form == "exact":
        folder = opened.folder
    else:
        folder.mkdir()
        write = stock.write_uniform if form == "uniform" else stock.write_padded
        write(opened, folder)
    install(tmp_path / "vllm", STAND_IN, monkeypatch)
    (proved,) = vllm.prove(folder, form, probe)
    assert isinstance(proved, Verified)
    assert (proved.format, proved.loader, proved.tokens) == (form, "vllm", 20)
    assert proved.max_difference < 1e-5 < proved.bound


@pytest.mark.usefixtures("cold_start")
def test_it_is_an_error_where_they_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, probe = pruned(UNEVEN, tmp_path)
    change(opened.folder, 0.1)
    install(tmp_path / "vllm", STAND_IN, monkeypatch)
    with pytest.raises(VerificationError, match=r"format `exact` in vllm differs .* by up to 0\."):
        vllm.prove(opened.folder, "exact", probe)


def test_it_is_a_warning_where_vllm_computes_no_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, probe = pruned(UNEVEN, tmp_path)
    change(opened.folder, float("nan"))
    install(tmp_path / "vllm", STAND_IN, monkeypatch)
    (told,) = vllm.prove(opened.folder, "exact", probe)
    assert isinstance(told, Warned)
    assert "its log-probabilities contain NaN or infinity" in told.message


def test_it_is_a_warning_where_vllm_cannot_run_the_model(
    checkpoint: tuple[Checkpoint, Probe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, probe = checkpoint
    source = "class LLM:\n    def __init__(self, **options): raise ValueError('heads of 8')\n"
    install(tmp_path / "vllm", source, monkeypatch)
    (told,) = vllm.prove(opened.folder, "exact", probe)
    assert isinstance(told, Warned)
    assert (
        "format `exact` is not verified with vllm: exit status 1: ValueError: heads" in told.message
    )


def test_it_says_nothing_of_what_it_does_not_read_or_is_not_there(
    checkpoint: tuple[Checkpoint, Probe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, probe = checkpoint
    assert vllm.prove(opened.folder, "exact", probe) == []
    install(tmp_path / "vllm", "raise AssertionError", monkeypatch)
    assert vllm.prove(opened.folder, "gguf", probe) == []

"""The published folder with the heads of other tasks than language modelling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers.models.auto import modeling_auto

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families.table import FAMILIES
from slimgpt.checkpoints.output import modeling
from tests.slimgpt.pruned import lots, mask, publish
from tests.slimgpt.tiny import Tiny, tokens

OWN = "modeling_slimgpt.SlimGPT"
STOCK = {
    "AutoModelForSequenceClassification": (
        modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    ),
    "AutoModelForTokenClassification": modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
}


def tasks(family: str) -> dict[str, str]:
    """The entries of `auto_map` beside the body and the language model."""
    entries = modeling.auto_map(FAMILIES[family]).items()
    return {
        auto: name for auto, name in entries if auto not in ("AutoModel", "AutoModelForCausalLM")
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tasks_are_those_that_transformers_has(family: str) -> None:
    stock = {auto: f"{OWN}{names[family]}" for auto, names in STOCK.items() if family in names}
    assert tasks(family) == stock


def test_vllm_finds_the_body_first() -> None:
    assert next(iter(modeling.auto_map(FAMILIES["llama"]))) == "AutoModel"


@pytest.mark.parametrize("family", [family for family in FAMILIES if tasks(family)])
def test_a_pruned_classifier_computes_what_the_masked_dense_one_computes(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "py"))
    tiny = Tiny(family)
    checkpoint = Checkpoint.open(tiny.save(tmp_path / "dense"))
    kept = lots(checkpoint.architecture)
    folder = publish(checkpoint, kept, tmp_path / "pruned")
    ids = tokens(tiny, batch=1)
    for auto in tasks(family):
        kind = getattr(transformers, auto)
        model = kind.from_pretrained(folder, trust_remote_code=True).eval()
        dense = kind.from_pretrained(tmp_path / "dense").eval()
        body = f"{checkpoint.architecture.family.body}."
        head = {n: t for n, t in model.state_dict().items() if not n.startswith(body)}
        dense.load_state_dict(head, strict=False)
        before = outputs(dense, ids)
        expected = outputs(mask(dense, checkpoint.architecture, kept), ids)
        torch.testing.assert_close(outputs(model, ids), expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(before, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def outputs(model: Any, ids: Tensor) -> Tensor:
    """All logits of a head in one vector."""
    found = model(ids).values()
    return torch.cat([value.flatten() for value in found if isinstance(value, Tensor)])

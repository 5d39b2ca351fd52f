"""Memory spared on the way back changes no gradient."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.output import whole_model
from slimgpt.recovery import peft_model
from slimgpt.spec.prune import RecoverySpec
from tests.slimgpt.tiny import FAMILIES, ROUTED, Tiny


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in ROUTED])
def test_sparing_memory_changes_no_gradient(family: str, tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(Tiny(family).save(tmp_path / "model"))
    folder, row = (
        whole_model.mirror(checkpoint, tmp_path / "mirror"),
        checkpoint.architecture.family,
    )
    gradients = []
    for spares in (False, True):
        base = whole_model.load(folder, row, "float32", torch.device("cpu"))
        if spares:
            peft_model.enable_activation_checkpointing(base)
        model = peft_model.with_adapters(base, RecoverySpec(dropout=0.0), row)
        tokens = torch.arange(32).view(2, 16)
        model.train()(input_ids=tokens, labels=tokens).loss.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    plain, spared = gradients
    assert len(plain) == 2 * len(row.linears) * 3
    assert all(torch.allclose(plain[name], spared[name], atol=1e-6) for name in plain)
    assert any(gradient.abs().max() > 0 for gradient in plain.values())

"""Fitting the model: windows of the token stream, AdamW, a cosine, the best held-out loss kept.

Elementwise work and fresh allocations dominate at this size on a CPU; bfloat16 autocast
makes the products three times faster where the processor has AMX, the weights stay float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to fit. One step sees `batch` windows of `window` tokens."""

    steps: int
    batch: int = 16
    window: int = 256
    peak_rate: float = 4e-3
    warmup: int = 100
    weight_decay: float = 0.05
    seed: int = 0
    check_every: int = 100

    def rate(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, then half a cosine down to zero."""
        warmup = min(self.warmup, self.steps // 4 + 1)
        if step < warmup:
            return self.peak_rate * (step + 1) / warmup
        phase = (step - warmup) / max(1, self.steps - warmup)
        return self.peak_rate * 0.5 * (1 + math.cos(math.pi * phase))


@dataclass(frozen=True)
class Check:
    """Losses in nats a token after `step` steps: the mean over steps since the last check."""

    step: int
    train_loss: float
    held_out_loss: float


class Best(TypedDict):
    """The lowest held-out loss so far and the weights that had it."""

    loss: float
    weights: dict[str, Tensor]


def fit(
    model: LlamaForCausalLM, train: Tensor, held_out: Tensor, recipe: Recipe, checkpoint: Path
) -> Iterator[Check]:
    """Fit `model` in place and leave in it the weights of the lowest held-out loss.

    Args:
        train, held_out: token ids, (tokens,), int64.
        checkpoint: file to go on from if it is there; written at every check.
    """
    optimizer = _optimizer(model, recipe)
    first, best = _restore(model, optimizer, checkpoint)
    losses: list[float] = []
    for step in range(first, recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        losses.append(_step(model, optimizer, batch_of(train, recipe, step)))
        if (step + 1) % recipe.check_every and step + 1 < recipe.steps:
            continue
        check = Check(
            step + 1, sum(losses) / len(losses), held_out_loss(model, held_out, recipe.window)
        )
        losses.clear()
        if best is None or check.held_out_loss < best["loss"]:
            weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            best = {"loss": check.held_out_loss, "weights": weights}
        _save(model, optimizer, step + 1, best, checkpoint)
        yield check
    assert best is not None
    model.load_state_dict(best["weights"])


def batch_of(tokens: Tensor, recipe: Recipe, step: int) -> Tensor:
    """The windows of a step, (batch, window + 1): a function of seed and step alone.

    Every epoch cuts the stream at another phase and shuffles the windows.
    """
    per_epoch = (len(tokens) - recipe.window - 1) // recipe.window
    picks = []
    for index in range(step * recipe.batch, (step + 1) * recipe.batch):
        epoch, place = divmod(index, per_epoch)
        generator = torch.Generator().manual_seed(recipe.seed * 100_003 + epoch)
        phase = int(torch.randint(recipe.window, (), generator=generator))
        start = phase + recipe.window * int(torch.randperm(per_epoch, generator=generator)[place])
        picks.append(tokens[start : start + recipe.window + 1])
    return torch.stack(picks)


@torch.no_grad()
def held_out_loss(model: LlamaForCausalLM, tokens: Tensor, window: int) -> float:
    """Mean loss in nats a token over consecutive windows, each judged from its second token."""
    rows = tokens[: len(tokens) // window * window].view(-1, window)
    total = 0.0
    for batch in torch.split(rows, 16):
        total += _loss(model, batch).item() * batch.shape[0]
    return total / rows.shape[0]


def _loss(model: LlamaForCausalLM, batch: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(batch[:, :-1], use_cache=False).logits
    return functional.cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten())


def _step(model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, batch: Tensor) -> float:
    loss = _loss(model, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    return loss.item()


def _optimizer(model: LlamaForCausalLM, recipe: Recipe) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.dim() > 1]
    gains = [p for p in model.parameters() if p.dim() == 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": gains, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.peak_rate, betas=(0.9, 0.95), fused=True)


def _restore(
    model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, checkpoint: Path
) -> tuple[int, Best | None]:
    if not checkpoint.is_file():
        return 0, None
    state = torch.load(checkpoint, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["best"]


def _save(
    model: LlamaForCausalLM,
    optimizer: torch.optim.Optimizer,
    step: int,
    best: Best,
    checkpoint: Path,
) -> None:
    state = {
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "best": best,
    }
    aside = checkpoint.with_suffix(".aside")
    torch.save(state, aside)
    aside.replace(checkpoint)

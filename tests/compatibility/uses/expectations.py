"""What a use must give, and what it needs."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor

NEW = 6  # tokens
GREEDY: dict[str, Any] = {
    "max_new_tokens": NEW,
    "do_sample": False,
    "eos_token_id": None,
    "pad_token_id": 0,
}


class NotInstalledError(Exception):
    """A use needs a package that is not there."""


class WrongResultError(Exception):
    """A use ran, and gave something else than it must."""


def need(*packages: str) -> None:
    """See that packages are installed.

    Raises:
        NotInstalledError: one is not.
    """
    for package in packages:
        if importlib.util.find_spec(package.partition(".")[0]) is None:
            raise NotInstalledError(f"{package} was not installed")


def require(holds: bool, otherwise: str) -> None:
    """See that a use gave what it must.

    Raises:
        WrongResultError: it did not; says what it gave.
    """
    if not holds:
        raise WrongResultError(otherwise)


def near(found: Tensor, expected: Tensor, share: float = 1e-5) -> None:
    """See that two results are equal up to a share of the largest value."""
    require(bool(found.isfinite().all()), "gave NaN or infinity")
    difference = float((found.float() - expected.float()).abs().max())
    most = share * float(expected.abs().max())
    require(difference <= most, f"differs by {difference:.1e}, more than {most:.1e}")


def same(found: Tensor, expected: Tensor) -> None:
    """See that two generations are the same tokens."""
    require(torch.equal(found, expected), "generated other tokens")


@torch.no_grad()
def logits(model: Any, ids: Tensor) -> Tensor:
    """Of one batch without a cache, (batch, seq, vocab)."""
    values: Tensor = model(input_ids=ids, use_cache=False).logits
    return values


def greedy(model: Any, prompt: Tensor) -> Tensor:
    """Greedy continuation, one whole forward pass a token: (batch, seq + NEW)."""
    ids = prompt
    for _ in range(NEW):
        ids = torch.cat([ids, logits(model, ids)[:, -1:].argmax(-1)], dim=1)
    return ids

"""A tiny pruned Llama in one of the formats that transformers loads."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.formats import stock
from slimgpt.spec.prune import Format
from tests.slimgpt.pruned import alike, lots, publish
from tests.slimgpt.tiny import Tiny, tokens

FORMATS: tuple[Format, ...] = ("exact", "uniform", "padded")
DENSE = Tiny(hidden=64, heads=8, kv_heads=4, channels=96, tokenizer=True)


@dataclass(frozen=True)
class Model:
    """A published folder, and what its users give it."""

    form: Format
    folder: Path

    def load(self, kind: Any = AutoModelForCausalLM, **options: Any) -> Any:
        """As users load it: `exact` with trust in its code; in evaluation mode."""
        return kind.from_pretrained(self.folder, **self.trust, **options).eval()

    @property
    def trust(self) -> dict[str, Any]:
        """What the format needs to be loaded."""
        return {"trust_remote_code": True} if self.form == "exact" else {}

    @property
    def tokenizer(self) -> Any:
        """One token a byte."""
        return AutoTokenizer.from_pretrained(self.folder)

    @property
    def prompt(self) -> Tensor:
        """Random tokens, (2, 6) int64."""
        return tokens(DENSE, batch=2, length=6)

    def scratch(self) -> Path:
        """A new folder beside it."""
        return Path(tempfile.mkdtemp(dir=self.folder.parent))


def models(home: Path) -> dict[Format, Model]:
    """The model in every format: layers that differ in KV heads and width, alike for `uniform`."""
    dense = Checkpoint.open(DENSE.save(home / "dense"))
    exact = Checkpoint.open(publish(dense, lots(dense.architecture, seed=2), home / "exact"))
    assert len({size.kv_heads for size in exact.architecture.sizes}) > 1
    even = Checkpoint.open(publish(dense, alike(dense.architecture), home / "even"))
    for form, write, source in (
        ("uniform", stock.write_uniform, even),
        ("padded", stock.write_padded, exact),
    ):
        (home / form).mkdir()
        write(source, home / form)
    return {form: Model(form, home / form) for form in FORMATS}

"""Which loader computes what from which format of which family? Writes `docs/compatibility.md`.

    python -m tests.compatibility.matrix [VERSION | PYTHON]

A tiny random model of every family is pruned by lot, written in every format that holds it, and
loaded from there by every loader in a process of its own: the installed transformers, an older one
(4.57.*, or the version or interpreter that is named; see `old_transformers`), llama.cpp. What is
measured is the largest difference from the logits that the engine computes. Exits with 1, and
writes nothing, if one is beyond its bound. Not part of the default test run: it installs packages.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from torch import Tensor

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.checkpoints.families.table import FAMILIES
from slimgpt.formats import stock, support
from slimgpt.formats.gguf import architectures
from slimgpt.formats.gguf import writer as gguf_file
from slimgpt.layers.stack import Stack
from slimgpt.spec.prune import Format
from slimgpt.verification import formats
from tests.compatibility import page
from tests.compatibility.old_transformers import (
    DEFAULT,
    MODELS,
    Published,
    bound,
    environment,
    publish_all,
    reload_all,
)
from tests.compatibility.page import BAICHUAN, LLAMA_CPP, NEW, OLD, Cells, Column, Measured
from tests.slimgpt.checkpoints.test_name_mapping import baichuan
from tests.slimgpt.formats.test_formats import VOCABULARY, give_tokenizer
from tests.slimgpt.pruned import alike, lots, publish
from tests.slimgpt.tiny import Tiny, tokens

OWN: dict[str, dict[str, Any]] = {
    "phi3": {"sliding_window": 128},
    "gemma3_text": {"attn_logit_softcapping": None},
}
CPU = torch.device("cpu")
WRITERS = {"uniform": stock.write_uniform, "padded": stock.write_padded}
# Known to differ in the older one (see the page): measured, and not held to a bound there.
DIFFER = {
    "gpt2-scaled-by-layer": Tiny("gpt2", own={"scale_attn_by_inverse_layer_idx": True}),
    "gpt2-not-scaled": Tiny("gpt2", own={"scale_attn_weights": False}),
}
console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Sample:
    """A family's model, pruned to layers that differ and to layers of one size."""

    family: str
    different: Checkpoint
    alike: Checkpoint
    tokens: Tensor

    def of(self, form: Format) -> Checkpoint:
        """The one that is written in a format."""
        return self.alike if form == "uniform" or self._one_size(form) else self.different

    def _one_size(self, form: Format) -> bool:
        """Whether llama.cpp has the family in layers of one size alone."""
        build = architectures.ARCHITECTURES.get(self.different.architecture.family.model_type)
        return form == "gguf" and build is not None and build.one_size

    def expected(self, form: Format) -> Tensor:
        """Logits that a loader of the format should compute."""
        return Stack(self.of(form), CPU).logits(self.tokens)


def main(arguments: list[str]) -> int:
    """Measure, and write the page; the exit status."""
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="slimgpt-matrix-") as name:
        home = Path(name)
        old = environment(home / "venv", *(arguments or [DEFAULT]))
        pythons = {NEW: Path(sys.executable), OLD: old}
        versions, members = measured_members(home, pythons)
        samples = [sample(home, family) for family in page.ROWS]
        cells: Cells = {}
        for form in ("exact", "uniform", "padded"):
            cells |= measured(form, samples, pythons, home)
        cells |= measured_gguf(samples, home)
    beyond = [f"{of}: {cell}" for of, cell in cells.items() if _beyond(cell)]
    beyond += [f"{of}: {cell}" for of, each in members.items() for cell in each.values()
               if _beyond(cell)]  # fmt: skip
    for line in beyond:
        console.print(line)
    if not beyond:
        page.PAGE.write_text(page.text(cells, members, versions), encoding="utf-8")
    return 1 if beyond else 0


def sample(home: Path, family: str) -> Sample:
    """A family's model, wide enough for the shipped tokenizer and for llama.cpp."""
    kind = "llama" if family == BAICHUAN else family
    model = Tiny(
        kind,
        hidden=64,
        heads=8,
        kv_heads=8 if family == BAICHUAN else 4,
        channels=96,
        vocabulary=VOCABULARY,
        tied=kind in ("qwen3", "gemma2"),
        own=OWN.get(kind, {}),
    )
    folder = home / f"{family}-dense"
    dense = Checkpoint.open(baichuan(folder, model) if family == BAICHUAN else model.save(folder))
    give_tokenizer(folder)
    different = publish(dense, lots(dense.architecture, seed=2), home / f"{family}-exact")
    even = publish(dense, alike(dense.architecture), home / f"{family}-even")
    return Sample(
        family, Checkpoint.open(different), Checkpoint.open(even), tokens(model, length=60)
    )


def measured(form: Format, samples: list[Sample], pythons: Mapping[str, Path], home: Path) -> Cells:
    """The cells of a format that transformers loads."""
    cells, folders = ruled_out(form, samples), dict[Path, Sample]()
    for one in samples:
        if (one.family, Column(form, NEW)) not in cells:
            folders[written(form, one, home)] = one
    asked: Published = {folder: (one.tokens, one.expected(form)) for folder, one in folders.items()}
    for loader, python in pythons.items():
        _, differences = reload_all(asked, python, home, form)
        for folder, one in folders.items():
            if (one.family, Column(form, loader)) in cells:
                continue
            most = bound(one.family) if loader == OLD else 0.0
            if form == "padded":
                most, _ = formats.padded_bound(asked[folder][1])
            value = Measured(differences[folder.name], most)
            cells[one.family, Column(form, loader)] = value
    return cells


def measured_gguf(samples: list[Sample], home: Path) -> Cells:
    """The cells of llama.cpp; its proof raises where a difference is beyond its bound."""
    column = Column("gguf", LLAMA_CPP)
    cells = ruled_out("gguf", samples)
    for one in samples:
        if (one.family, column) not in cells:
            checkpoint, file = one.of("gguf"), home / f"{one.family}.gguf"
            gguf_file.write(checkpoint, file, "f32")
            proved = formats.prove_gguf(checkpoint, file, "f32", formats.probe_of(checkpoint, CPU))
            cells[one.family, column] = Measured(proved.max_difference, proved.bound)
    return cells


def measured_members(
    home: Path, pythons: Mapping[str, Path]
) -> tuple[dict[str, str], dict[str, dict[str, Measured]]]:
    """What the versions of transformers are, and what they compute of members of families."""
    members = {name: model for name, model in MODELS.items() if name not in FAMILIES} | DIFFER
    folders = publish_all(home, members)
    versions: dict[str, str] = {}
    cells: dict[str, dict[str, Measured]] = {folder.name: {} for folder in folders}
    for loader, python in pythons.items():
        versions[loader], differences = reload_all(folders, python, home)
        for name, value in differences.items():
            known = math.inf if name.startswith(tuple(DIFFER)) else bound(name)
            cells[name][loader] = Measured(value, known if loader == OLD else 0.0)
    return versions, cells


def ruled_out(form: Format, samples: list[Sample]) -> Cells:
    """The cells of a format that have a reason instead of a number."""
    cells: Cells = {}
    for one in samples:
        source = one.of(form)
        reason = support.obstacle(form, source.architecture, source.config)
        for column in (column for column in page.COLUMNS if column.form == form):
            why = reason or page.missing(column.loader)
            if form != "exact" and column.loader == OLD and source.architecture.family.soft_caps:
                why = why or page.UNCAPPED
            if why:
                cells[one.family, column] = why
    return cells


def written(form: Format, one: Sample, home: Path) -> Path:
    """The folder of a model in a format that transformers loads."""
    if form == "exact":
        return one.different.folder
    folder = home / f"{one.family}-{form}"
    folder.mkdir()
    WRITERS[form](one.of(form), folder)
    return folder


def _beyond(cell: Measured | str) -> bool:
    return isinstance(cell, Measured) and not cell.difference <= cell.bound


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

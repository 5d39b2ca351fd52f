"""`docs/compatibility.md`: how the measured matrix is written down, and read again."""

from __future__ import annotations

import datetime
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from slimgpt.checkpoints.families.table import FAMILIES, READ_AS_ANOTHER
from slimgpt.spec.prune import Format

PAGE = Path(__file__).parents[2] / "docs/compatibility.md"
COMMAND = "python -m tests.compatibility.matrix"
(BAICHUAN,) = READ_AS_ANOTHER
ROWS = (*FAMILIES, BAICHUAN)
NEW, OLD, LLAMA_CPP, VLLM = "newest", "oldest", "llama.cpp", "vLLM"


@dataclass(frozen=True)
class Column:
    """A format in the hands of a loader."""

    form: Format
    loader: str


@dataclass(frozen=True)
class Measured:
    """The largest difference between what a loader and what the engine computes."""

    difference: float
    bound: float


Cells = dict[tuple[str, Column], Measured | str]
Members = Mapping[str, Mapping[str, Measured]]
COLUMNS = (
    *(Column("exact", loader) for loader in (NEW, OLD, VLLM)),
    *(Column("uniform", loader) for loader in (NEW, OLD, VLLM)),
    *(Column("padded", loader) for loader in (NEW, OLD, VLLM)),
    Column("gguf", LLAMA_CPP),
)
HEAD = """\
# Compatibility

Which loader computes what from which format of which family. This page is written by

    {command}

and not by hand. It was on {date}, with Python {python},
{versions}.
transformers 4.57 is the oldest version that is supported, the other was the newest.

A random model of every family (three layers, hidden size 64, 8 heads, 4 KV heads where the family
has them, 96 channels, float32) is pruned by lot: to layers that differ, and to layers of one
size for `uniform`, and for `gguf` where llama.cpp has a family so alone ([which](formats.md)).
It is written in the format and loaded from there in a process of its own, `exact` with trust in
its code, the others without. A number is the largest difference of any logit from the
engine's on 2 × 60 random tokens. llama.cpp reads f32 files, its numbers are of log-probabilities at
eight places of 2 × 64 tokens, and it cut a text into the same tokens.

The command writes nothing if a number is beyond its bound. It is 0 in transformers, but 1e-5 for
experts in {old}, which runs them one after the other, and for `padded` 256 units in
the last place of the largest logit; in llama.cpp 2 in 100,000 of the largest log-probability,
and of Gemma 5 in 1,000 ([why](formats.md#proof)).

"""
AFTER = """
## Members of families

Format `exact`, layers that differ; `-twice` was pruned a second time. `-llama3-rope` has the scaled
rotary positions of Llama 3.

"""
KNOWN = """
## Known differences

- GPT-2 with `scale_attn_by_inverse_layer_idx: true` (`gpt2-scaled-by-layer`) or with
  `scale_attn_weights: false` (`gpt2-not-scaled`): the default attention of transformers 4.57 heeds
  neither, in the dense model as in a pruned one. Load with `attn_implementation="eager"` there:
  logits of dense tiny models were then within 2e-6. transformers 5 heeds them by default, and so
  does the engine.
- Gemma 2 in its stock class (`uniform`, `padded`): the default attention of transformers 4.57
  leaves out the soft caps, in the dense model as in a pruned one. With
  `attn_implementation="eager"` the logits there were equal. transformers 5 chooses that by itself,
  format `exact` does in both.
- Qwen3 is measured with its head tied to the embedding: llama.cpp has no other where layers differ.
- Sliding windows are wider than the tokens here, but for Gemma 2 and Gemma 3: theirs are 8.
"""


UNCAPPED = "4.57's stock class leaves soft caps out by default, see the known differences"


UNASKED = (
    "heads of these models are 8 wide, and vLLM has kernels for 32 and more; wider models were "
    "measured in it, see [formats](formats.md#proof)"
)


def missing(loader: str) -> str:
    """Why a loader is not asked; empty if it is."""
    return UNASKED if loader == VLLM else ""


def text(cells: Cells, members: Members, transformers: Mapping[str, str]) -> str:
    """The page.

    Args:
        members: by name, what each of the two versions of transformers gives.
        transformers: `transformers VERSION` by loader.
    """
    installed = [f"{name} {metadata.version(name)}" for name in ("torch", "xllamacpp", "gguf")]
    head = HEAD.format(
        command=COMMAND,
        date=datetime.date.today().isoformat(),
        python=platform.python_version(),
        versions=", ".join([*transformers.values(), *installed]),
        old=transformers[OLD],
    )
    reasons: list[str] = []
    titles = ["family", *(f"`{c.form}`, {transformers.get(c.loader, c.loader)}" for c in COLUMNS)]
    lines = [titles, ["---"] * len(titles)]
    for family in ROWS:
        values = (_anonymous(cells[family, column], family) for column in COLUMNS)
        lines.append([f"`{family}`", *(_cell(value, reasons) for value in values)])
    notes = "".join(f"{number}. {reason}\n" for number, reason in enumerate(reasons, start=1))
    rows = [["member", transformers[NEW], transformers[OLD]], ["---"] * 3]
    for name, of_loader in members.items():
        rows.append([f"`{name}`", *(_cell(of_loader[one], reasons) for one in (NEW, OLD))])
    return f"{head}{_table(lines)}\n{notes}{AFTER}{_table(rows)}{KNOWN}"


def rows(page: str) -> dict[str, list[str]]:
    """The cells of the first table by family, as they are written."""
    matrix = page.partition("\n## ")[0]
    found = re.findall(r"^\| `([^`]+)` \| (.+) \|$", matrix, re.MULTILINE)
    return {family: cells.split(" | ") for family, cells in found}


def _anonymous(value: Measured | str, family: str) -> Measured | str:
    """A reason without the family's name: many have the same."""
    return (
        value
        if isinstance(value, Measured)
        else value.replace(f" of {family} ", " of this family ")
    )


def _cell(value: Measured | str, reasons: list[str]) -> str:
    """A number, or the number of a reason."""
    if isinstance(value, Measured):
        return f"{value.difference:.1e}" if value.difference else "0"
    if value not in reasons:
        reasons.append(value)
    return f"– ({reasons.index(value) + 1})"


def _table(lines: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)

"""Name syntax of models and texts, and the base class of the specification's parts.

Imports neither torch nor transformers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
LOCAL_NAME = re.compile(r"local:[^/\\\0][^\\\0]*")
UPLOAD = re.compile(r"upload:(cal_[0-9a-hjkmnp-tv-z]{26})")
NAMED_TEXTS = ("c4", "alpaca", "gpt4-alpaca", "wikitext2")
HELD_OUT = "held-out"

MAX_COUNT = 10**9
"""Upper bound of row, step, question and token counts; fits in every database's integers."""

T = TypeVar("T")
Several = Annotated[tuple[T, ...], Field(fail_fast=True)]
"""A list validated up to its first error only: clients send it."""
Named = Annotated[str, Field(max_length=256)]
"""The name of a model or of a text."""
Format = Literal["exact", "uniform", "gguf", "padded"]
GgufType = Literal["f32", "f16", "bf16", "q8_0"]
Bos = Literal["tokenizer", "none"]
BOS = (
    "What every window begins with: `tokenizer`, what the tokenizer itself puts before a text "
    "(such as `<s>`, or nothing); `none`, windows are cut as they come, as papers do for Llama."
)


class Spec(BaseModel):
    """Base of every part of a specification: frozen, unknown fields refused, numbers finite.

    Clients send it: every list, text and number has a bound.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def repeated(names: Iterable[str]) -> str:
    """The names that occur more than once, comma-separated; empty if there are none."""
    return ", ".join(sorted(name for name, times in Counter(names).items() if times > 1))


def text_source(value: str) -> str:
    """Validate the name of a text; returns it unchanged.

    Raises:
        ValueError: it is not the name of a text.
    """
    if value in NAMED_TEXTS:
        return value
    if value.startswith("hf:") and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", value[3:]):
        return value
    if LOCAL_NAME.fullmatch(value) and ".." not in re.split("[:/]", value):
        return value
    if UPLOAD.fullmatch(value):
        return value
    if value.startswith("upload:"):
        raise ValueError(
            f"{value!r} is not the id of an upload: use the `source` of the upload's response, "
            "as GET /calibration-sets and `slimgpt calibration list` show it"
        )
    known = ", ".join(NAMED_TEXTS)
    raise ValueError(
        f"unknown text source {value!r}: use {known}, hf:NAME, local:FILE or upload:ID"
    )


def model_name(value: str) -> str:
    """Validate the name of a model; returns it unchanged.

    Raises:
        ValueError: it is not the name of a model.
    """
    local = LOCAL_NAME.fullmatch(value) and ".." not in re.split("[:/]", value)
    if not (local or (HUB_ID.fullmatch(value) and ".." not in value)):
        raise ValueError(f"{value!r} is not a model: use org/name, org/name@revision or local:NAME")
    return value


def published_name(model: str, removed: float) -> str:
    """The name of a pruned model in its card and files: `Llama-2-7b-hf-pruned-20`.

    Args:
        model: as the specification names it.
        removed: share of the parameters, 0 to 1.
    """
    last = model.partition("@")[0].rpartition("/")[2].rpartition(":")[2]
    clean = re.sub(r"[^\w.-]+", "-", last, flags=re.ASCII).strip("-.") or "model"
    return f"{clean[:64]}-pruned-{removed:.0%}".replace("%", "")

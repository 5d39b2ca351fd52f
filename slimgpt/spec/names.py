"""How a specification names models and texts, and the base of its parts.

Imports neither torch nor transformers.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
LOCAL_NAME = re.compile(r"local:[^/\\\0][^\\\0]*")
UPLOAD = re.compile(r"upload:(cal_[0-9a-hjkmnp-tv-z]{26})")
NAMED_TEXTS = ("c4", "alpaca", "gpt4-alpaca", "wikitext2")
HELD_OUT = "held-out"

Format = Literal["exact", "uniform", "gguf", "padded"]
GgufType = Literal["f32", "f16", "bf16", "q8_0"]
Bos = Literal["tokenizer", "none"]
BOS = (
    "What every window begins with: `tokenizer`, what the tokenizer itself puts before a text "
    "(such as `<s>`, or nothing); `none`, windows are cut as they come, as papers do for Llama."
)


class Spec(BaseModel):
    """Base of every part of a specification: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def text_source(value: str) -> str:
    """A text's name, as it is.

    Raises:
        ValueError: it is none.
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
            f"{value!r} is not an upload's id: use the `source` that the upload was answered with, "
            "as GET /calibration-sets and `slimgpt calibration list` show it"
        )
    known = ", ".join(NAMED_TEXTS)
    raise ValueError(
        f"unknown text source {value!r}: use {known}, hf:NAME, local:FILE or upload:ID"
    )


def model_name(value: str) -> str:
    """A model's name, as it is.

    Raises:
        ValueError: it is none.
    """
    local = LOCAL_NAME.fullmatch(value) and ".." not in re.split("[:/]", value)
    if not (local or (HUB_ID.fullmatch(value) and ".." not in value)):
        raise ValueError(f"{value!r} is not a model: use org/name, org/name@revision or local:NAME")
    return value

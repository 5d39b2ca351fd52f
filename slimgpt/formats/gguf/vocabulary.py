"""Tokenizer conversion to GGUF: sentencepiece BPE or byte-level BPE.

Reads the fast tokenizer that transformers has loaded, so that both tokenize text in the same way.
Source of the rules: llama.cpp, `src/llama-vocab.cpp`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from slimgpt.errors import UnsupportedModelError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "▁"
NEVER = -1e6  # score of a token that no merge produces
BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")
GPT2 = "gpt-2"
DEFAULT = "default"
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {
    CONTRACTIONS + r"\p{N}{1,3}" + REST: "llama-bpe",
    CONTRACTIONS + r"\p{N}" + REST: "qwen2",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?"
    r"[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+": "tekken",
}
"""Regular expressions of pre-tokenizers, with llama.cpp's names for them."""
WHOLE_FIRST = ("llama-bpe", "tekken")
"""Pre-tokenizers with which llama.cpp ignores merges for a piece that is a token."""
MERGED_FIRST = {"llama-bpe": "dbrx"}
"""Pre-tokenizers with the same regular expression that always apply merges."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer in a GGUF file.

    Attributes:
        model: `llama` (sentencepiece) or `gpt2` (byte-level BPE).
        tokens, types, scores: by id; scores only for sentencepiece.
        pre: llama.cpp's name of the pre-tokenizer.
        special: ids of the tokens bos, eos, unk and pad, by llama.cpp's names.
        add_begin: whether the tokenizer adds the bos token.
        add_end: whether it adds the eos token.
        add_space: whether it adds a space before a text.
        chat_template: the default template.
        named_templates: the other templates by name.
    """

    model: Literal["llama", "gpt2"]
    tokens: list[str]
    types: list[int]
    scores: list[float]
    merges: list[str]
    pre: str
    special: dict[str, int] = field(default_factory=dict)
    add_begin: bool = False
    add_end: bool = False
    add_space: bool = False
    chat_template: str | None = None
    named_templates: dict[str, str] = field(default_factory=dict)


def read(inner: Any, rows: int) -> Vocabulary:
    """Read a tokenizer of transformers.

    Args:
        inner: a fast tokenizer.
        rows: rows of the embedding; ids that the tokenizer lacks become unused tokens.

    Raises:
        UnsupportedModelError: llama.cpp does not support the tokenizer.
    """
    if not getattr(inner, "is_fast", False):
        raise _unsupported("it is not a fast tokenizer (library `tokenizers`)")
    content = json.loads(inner.backend_tokenizer.to_str())
    model = content["model"]
    if model.get("type") != "BPE":
        raise _unsupported(f"its type is {model.get('type')}, not BPE")
    sentencepiece = bool(model.get("byte_fallback"))
    pre = "default" if sentencepiece else _pre(content)
    if sentencepiece:
        _check_spaces(content)
    else:
        _check_normalizer(content)
        _check_merges(content, pre)
    tokens, types = _tokens(content, rows, sentencepiece)
    merges = [one if isinstance(one, str) else " ".join(one) for one in model["merges"]]
    begin, end = inner.bos_token_id, inner.eos_token_id
    names = {"bos": begin, "eos": end, "unk": inner.unk_token_id}
    names["pad"] = inner.pad_token_id
    around = inner("a")["input_ids"]
    return Vocabulary(
        model="llama" if sentencepiece else "gpt2",
        tokens=tokens,
        types=types,
        scores=_scores(tokens, merges) if sentencepiece else [],
        merges=[] if sentencepiece else merges,
        pre=pre,
        special={name: number for name, number in names.items() if number is not None},
        add_begin=begin is not None and around[:1] == [begin],
        add_end=end is not None and around[-1:] == [end],
        add_space=sentencepiece and _adds_space(content),
        chat_template=(templates := _templates(inner.chat_template)).pop(DEFAULT, None),
        named_templates=templates,
    )


def _templates(given: Any) -> dict[str, str]:
    """Chat templates by name, including the default."""
    named = given if isinstance(given, dict) else {DEFAULT: given}
    return {str(name): one for name, one in named.items() if isinstance(one, str)}


def _tokens(content: dict[str, Any], rows: int, sentencepiece: bool) -> tuple[list[str], list[int]]:
    """Tokens and their types, by id."""
    by_id = {number: (token, NORMAL) for token, number in content["model"]["vocab"].items()}
    if sentencepiece:
        for number, (token, _) in by_id.items():
            if BYTE_TOKEN.fullmatch(token):
                by_id[number] = (token, BYTE)
    for added in content.get("added_tokens", ()):
        kind = CONTROL if added["special"] else USER_DEFINED
        if added["content"] == content["model"].get("unk_token"):
            kind = UNKNOWN
        by_id[added["id"]] = (added["content"], kind)
    if max(by_id) >= rows:
        raise _unsupported(f"it has id {max(by_id)}, but the embedding has {rows} rows")
    filled = [by_id.get(number, (f"[PAD{number}]", UNUSED)) for number in range(rows)]
    return [token for token, _ in filled], [kind for _, kind in filled]


def _scores(tokens: list[str], merges: list[str]) -> list[float]:
    """Scores from merge ranks: sentencepiece merges the highest score first, BPE the first rank."""
    rank: dict[str, int] = {}
    for number, merge in enumerate(merges):
        left, _, right = merge.partition(" ")
        rank.setdefault(left + right, number)
    return [-float(rank[token]) if token in rank else NEVER for token in tokens]


def _adds_space(content: dict[str, Any]) -> bool:
    parts = _parts(content.get("normalizer"), "normalizers")
    if any(part.get("type") == "Prepend" for part in parts):
        return True
    before = _parts(content.get("pre_tokenizer"), "pretokenizers")
    return any(part.get("prepend_scheme") in ("first", "always") for part in before)


def _pre(content: dict[str, Any]) -> str:
    """llama.cpp's name of a byte-level pre-tokenizer."""
    parts = _parts(content.get("pre_tokenizer"), "pretokenizers")
    kinds = [part.get("type") for part in parts]
    if any(part.get("add_prefix_space") for part in parts):
        raise _unsupported("it adds a space before a text (add_prefix_space)")
    if kinds == ["ByteLevel"] and parts[0].get("use_regex", True):
        return GPT2
    if kinds == ["Split", "ByteLevel"] and not parts[1].get("use_regex", True):
        pattern = parts[0].get("pattern", {}).get("Regex")
        whole = parts[0].get("behavior") == "Isolated" and not parts[0].get("invert")
        if whole and pattern in SPLITS:
            name = SPLITS[pattern]
            whole_first = content["model"].get("ignore_merges")
            return name if whole_first else MERGED_FIRST.get(name, name)
    raise _unsupported(f"its pre-tokenizer ({', '.join(map(str, kinds))}) is not supported")


def _check_normalizer(content: dict[str, Any]) -> None:
    """llama.cpp does not normalise text. NFC (Qwen2) is accepted; most text is in NFC already."""
    kinds = [str(part.get("type")) for part in _parts(content.get("normalizer"), "normalizers")]
    if others := [kind for kind in kinds if kind != "NFC"]:
        raise _unsupported(f"its normalizer ({', '.join(others)}) is not supported")


def _check_spaces(content: dict[str, Any]) -> None:
    """Sentencepiece in llama.cpp replaces spaces by `▁` and normalises nothing else."""
    space = {"String": " "}
    for part in _parts(content.get("normalizer"), "normalizers"):
        written = part.get("pattern") == space and part.get("content") == SPACE
        before = part.get("type") == "Prepend" and part.get("prepend") == SPACE
        if not before and not (part.get("type") == "Replace" and written):
            raise _unsupported(f"its normalizer ({part.get('type')}) is not supported")
    for part in _parts(content.get("pre_tokenizer"), "pretokenizers"):
        # Gemma splits at spaces after the normalizer has replaced all spaces
        idle = part.get("type") == "Split" and part.get("pattern") == space
        if part.get("type") != "Metaspace" and not idle:
            raise _unsupported(f"its pre-tokenizer ({part.get('type')}) is not supported")


def _check_merges(content: dict[str, Any], pre: str) -> None:
    """If the two differ in `ignore_merges`, every token must be the result of its own merges."""
    from tokenizers import Tokenizer

    asked = bool(content["model"].get("ignore_merges"))
    if asked == (pre in WHOLE_FIRST):
        return
    merging = {**content, "model": {**content["model"], "ignore_merges": False}}
    model = Tokenizer.from_str(json.dumps(merging)).model
    added = {one["content"] for one in content.get("added_tokens", ())}
    for token in content["model"]["vocab"]:
        if token not in added and len(model.tokenize(token)) != 1:
            raise _unsupported(
                f"its ignore_merges is {asked}, llama.cpp's pre-tokenizer {pre} does the opposite, "
                f"and merges do not produce its token {token!r}"
            )


def _parts(content: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    if content is None:
        return []
    return list(content[key]) if content.get("type") == "Sequence" else [content]


def _unsupported(reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"format `gguf`: llama.cpp cannot read this tokenizer: {reason}",
        hint="remove `gguf` from the formats",
    )

"""Which files of a model transformers' tokenizers and processors read, by their names.

One table for what is fetched from the hub, judged before it is read, and copied to the result. A
test holds it to every tokenizer and processor that the installed transformers has.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

TEMPLATES = "additional_chat_templates"
"""The folder of chat templates that have names."""
TOKENIZERS = (
    *("tokenizer.json", "tokenizer.*.json", "tokenizer_config.json", "*tekken*.json"),
    *("added_tokens.json", "special_tokens_map.json"),
    *("vocab*.json", "vocab*.txt", "*vocab.json", "*vocab.txt", "merges*.txt", "dict.txt"),
    *("*.model", "tokenizer.model.*", "*.tiktoken", "*.spm", "*.codes", "*.tokenizer"),
    *("byte_maps.json", "emoji.json", "normalizer.json"),
    *("word_shape.json", "word_pronunciation.json"),
    *("*.jinja", "chat_template*.json"),
)
PROCESSORS = (
    *("preprocessor_config.json", "processor_config.json"),
    *("video_preprocessor_config.json", "audio_tokenizer_config.json"),
)
GENERATION = "generation_config.json"
PATTERNS = (*TOKENIZERS, *PROCESSORS, GENERATION)


def include_tokenizer(names: Iterable[str]) -> bool:
    """Whether there is a tokenizer among a folder's files."""
    return any(fnmatchcase(name, pattern) for name in names for pattern in TOKENIZERS)


def is_one(path: str) -> bool:
    """Whether a path within a model's folder is of such a file."""
    parts = PurePosixPath(path).parts
    if len(parts) == 2:
        return parts[0] == TEMPLATES and parts[1].endswith(".jinja")
    return len(parts) == 1 and any(fnmatchcase(path, pattern) for pattern in PATTERNS)

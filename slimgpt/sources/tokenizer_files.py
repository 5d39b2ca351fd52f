"""Names of the files that transformers' tokenizers and processors read.

These files are downloaded from the hub, checked before they are read, and copied to the result. A
test compares the patterns with all tokenizers and processors of the installed transformers.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

TEMPLATES = "additional_chat_templates"
"""The folder of named chat templates."""
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
    """Whether some of a folder's files belong to a tokenizer."""
    return any(fnmatchcase(name, pattern) for name in names for pattern in TOKENIZERS)


def is_one(path: str) -> bool:
    """Whether a path relative to a model's folder is a file of its tokenizer or processor."""
    parts = PurePosixPath(path).parts
    if len(parts) == 2:
        return parts[0] == TEMPLATES and parts[1].endswith(".jinja")
    return len(parts) == 1 and any(fnmatchcase(path, pattern) for pattern in PATTERNS)

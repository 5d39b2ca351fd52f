"""Checks of the tokenizer and template files beside the weights, before any library reads them.

A tokenizer is loaded by name: whichever of these files lies in the folder is read, through links
and to its end. Imports neither torch nor transformers.
"""

from __future__ import annotations

from slimgpt.checkpoints.location import Location
from slimgpt.errors import BrokenCheckpointError

READ = (".json", ".jinja", ".model", ".tiktoken", ".txt")
LARGEST = 256 << 20  # the largest tokenizers take 35 MB
TEMPLATES = "additional_chat_templates"


def check(location: Location) -> None:
    """Refuse a folder whose tokenizer leads elsewhere, or has no end.

    Raises:
        ModelNotFoundError: a file is a link out of the folder that models are read from.
        BrokenCheckpointError: it is a device, a pipe, a dangling link, or larger than any.
    """
    _check(location)
    if location.has(TEMPLATES):
        _check(Location.of(location.folder / TEMPLATES, location.root))


def _check(location: Location) -> None:
    for entry in sorted(location.folder.iterdir()):
        if entry.suffix not in READ or (entry.is_dir() and not entry.is_symlink()):
            continue
        if location.file(entry.name).stat().st_size > LARGEST:
            raise BrokenCheckpointError(
                f"{entry.name} is larger than {LARGEST >> 20} MiB",
                hint="no tokenizer is so large: download the file again",
            )

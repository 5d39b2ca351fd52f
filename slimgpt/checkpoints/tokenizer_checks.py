"""Checks of the tokenizer and template files beside the weights, before any library reads them.

A tokenizer is loaded by name: whichever of these files lies in the folder is read, through links
and to its end. Imports neither torch nor transformers.
"""

from __future__ import annotations

from slimgpt.checkpoints.location import Location
from slimgpt.errors import BrokenCheckpointError
from slimgpt.sources import tokenizer_files

READ = (".json", ".jinja", ".model", ".tiktoken", ".txt")
LARGEST = 256 << 20  # the largest tokenizers take 35 MB


def check(location: Location) -> None:
    """Refuse a folder whose tokenizer leads elsewhere, or has no end.

    Raises:
        ModelNotFoundError: a file is a link out of the folder that models are read from.
        BrokenCheckpointError: it is a device, a pipe, a dangling link, or larger than any.
    """
    _check(location)
    if (templates := templates_of(location)) is not None:
        _check(templates)


def templates_of(location: Location) -> Location | None:
    """Where the folder's chat templates lie that have names; None where there are none.

    Raises:
        ModelNotFoundError: it is a link out of the folder that models are read from.
    """
    if not location.has(tokenizer_files.TEMPLATES):
        return None
    return Location.of(location.folder / tokenizer_files.TEMPLATES, location.root)


def _check(location: Location) -> None:
    for entry in sorted(location.folder.iterdir()):
        read = entry.suffix in READ or tokenizer_files.is_one(entry.name)
        if not read or (entry.is_dir() and not entry.is_symlink()):
            continue
        if location.file(entry.name).stat().st_size > LARGEST:
            raise BrokenCheckpointError(
                f"{entry.name} is larger than {LARGEST >> 20} MiB",
                hint="no tokenizer is so large: download the file again",
            )

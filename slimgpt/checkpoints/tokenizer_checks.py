"""Checks the tokenizer and template files of a model folder before a library reads them.

Tokenizer libraries read these files by name, follow links and read files of any size. Imports
neither torch nor transformers.
"""

from __future__ import annotations

from slimgpt.checkpoints.location import Location
from slimgpt.errors import BrokenCheckpointError
from slimgpt.sources import tokenizer_files

READ = (".json", ".jinja", ".model", ".tiktoken", ".txt")
LARGEST = 256 << 20  # the largest tokenizers take 35 MB


def check(location: Location) -> None:
    """Refuse tokenizer files that are links out of the root, not regular, or too large.

    Raises:
        ModelNotFoundError: a file is a link out of the folder that models are read from.
        BrokenCheckpointError: a file is not regular, a dangling link, or larger than `LARGEST`.
    """
    _check(location)
    if (templates := templates_of(location)) is not None:
        _check(templates)


def templates_of(location: Location) -> Location | None:
    """The folder of named chat templates; None if the model has none.

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
                hint="tokenizer files are smaller: download the file again",
            )

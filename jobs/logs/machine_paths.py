"""Paths of this machine in what clients are told: replaced, whoever wrote them and however."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from jobs.files.storage_urls import BadStorageUrl, local_folder
from jobs.settings import Settings

HIDDEN = "…"
_USUAL = "Applications|Library|Users|Volumes|app|bin|boot|data|dev|etc|home|lib|lib64|media|mnt|nix"
_USUAL += "|opt|private|proc|root|run|sbin|snap|srv|storage|sys|tmp|usr|var|workspace"
_END = r"[\s'\",;:()\[\]<>]"


def _top() -> str:
    """The first folder of a path of this system. `/jobs/{id}` has none of them."""
    try:
        there = os.listdir("/")
    except OSError:
        there = []
    return "|".join([_USUAL, *map(re.escape, there)])


def _shape(top: str) -> re.Pattern[str]:
    begin = rf"(?:~/|[A-Za-z]:[/\\]|/(?:{top})(?={_END}|[/\\]|$))"
    return re.compile(
        # Between quotes a path may hold spaces. What a client names `local:/x` is its own word.
        rf"(?<='){begin}[^']*|(?<=\"){begin}[^\"]*"
        rf"|(?<![\w/.~])(?<!local:)(?:file://)?{begin}{_END.replace('[', '[^', 1)}*"
    )


class Paths:
    """Knows the folders of a service by value, and every other absolute path by its shape.

    Args:
        roots: folders that hold the service's files.
        named: folders whose files clients name as `local:NAME`, and are told of so.
    """

    def __init__(self, roots: Iterable[Path] = (), named: Iterable[Path] = ()) -> None:
        own = {form: "" for root in roots for form in _written(root)}
        own |= {form: "local:" for root in named for form in _written(root)}
        self._prefixes = own
        longest_first = "|".join(map(re.escape, sorted(own, key=len, reverse=True)))
        tail = rf"(?![\w.-])((?:/{_END.replace('[', '[^', 1)}*)?)"
        self._own = re.compile(f"({longest_first}){tail}") if own else None
        self._any = _shape(_top())

    def text(self, text: str) -> str:
        """The text without where things lie on this machine; addresses and ratios stay."""
        if "/" not in text and "\\" not in text:
            return text
        if self._own is not None:
            text = self._own.sub(self._told, text)
        return self._any.sub(HIDDEN, text)

    def _told(self, found: re.Match[str]) -> str:
        prefix, rest = self._prefixes[found[1]], found[2].strip("/")
        return prefix + rest if prefix and rest else HIDDEN


_ROOTED = _shape(r"[^\s/'\",;:()\[\]<>]{2,}")


def without_rooted(text: str) -> str:
    """What a defect says, without anything that looks like a path, of this machine or not."""
    return _ROOTED.sub(HIDDEN, text)


def _written(folder: Path) -> Iterator[str]:
    """A folder as messages may write it; none for what is too short to be one of ours."""
    for path in {folder.expanduser().absolute(), folder.expanduser().resolve()}:
        if len(path.parts) > 1:
            yield from {str(path), path.as_uri(), quote(str(path))}


def paths_of(settings: Settings) -> Paths:
    """What a process of these settings knows of its machine."""
    roots = [settings.home, settings.work_root, settings.uploads_root]
    roots += [Path.home(), Path(tempfile.gettempdir()), Path(sys.prefix), Path(__file__).parents[2]]
    roots += [Path(os.environ[name]) for name in ("HF_HOME", "XDG_CACHE_HOME") if os.getenv(name)]
    with suppress(BadStorageUrl):  # refused elsewhere, in words
        if (artifacts := local_folder(settings.artifacts_url)) is not None:
            roots.append(artifacts)
    return Paths(roots, named=[settings.models_root, settings.texts_root])

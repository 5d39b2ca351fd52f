"""The pages of the manual: those of docs/, a few of other folders, and the generated ones."""

from __future__ import annotations

import posixpath
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from manual import equations, sources
from manual.markdown import table
from manual.reference import api, commands, errors, events, metrics, report, settings

GENERATED: dict[str, Callable[[Path], str]] = {
    "reference/api.md": lambda _: api.page(),
    "reference/settings.md": lambda _: settings.page(),
    "reference/commands.md": lambda _: commands.page(),
    "reference/events.md": lambda _: events.page(),
    "reference/report.md": report.page,
    "reference/errors.md": errors.page,
    "reference/metrics.md": metrics.page,
}
ELSEWHERE = {
    "DEVELOPERS.md": "developers.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks/index.md",
}
"""Pages outside docs/ and where the manual has them."""
ALSO = {"README.md": "index.md", "docs/decisions": "decisions/index.md", "docs": "index.md"}
"""What is linked to and has a page of another name."""
CODE = re.compile(r"(```.*?```|<pre.*?</pre>)", re.DOTALL)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
HELP = re.compile(r"`/help/([\w/-]*)`")
COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)


class Pages:
    """Writes the pages into a folder.

    Args:
        root: of the repository.
        folder: receives Markdown, pictures and what pages offer for download.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder
        self._places = {"docs/" + name: name for name in self._documents("docs")}
        self._places |= {
            "benchmarks/results/" + name: "benchmarks/results/" + name
            for name in self._documents("benchmarks/results")
        }
        self._places |= ELSEWHERE
        self._shown: set[str] = set()

    def write(self) -> None:
        """Write all pages, and those of source files that they link to."""
        for source, place in sorted(self._places.items()):
            if place.endswith(".md"):
                self._put(place, self._page(source, place))
            else:
                self._copy(source, place)
        for place, page in GENERATED.items():
            self._put(place, self._rewritten(page(self.root), "docs/" + place, place))
        self._put("decisions/index.md", self._decisions())
        for file in sorted(self._shown):
            self._put(f"source/{file}.md", sources.page(self.root, file))

    def _documents(self, folder: str) -> list[str]:
        found = [path for path in (self.root / folder).rglob("*") if path.is_file()]
        return [path.relative_to(self.root / folder).as_posix() for path in found]

    def _page(self, source: str, place: str) -> str:
        text = (self.root / source).read_text(encoding="utf-8")
        return equations.drawn(self._rewritten(COMMENT.sub("", text), source, place))

    def _rewritten(self, text: str, source: str, place: str) -> str:
        """The page with its links turned from the repository's places into the manual's."""

        def link(found: re.Match[str]) -> str:
            target, _, anchor = found[3].partition("#")
            if "://" in target or target.startswith(("/", "mailto:")) or not target:
                return found[0]
            led = self._leads(posixpath.normpath(posixpath.join(posixpath.dirname(source), target)))
            if led is None:
                return found[2]
            to = posixpath.relpath(led, posixpath.dirname(place) or ".")
            return f"{found[1]}[{found[2]}]({to}{'#' + anchor if anchor else ''})"

        def help_link(found: re.Match[str]) -> str:
            inner = found[1].strip("/") or "index"
            to = posixpath.relpath(inner + ".md", posixpath.dirname(place) or ".")
            return f"[{found[0]}]({to})"

        parts = CODE.split(text)
        for index in range(0, len(parts), 2):
            parts[index] = HELP.sub(help_link, LINK.sub(link, parts[index]))
        return "".join(parts)

    def _leads(self, path: str) -> str | None:
        """Where the manual has a file of the repository; None: nowhere."""
        if path in self._places:
            return self._places[path]
        if path in ALSO:
            return ALSO[path]
        inner = path.removeprefix("docs/")
        if inner in GENERATED:
            return inner
        file = self.root / path
        if file.is_file() and file.suffix in sources.LANGUAGES:
            self._shown.add(path)
            return f"source/{path}.md"
        return None

    def _decisions(self) -> str:
        rows = []
        for path in sorted((self.root / "docs" / "decisions").glob("*.md")):
            title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
            rows.append((f"[{title}]({path.name})",))
        return "# Decisions\n\nWhy it is built as it is, one page each.\n\n" + table(("",), rows)

    def _put(self, place: str, text: str) -> None:
        file = self.folder / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def _copy(self, source: str, place: str) -> None:
        file = self.folder / place
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.root / source, file)

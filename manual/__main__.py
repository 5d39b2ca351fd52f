"""`python -m manual [OUT]`: build the manual into one file, without network."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from manual import archive
from manual.pages import Pages

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "api" / "manual.zip"
HERE = Path(__file__).resolve().parent


def build(out: Path, folder: Path) -> None:
    """Build the manual.

    Args:
        out: the archive to write.
        folder: empty; receives the pages and the site.

    Raises:
        subprocess.CalledProcessError: a page has a link or an anchor that leads nowhere, or the
            generator failed; it has said where.
    """
    pages = folder / "pages"
    Pages(ROOT, pages).write()
    shutil.copy(HERE / "zensical.toml", folder)
    shutil.copytree(HERE / "theme", folder / "theme")
    shutil.copy(HERE / "style.css", pages / "style.css")
    shutil.copy(ROOT / "api" / "static" / "icon.svg", pages / "icon.svg")
    subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=folder, check=True)
    archive.write(folder / "site", out)


def main(arguments: list[str]) -> None:
    """Build the manual in a temporary folder."""
    out = Path(arguments[0]).resolve() if arguments else OUT
    with tempfile.TemporaryDirectory() as folder:
        build(out, Path(folder))
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")  # noqa: T201 - this is a command


if __name__ == "__main__":
    main(sys.argv[1:])

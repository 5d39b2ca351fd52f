"""`python -m tests.slimgpt.client.synchronous` writes `slimgpt/client/_sync` from `_async`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from unasync import Rule, unasync_files

ROOT = Path(__file__).resolve().parent.parent.parent.parent
CLIENT = ROOT / "slimgpt" / "client"
NAMES = {
    "_async": "_sync",
    "anyio": "time",
    "aclose": "close",
    "aiter_bytes": "iter_bytes",
    "aiter_lines": "iter_lines",
    "aread": "read",
    **{
        f"Async{name}": name
        for name in (
            *("CalibrationSets", "Client", "Jobs", "Keys", "Models", "Retrying", "Texts"),
            *("Transport", "Webhooks"),
        )
    },
}
FIRST = '"""The client, written once: asynchronous; `_sync` is generated from it."""'
NOTE = '"""Generated from `_async` by `python -m tests.slimgpt.client.synchronous`."""'


def generate(folder: Path) -> dict[str, str]:
    """The synchronous files by name, by way of a folder."""
    source, target = folder / "_async", folder / "_sync"
    source.mkdir(parents=True)
    target.mkdir()
    for file in (CLIENT / "_async").glob("*.py"):
        text = file.read_text(encoding="utf-8").replace("`AsyncJobs", "`Jobs")
        (source / file.name).write_text(text.replace(FIRST, NOTE), encoding="utf-8")
    rule = Rule(f"{folder}/_async", f"{folder}/_sync", NAMES)
    unasync_files([str(file) for file in source.glob("*.py")], [rule])
    return {file.name: _formatted(file) for file in sorted(target.glob("*.py"))}


def _formatted(file: Path) -> str:
    """A file as the project's ruff writes it at its place."""
    text = file.read_text(encoding="utf-8")
    name = ["--quiet", "--stdin-filename", f"slimgpt/client/_sync/{file.name}", "-"]
    for command in (["check", "--fix"], ["format"]):
        ruff = [sys.executable, "-m", "ruff", *command, *name]
        text = subprocess.run(
            ruff, input=text, check=True, capture_output=True, text=True, cwd=ROOT
        ).stdout
    return text


def main() -> None:
    """Write the files."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        made = generate(Path(folder))
    for name, text in made.items():
        (CLIENT / "_sync" / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""Every command of the start page and of the how-tos runs as it stands, or says why not.

A page is one shell script: its blocks of `sh` and `python` in order, in a folder that has
`examples` and `.venv` as a checkout has. `slimgpt up` runs beside the blocks that follow it, on a
free port. The start page runs as users run it; on the others, commands and engines are forks.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import psutil
import pytest

from tests.fork_server import ForkServer
from tests.servers import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PAGES = [DOCS / "getting-started.md", *sorted((DOCS / "how-to").glob("*.md"))]
START = "getting-started"
NOTHING_RUNS = {"scale-out"}  # it needs several machines
AFTER = {"serve": DOCS / "how-to" / "read-a-report.md"}  # which reads what the first has made
RUN = [page for page in PAGES if page.stem not in NOTHING_RUNS and page not in AFTER.values()]
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
BLOCK = re.compile(r"^(?:<!-- (.+?) -->\n)?```(\w+)\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
BACKGROUND = "runs in the background"
NOT_RUN = "not run: "
OPENING = """set -euo pipefail
service=""
leave() { if [ -n "$service" ]; then kill "$service"; wait "$service" || true; service=""; fi; }
trap leave EXIT
"""
READY = """
until curl -sf -o /dev/null "$SLIMGPT_URL/readyz"; do kill -0 "$service"; sleep 0.5; done
"""


def script(page: Path) -> str:
    """The page's blocks as one script, and those of the page that goes on where it ends."""
    return OPENING + blocks(page) + (blocks(AFTER[page.stem]) if page.stem in AFTER else "")


def blocks(page: Path) -> str:
    """What runs of a page."""
    text = ""
    for note, language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language not in ("sh", "python") or note.startswith(NOT_RUN):
            continue
        assert note in ("", BACKGROUND), f"{page.name}: what does {note!r} mean?"
        if note == BACKGROUND:
            *before, last = block.replace("\\\n", " ").splitlines()
            start = f"leave\nset -m; {last} & service=$!; set +m"
            text += "\n".join([*before, start]) + READY
        elif language == "python":
            text += f"python - <<'THE-END'\n{block}\nTHE-END\n"
        else:
            text += block + "\n"
    return text


def forks(folder: Path, server: ForkServer) -> dict[str, str]:
    """Environment in which `slimgpt` is a fork, and so is the engine of `slimgpt up`."""
    program, command = Path(sys.executable).with_name("slimgpt"), server.command("cli.main")
    (folder / "slimgpt").write_text(
        f'#!/bin/sh\n[ "$1" = up ] && exec {program} "$@"\nexec {shlex.join(command)} "$@"\n'
    )
    (folder / "slimgpt").chmod(0o755)
    return {"PATH": f"{folder}:{PATH}", **server.engine()}


@pytest.mark.timeout(900)  # real jobs, the loading of torch in a dozen processes, on a busy machine
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(
    page: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer
) -> None:
    text = script(page)
    assert text != OPENING, "no command of the page was found"
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    port = str(free_port())
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    text = text.replace("slimgpt up", f"slimgpt up --port {port}")
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLIMGPT_")}
    env |= {
        "PATH": PATH,
        "SLIMGPT_URL": f"http://127.0.0.1:{port}",
        "SLIMGPT_HOME": str(tmp_path / "home"),
        "SLIMGPT_DEVICE": "cpu",
        "HF_HUB_OFFLINE": "1",
    }
    if page.stem != START:
        env |= forks(tmp_path_factory.mktemp("bin"), fork_server)
    log = tmp_path / "log"
    with log.open("wb") as output:
        shell = psutil.Popen(
            ["bash", "-c", text], cwd=tmp_path, env=env, stdout=output, stderr=output
        )
    try:
        status = shell.wait()
    finally:  # a test that is aborted leaves no service behind
        for process in [shell, *shell.children(recursive=True)] if shell.is_running() else []:
            process.terminate()
    assert status == 0, f"{text}\n{log.read_text(encoding='utf-8')[-5000:]}"


def test_blocks_that_do_not_run_are_few_and_say_why() -> None:
    notes = [note for page in PAGES for note, *_ in BLOCK.findall(page.read_text(encoding="utf-8"))]
    skipped = [note.removeprefix(NOT_RUN) for note in notes if note.startswith(NOT_RUN)]
    assert all(len(why) > 8 for why in skipped)
    assert len(skipped) < len(notes) / 2


def test_the_first_commands_of_the_readme_are_those_of_the_start_page() -> None:
    start = (DOCS / "getting-started.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [block for _, language, block in BLOCK.findall(readme) if language == "sh"]
    (first,) = [block for block in blocks if "slimgpt submit" in block]
    for command in ("ID=$(slimgpt submit", "slimgpt watch $ID", "slimgpt download $ID smaller"):
        assert command in first
        assert command in start
    submitted = first.split(")\n")[0]
    assert submitted in start

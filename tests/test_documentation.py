"""What users are told exists, and what exists they are told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from cli.main import app
from jobs.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)]*)?\)")
FENCED = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def options() -> Iterator[tuple[str, str]]:
    """Every command of `slimgpt` with each of its options."""
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        for parameter in command.params:
            yield from ((name, option) for option in parameter.opts if option.startswith("--"))


def test_every_command_and_option_is_documented() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    missing = [f"{name} {option}" for name, option in options() if f"`{option}" not in text]
    # The client's options stand in running text, within a command.
    missing = [entry for entry in missing if not re.search(rf"{entry.split()[1]}\b", text)]
    assert missing == []
    assert [name for name, _ in options() if f"slimgpt {name}" not in text] == []


def test_every_setting_is_documented() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    wanted = [f"SLIMGPT_{name.upper()}" for name in Settings.model_fields]
    assert [name for name in wanted if name not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    targets = [target for target, _ in LINK.findall(text) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_decision_says_what_was_decided_and_what_follows() -> None:
    for page in (ROOT / "docs" / "decisions").glob("*.md"):
        headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert {"Context", "Decision"} <= set(headings), page.name


QUALITY_ROW = re.compile(
    r"^\| (\S+) \| (\d+)% \| ([\d.]+) \| \*\*([\d.]+)\*\* \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$",
    re.MULTILINE,
)


def test_the_readme_says_what_was_measured() -> None:
    rows = QUALITY_ROW.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert rows
    for model, percent, dense, *pruned in rows:
        file = ROOT / "benchmarks" / "results" / f"quality-{model}.json"
        measured = json.loads(file.read_text(encoding="utf-8"))["rows"]
        of_ratio = {r["method"]: r for r in measured if r["ratio"] == int(percent) / 100}
        methods = ("slimgpt", "wanda-sp", "flap", "magnitude")
        assert dense == f"{of_ratio['slimgpt']['dense']:.4g}"
        assert pruned == [f"{of_ratio[method]['pruned']:.4g}" for method in methods]

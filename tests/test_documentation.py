"""What users are told exists, and what exists they are told."""

from __future__ import annotations

import ast
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
PRESENT = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which names what was
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)]*)?\)")
ANCHOR = re.compile(r"\[[^\]]*\]\((#[^)]+)\)")
FENCED = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
TOP = "slimgpt|jobs|api|worker|cli|migrations|examples|benchmarks|tests|deploy|docs"
PATH = re.compile(rf"(?:{TOP})(?:/[\w.-]+)+/?|(?:{TOP})/")
MODULE = re.compile(r"(?:slimgpt|jobs|api|worker|cli|tests|benchmarks)(?:\.\w+)+")
PLACEHOLDER = re.compile(r"[A-Z]{2,}")
OTHER_NAMES = {
    *("slimgpt.db", "slimgpt.dump", "slimgpt.env"),  # files of an installation
    *("slimgpt.key", "slimgpt.not_finite"),  # tags in MLflow
    "deploy/slimgpt-api",  # a Deployment, as kubectl names it
    "api/manual.zip",  # built
}
SYMBOL = re.compile(r"`([\w/]+\.py)`: `([\w.]+)`")


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
    targets = [(target, anchor) for target, anchor in LINK.findall(text) if "://" not in target]
    assert [target for target, _ in targets if not (page.parent / target).exists()] == []
    within = [(page.name, anchor) for anchor in ANCHOR.findall(text)]
    anchored = [(page.parent / target, anchor[1:]) for target, anchor in targets + within if anchor]
    assert [f"{to.name}#{anchor}" for to, anchor in anchored if anchor not in anchors(to)] == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them; of a module, what it defines."""
    if page.suffix == ".py":  # the manual has an anchor for each
        return set(re.findall(r"^(?:def|class) (\w+)", page.read_text(encoding="utf-8"), re.M))
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def words(page: Path) -> set[str]:
    """Every word of a page's code, inline and in blocks."""
    code = FENCED.findall(page.read_text(encoding="utf-8"))
    return {word for part in code for word in re.split(r"[\s`'\"(),;]+", part)}


def defined(file: Path, name: str) -> bool:
    """Whether a file defines a function, a class, or a class's method (`Class.method`)."""
    body: list[ast.stmt] = ast.parse(file.read_text(encoding="utf-8")).body
    for part in name.split("."):
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        found = [node for node in body if isinstance(node, kinds) and node.name == part]
        if not found:
            return False
        body = found[0].body
    return True


def module_exists(dotted: str) -> bool:
    """Whether `package.module` is there, or `package.module.Name` is defined in it."""
    parts = dotted.split(".")
    if ROOT.joinpath(*parts).is_dir() or ROOT.joinpath(*parts).with_suffix(".py").exists():
        return True
    files = (ROOT.joinpath(*parts[:count]).with_suffix(".py") for count in range(len(parts)))
    return any(file.exists() and parts[-1] in file.read_text(encoding="utf-8") for file in files)


@pytest.mark.parametrize("page", PRESENT, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_and_modules_are_in_the_tree(page: Path) -> None:
    named = {word for word in words(page) - OTHER_NAMES if not PLACEHOLDER.search(word)}
    paths = [word for word in named if PATH.fullmatch(word)]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    modules = [word for word in named if MODULE.fullmatch(word)]
    assert [module for module in modules if not module_exists(module)] == []


def test_the_path_of_a_job_names_what_is_there() -> None:
    """DEVELOPERS.md: each step with its file and function."""
    text = (ROOT / "DEVELOPERS.md").read_text(encoding="utf-8")
    steps = SYMBOL.findall(text)
    assert len(steps) >= 12
    assert [f"{file}: {name}" for file, name in steps if not defined(ROOT / file, name)] == []


def test_every_folder_of_the_product_is_in_the_layout() -> None:
    text = (ROOT / "DEVELOPERS.md").read_text(encoding="utf-8")
    folders = {
        str(file.parent.relative_to(ROOT)) + "/"
        for package in ("slimgpt", "jobs", "api", "worker", "cli")
        for file in (ROOT / package).rglob("__init__.py")
    }
    shown = {folder for folder in folders if "/output/modeling/" not in folder}
    assert sorted(folder for folder in shown if f"`{folder}`" not in text) == []


def test_every_decision_says_what_was_decided_and_what_follows() -> None:
    for page in (ROOT / "docs" / "decisions").glob("*.md"):
        headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert {"Context", "Decision"} <= set(headings), page.name


QUALITY_ROW = re.compile(
    r"^\| (\S+) \| (\d+)% \| ([\d.]+) \| \*\*([\d.]+)\*\* \|" + r" ([\d.]+) \|" * 4 + "$",
    re.MULTILINE,
)


METHOD_ROW = re.compile(
    r"^\| \**([a-z-]+)\** \| \**([\d.e+]+)\** \| \**([\d.e+]+)\** \| ([\d.]*)%? \|$", re.MULTILINE
)


def test_the_readme_says_what_was_measured_on_a_real_model() -> None:
    said = METHOD_ROW.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    file = ROOT / "benchmarks" / "results" / "quality-smollm2.json"
    measured = [
        row
        for row in json.loads(file.read_text(encoding="utf-8"))["rows"]
        if row["ratio"] in (0, 0.2) and row["samples"] in (0, 128) and row["seed"] == 0
    ]
    assert {tuple(row) for row in said} == {
        (
            row["method"],
            *(f"{row['perplexity'][text]:.4g}" for text in ("WikiText-2", "C4")),
            f"{100 * row['top1']['C4']:.1f}" if row["top1"] else "",
        )
        for row in measured
    }


def test_the_readme_says_what_was_measured() -> None:
    rows = QUALITY_ROW.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert rows
    for model, percent, dense, *pruned in rows:
        file = ROOT / "benchmarks" / "results" / f"quality-{model}.json"
        measured = json.loads(file.read_text(encoding="utf-8"))["rows"]
        found = {
            (row["method"], row["ratio"]): f"{next(iter(row['perplexity'].values())):.4g}"
            for row in measured
        }
        methods = ("measured", "paper", "wanda-sp", "flap", "magnitude")
        assert dense == found["dense", 0.0]
        assert pruned == [found[method, int(percent) / 100] for method in methods]


CHOICE_ROW = re.compile(r"^\| (\d+)% \|" + r" ([\d.]+) \|" * 7 + "$", re.MULTILINE)
RECOVERY_ROW = re.compile(r"^\| (\d+)% \|" + r" ([\d.]+) \|" * 4 + r" \d+% \|$", re.MULTILINE)


def test_the_how_to_says_what_was_measured() -> None:
    page = (ROOT / "docs" / "how-to" / "choose.md").read_text(encoding="utf-8")
    results = ROOT / "benchmarks" / "results"
    measured = json.loads((results / "quality-model.json").read_text(encoding="utf-8"))["rows"]
    found = {(row["method"], row["ratio"]): row for row in measured}
    rows = CHOICE_ROW.findall(page)
    assert len(rows) == 3
    for percent, *shown in rows:
        ratio, wanted = int(percent) / 100, []
        for method in ("measured", "paper", "flap", "wanda-sp", "magnitude"):
            row = found[method, ratio]
            wanted.append(f"{next(iter(row['perplexity'].values())):.4g}")
            if method in ("measured", "paper"):
                wanted.append(f"{next(iter(row['top1'].values())):.2f}")
        assert shown == wanted

    recovered = (results / "recovery-model.md").read_text(encoding="utf-8")
    rows = RECOVERY_ROW.findall(page)
    assert len(rows) == 3
    for percent, dense, pruned, lora, distilled in rows:
        for method, value in (("lora", lora), ("distillation", distilled)):
            start = f"| {int(percent) / 100:g} | {method} | {dense} | {pruned} | {float(value):g} |"
            assert start in recovered

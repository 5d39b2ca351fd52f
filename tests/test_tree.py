"""The shape of the tree: rules that no linter knows."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    *("slimgpt", "jobs", "api", "worker", "cli", "migrations"),
    *("manual", "examples", "benchmarks"),
)
HEAPS = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "lib"}
LONGEST_FILE = 300
LONGEST_FUNCTION = 50
MOST_FILES = 12
PRODUCT = {
    "slimgpt": {"__main__", "errors", "events", "pipeline"},
    "api": {
        *("app", "auth", "dashboard", "dependencies", "manual"),
        *("openapi", "probes", "services"),
    },
    "jobs": {
        *("cursors", "environment", "pepper"),
        *("request_id", "settings", "states"),
    },
    "worker": {"__main__", "app", "metrics", "shutdown"},
    "cli": {"main"},
}
"""Each package with the files at its root; everything else has a folder."""
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _body(path: Path) -> list[ast.stmt]:
    return _tree(path).body


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_no_file_is_a_heap() -> None:
    heaps = [path for path in SOURCES if {path.stem, *path.relative_to(ROOT).parts[:-1]} & HEAPS]
    assert names(heaps) == []


def test_no_file_is_long() -> None:
    long = [p for p in SOURCES if len(p.read_text(encoding="utf-8").splitlines()) > LONGEST_FILE]
    assert names(long) == []


def test_no_folder_is_crowded() -> None:
    crowded = []
    for package in PRODUCT:
        for folder in [ROOT / package, *(ROOT / package).rglob("*/")]:
            files = [path.name for path in folder.iterdir() if path.is_file()]
            shown = [name for name in files if name != "__init__.py" and not name.endswith(".pyc")]
            if len(shown) > MOST_FILES:
                crowded.append(f"{folder.relative_to(ROOT)}: {len(shown)} files")
    assert crowded == []


def test_no_file_lies_loose_at_the_root_of_a_package() -> None:
    for package, files in PRODUCT.items():
        loose = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__"}
        assert loose <= files, package


def test_every_module_says_what_it_is() -> None:
    silent = [path for path in SOURCES if _body(path) and not ast.get_docstring(_tree(path))]
    assert names([path for path in silent if "versions" not in path.parts]) == []


def test_no_function_is_long() -> None:
    long = []
    for path in SOURCES:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long.append(f"{path.relative_to(ROOT)}: {node.name} ({lines} lines)")
    assert [entry for entry in long if not entry.startswith("migrations/versions/")] == []


def test_every_package_of_tests_mirrors_a_package() -> None:
    mirrors = {path.name for path in (ROOT / "tests").iterdir() if (path / "__init__.py").exists()}
    assert mirrors <= {*PACKAGES, "compatibility", "deploy", "end_to_end", "faults", "monitoring"}

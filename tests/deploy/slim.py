"""A virtual environment of one group of `pyproject.toml` and what it requires: of `service`, as in
the API's image, or of `client`.

Its packages are links into the environment of the tests, so that nothing is downloaded; what the
group does not require can't be imported in it, torch above all.
"""

from __future__ import annotations

import sysconfig
import tomllib
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.compose import ROOT


def project() -> dict[str, list[Requirement]]:
    """The project's `dependencies`, and its groups."""
    read = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lists = {"dependencies": read["project"]["dependencies"], **read["dependency-groups"]}
    return {name: [Requirement(line) for line in lines] for name, lines in lists.items()}


def required(wanted: list[Requirement]) -> dict[str, Distribution]:
    """All distributions that these requirements need, by name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    queue = [(requirement, extra) for requirement in wanted for extra in _extras(requirement)]
    while queue:
        requirement, extra = queue.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found[name] = distribution(name)
        for line in found[name].requires or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                queue += [(needed, further) for further in _extras(needed)]
    return found


def _extras(requirement: Requirement) -> list[str]:
    return ["", *requirement.extras]


def make(folder: Path, *groups: str) -> Path:
    """Make the environment. Returns its Python.

    Args:
        groups: what it holds; `service` unless others are named.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    wanted = [line for group in groups or ("service",) for line in project()[group]]
    for found in [*required(wanted).values(), distribution("slimgpt-service")]:
        for top in {file.parts[0] for file in found.files or [] if len(file.parts) > 0}:
            source = Path(str(found.locate_file(top)))
            ours = top not in ("..", "__pycache__") and not top.endswith(".pth")
            if ours and source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)
    (site / "project.pth").write_text(f"{ROOT}\n", encoding="utf-8")
    return folder / "bin" / "python"

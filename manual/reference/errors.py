"""The page of error codes: problems of the API, failures of jobs, exit codes of the command."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from api.http.problem_kinds import KINDS
from manual.markdown import table
from slimgpt import errors

HEAD = """# Errors

Every error has a code for programs, says what is wrong and where, and what to do. Codes are stable;
new ones may be added.

## Problems of the API

Every error of the API is a [problem document](https://www.rfc-editor.org/rfc/rfc9457) (RFC 9457).
Its `type` is `/problems/KIND`, and `GET /problems/KIND` answers with what stands here.

"""
JOBS = """
## Failures of jobs

A failed job has `error.code`, `error.message` and `error.hint`; the command line prints the same.
The causes are the messages as the code has them, with … for what differs between jobs.

"""
OUTSIDE = {
    "calibration-set-damaged": "The uploaded text is no longer what was uploaded.",
    "calibration-set-gone": "The uploaded text has been deleted.",
    "calibration-set-unavailable": "The uploaded text cannot be read from the artifact store.",
    "engine-crashed": "The engine process ended by a signal or an exception that is a defect.",
    "engine-hung": "The engine sent no event for too long and was stopped.",
    "engine-killed": "The system killed the engine, twice in one layer: most often for its memory.",
    "engine-protocol": "The engine ended without a result, or wrote what is no event.",
    "publish-failed": "The finished files could not be uploaded to the artifact store.",
    "spec-not-understood": "The job has a field that the worker's release does not know.",
    "time-limit": "An attempt took longer than `SLIMGPT_JOB_TIME_LIMIT_SECONDS`.",
    "worker-error": "The worker itself failed while it ran the job: a defect.",
    "worker-lost": "The job's workers fell silent in every attempt.",
}
"""Codes that come from outside the engine, which has a docstring for each of its own."""
EXITS = """
## Exit status of the command

| status | meaning |
|---|---|
| 0 | success |
| 1 | refused or failed: the last line says why |
| 2 | the command line is wrong |
| 130 | interrupted by Ctrl-C |
"""


@dataclass(frozen=True)
class Cause:
    """One place that raises a code."""

    code: str
    message: str
    hint: str


def page(root: Path) -> str:
    """The page, in Markdown.

    Args:
        root: of the repository.
    """
    kinds = "\n".join(
        f"### `{name}` {{ #{name} }}\n\n"
        f"HTTP {kind.status}: {kind.title}. *What to do:* {kind.remedy}\n"
        for name, kind in KINDS.items()
    )
    found = list(causes(root))
    failures = "\n".join(_failure(name, said, found) for name, said in failure_codes().items())
    return HEAD + kinds + JOBS + failures + EXITS


def failure_codes() -> dict[str, str]:
    """Codes of failed jobs, with what they mean."""
    classes = [value for value in vars(errors).values() if inspect.isclass(value)]
    said = {found.code: inspect.getdoc(found) or "" for found in classes if hasattr(found, "code")}
    said[errors.SlimGPTError.code] = "An expected failure of the engine without a code of its own."
    return said | OUTSIDE


def _failure(name: str, said: str, found: list[Cause]) -> str:
    rows = dict.fromkeys((one.message, one.hint) for one in found if one.code == name)
    text = f"### `{name}` {{ #{name} }}\n\n{said.splitlines()[0] if said else ''}\n\n"
    return text + table(("message", "what to do"), sorted(rows))


def causes(root: Path) -> Iterator[Cause]:
    """Every place that raises an error with a code."""
    codes = {
        name: value.code
        for name, value in vars(errors).items()
        if inspect.isclass(value) and hasattr(value, "code")
    }
    for package in ("slimgpt", "worker", "jobs"):
        for path in sorted((root / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            texts = _Texts(tree)
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    yield from _cause(node, codes, texts)


def _cause(call: ast.Call, codes: dict[str, str], texts: _Texts) -> Iterator[Cause]:
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    arguments = [texts.of(argument) for argument in call.args]
    hints = [texts.of(word.value) for word in call.keywords if word.arg == "hint"]
    if name in codes and arguments:
        yield from _said(Cause(codes[name], arguments[0], [*hints, ""][0]))
    elif name == "Failure" and len(arguments) == 3:
        yield from _said(Cause(*arguments))


def _said(cause: Cause) -> Iterator[Cause]:
    """The cause, unless all that it says is only known when it is said."""
    if (cause.message + cause.hint).strip("… ") and cause.code.strip("… "):
        yield cause


class _Texts:
    """Reads text out of expressions: literals, f-strings, sums, names of the same file."""

    def __init__(self, tree: ast.Module) -> None:
        self._named: dict[str, ast.expr] = {}
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else []
            if isinstance(node, ast.AnnAssign):
                targets = [node.target]
            for target in targets:
                value = getattr(node, "value", None)
                if isinstance(target, ast.Name) and value is not None:
                    self._named.setdefault(target.id, value)

    def of(self, node: ast.expr, depth: int = 0) -> str:
        """The text, with … for what is only known when it is said."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.JoinedStr):
            return "".join(self.of(part, depth) for part in node.values)
        if isinstance(node, ast.BinOp):
            return self.of(node.left, depth) + self.of(node.right, depth)
        if isinstance(node, ast.IfExp):
            return self.of(node.body, depth)
        return self._looked_up(node, depth)

    def _looked_up(self, node: ast.expr, depth: int) -> str:
        """A name's text; of a dictionary that an index chooses from, all."""
        if isinstance(node, ast.FormattedValue):
            constant = isinstance(node.value, ast.Name) and node.value.id.isupper()
            return self.of(node.value, depth) if constant else "…"
        if isinstance(node, ast.Subscript):
            return self.of(node.value, depth)
        if isinstance(node, ast.Dict):
            return "; or: ".join(self.of(value, depth) for value in node.values)
        if isinstance(node, ast.Name) and node.id in self._named and depth < 4:
            return self.of(self._named[node.id], depth + 1)
        return "…"

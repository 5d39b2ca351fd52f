"""Local names lead below their roots, or nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.checks.sources import inside, missing_sources
from slimgpt.spec.prune import PruneSpec


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    models, texts, outside = (tmp_path / name for name in ("models", "texts", "outside"))
    for folder in (models / "tiny", models / "bare", texts / "sub", outside / "secret"):
        folder.mkdir(parents=True)
    (models / "tiny" / "config.json").write_text("{}")
    (outside / "secret" / "config.json").write_text("{}")
    (texts / "sub" / "notes.txt").write_text("text")
    (texts / "empty.txt").touch()
    (outside / "passwd").write_text("root")
    (models / "alias").symlink_to("tiny")
    (models / "escape").symlink_to(outside / "secret")
    (texts / "escape.txt").symlink_to(outside / "passwd")
    (texts / "loop").symlink_to("loop")
    return models, texts


def faults(roots: tuple[Path, Path], model: str, text: str = "c4") -> dict[str, str]:
    spec = PruneSpec.model_validate({"model": model, "ratio": 0.2, "calibration": {"source": text}})
    return {fault.pointer: fault.message for fault in missing_sources(spec, *roots)}


@pytest.mark.parametrize("model", ["local:tiny", "local:alias", "org/name", "org/name@main"])
def test_models_that_are_there_or_not_ours_to_judge(roots: tuple[Path, Path], model: str) -> None:
    assert faults(roots, model) == {}


@pytest.mark.parametrize("model", ["local:none", "local:escape", "local:tiny/config.json",
                                   "local:" + "x" * 250, "local:."])  # fmt: skip
def test_models_that_are_not_below_the_root(roots: tuple[Path, Path], model: str) -> None:
    assert "no model folder" in faults(roots, model)["/model"]


@pytest.mark.parametrize(("teacher", "words"), [("local:none", "no model folder 'none'"),
                                                ("local:bare", "no config.json"),
                                                ("local:alias", ""), ("org/name", "")])  # fmt: skip
def test_a_teacher_is_looked_for_as_the_model_is(
    roots: tuple[Path, Path], teacher: str, words: str
) -> None:
    recovery = {"source": "alpaca", "method": "distillation", "teacher": teacher}
    fields = {"model": "local:tiny", "ratio": 0.2, "recovery": recovery}
    found = missing_sources(PruneSpec.model_validate(fields), *roots)
    assert [fault.pointer for fault in found] == (["/recovery/teacher"] if words else [])
    assert all(words in fault.message for fault in found)


@pytest.mark.parametrize(
    ("made", "asked", "words"),
    [
        ([], "tiny.txt", ", which has none"),
        (["stories.txt", "de/small.txt"], "sotries.txt", "; did you mean `local:stories.txt`?"),
        (["b.txt", "de/a.txt"], "stories", "; there are `local:b.txt`, `local:de/a.txt`"),
        (
            ["1.md", "2.md", "3.md", "4.md", "5.md", "6.md", "7.md"],
            "other",
            "; there are `local:1.md`, `local:2.md`, `local:3.md`, `local:4.md`, `local:5.md` "
            "and 2 more",
        ),
    ],
)
def test_a_wrong_name_is_answered_with_those_that_there_are(
    tmp_path: Path, made: list[str], asked: str, words: str
) -> None:
    """Of models, here folders that are called as the texts are, and of texts."""
    models, texts = tmp_path / "models", tmp_path / "texts"
    for root in (models, texts):
        root.mkdir()
    for name in made:
        (models / name).mkdir(parents=True)
        (models / name / "config.json").write_text("{}")
        (texts / name).parent.mkdir(exist_ok=True)
        (texts / name).write_text("text")
    assert faults((models, texts), f"local:{asked}", f"local:{asked}") == {
        "/model": f"there is no model folder {asked!r} below the models root{words}",
        "/calibration/source": f"there is no text file {asked!r} below the texts root{words}",
    }


def test_a_folder_that_is_no_model(roots: tuple[Path, Path]) -> None:
    assert "config.json" in faults(roots, "local:bare")["/model"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("local:sub/notes.txt", ""),
        ("hf:org/set", ""),
        ("local:none.txt", "no text file"),
        ("local:escape.txt", "no text file"),
        ("local:loop", "no text file"),
        ("local:sub", "no text file"),
        ("local:empty.txt", "empty"),
    ],
)
def test_texts(roots: tuple[Path, Path], text: str, words: str) -> None:
    message = faults(roots, "local:tiny", text).get("/calibration/source", "")
    assert words in message
    assert bool(words) == bool(message)


def test_where_the_root_is_not_here_the_engine_decides(roots: tuple[Path, Path]) -> None:
    elsewhere = roots[0] / "not-mounted"
    assert faults((elsewhere, elsewhere), "local:none", "local:none.txt") == {}


@pytest.mark.parametrize("name", ["..", "../outside", "/etc/passwd", "tiny/../..", ""])
def test_nothing_above_the_root_is_inside(roots: tuple[Path, Path], name: str) -> None:
    assert inside(roots[0], name) is None


@pytest.mark.parametrize(("folder", "there"), [("sub", True), ("none", False), ("empty.txt", False),
                                               ("loop", False)])  # fmt: skip
def test_folders_of_tasks_are_looked_for(
    roots: tuple[Path, Path], folder: str, there: bool
) -> None:
    evaluation = {"tasks": ["piqa"], "tasks_source": f"local:{folder}"}
    fields = {"model": "local:tiny", "ratio": 0.2, "evaluation": evaluation}
    found = missing_sources(PruneSpec.model_validate(fields), *roots)
    pointers = [] if there else ["/evaluation/tasks_source"]
    assert [fault.pointer for fault in found] == pointers


def test_files_of_tasks_are_looked_for(roots: tuple[Path, Path]) -> None:
    task = {"name": "piqa", "source": "local:none.jsonl"}
    fields = {"model": "local:tiny", "ratio": 0.2, "evaluation": {"tasks": ["boolq", task]}}
    (fault,) = missing_sources(PruneSpec.model_validate(fields), *roots)
    assert fault.pointer == "/evaluation/tasks/1/source"

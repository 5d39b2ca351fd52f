"""Checks at `POST /jobs` that the named local models, texts and uploads exist.

A job that cannot start should be refused at once instead of failing in the queue; a wrong name is
answered with those that are near. The checks use no network and read no content; the engine
resolves hub names. Without the root folder on the API's machine (models are on the workers'
machines), only the engine checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from api.checks import listing
from api.http.validation import FieldError
from jobs.files.calibration_sets import CalibrationSets, named_in
from slimgpt.spec.prune import PruneSpec

LOCAL = "local:"
NAMED = 5
"""Most names that a refusal offers."""


def inside(root: Path, name: str) -> Path | None:
    """The path of `name` below `root`, links resolved; None if it does not exist or leaves `root`.

    Args:
        root: an existing folder.
        name: an untrusted relative path.
    """
    try:
        real_root = root.resolve(strict=True)
        path = (real_root / name).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):  # missing, too long, a loop of links
        return None
    return path if path.is_relative_to(real_root) and path != real_root else None


def missing_sources(spec: PruneSpec, models_root: Path, texts_root: Path) -> list[FieldError]:
    """Errors for local models, teachers, texts and folders that do not exist.

    Args:
        spec: the job's specification.
        models_root: folder of `local:NAME` models.
        texts_root: folder of `local:FILE` texts.
    """
    faults = []
    for place, model in models_of(spec).items() if models_root.is_dir() else ():
        if fault := _model_fault(models_root, model):
            faults.append(FieldError(pointer=place, message=fault))
    if not texts_root.is_dir():
        return faults
    for place, source in spec.text_sources.items():
        if fault := _text_fault(texts_root, source):
            faults.append(FieldError(pointer=place, message=fault))
    for place, source in spec.text_folders.items():
        name = source.removeprefix(LOCAL)
        path = inside(texts_root, name)
        if path is None or not path.is_dir():
            message = f"there is no folder {name!r} below the texts root"
            faults.append(FieldError(pointer=place, message=message))
    return faults


def models_of(spec: PruneSpec) -> dict[str, str]:
    """The name of every model that the job reads, by JSON pointer."""
    teacher = None if spec.recovery is None else spec.recovery.teacher
    return {"/model": spec.model} | ({} if teacher is None else {"/recovery/teacher": teacher})


def missing_uploads(spec: PruneSpec, sets: CalibrationSets, owner: str | None) -> list[FieldError]:
    """Errors for uploads that do not exist for this owner.

    Args:
        owner: required owner; None: any.
    """
    named = named_in(spec)
    missing = sets.missing(named.values(), owner)
    return [
        FieldError(pointer=place, message=f"there is no calibration set {set_id!r}")
        for place, set_id in named.items()
        if set_id in missing
    ]


def _model_fault(root: Path, model: str) -> str:
    if not model.startswith(LOCAL):
        return ""
    name = model.removeprefix(LOCAL)
    path = inside(root, name)
    if path is None or not path.is_dir():
        there = _instead(name, listing.models(root).models)
        return f"there is no model folder {name!r} below the models root{there}"
    if not (path / "config.json").is_file():
        return f"the folder {name!r} below the models root has no config.json"
    return ""


def _text_fault(root: Path, source: str) -> str:
    if not source.startswith(LOCAL):
        return ""
    name = source.removeprefix(LOCAL)
    path = inside(root, name)
    if path is None or not path.is_file():
        there = _instead(name, [text.name for text in listing.texts(root).texts])
        return f"there is no text file {name!r} below the texts root{there}"
    if path.stat().st_size == 0:
        return f"the text file {name!r} below the texts root is empty"
    return ""


def _instead(name: str, names: Sequence[str]) -> str:
    """What else could have been meant: the names near to it, else some of all."""
    if near := get_close_matches(name, names, NAMED):
        return f"; did you mean {', '.join(f'`{LOCAL}{one}`' for one in near)}?"
    if not names:
        return ", which has none"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"; there are {', '.join(f'`{LOCAL}{one}`' for one in names[:NAMED])}{more}"

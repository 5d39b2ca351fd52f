"""From the options of a command to the engine's specification and the folders it may read.

The engine's vocabulary names local things `local:NAME` below a root; people write paths. A path's
parent becomes the root.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import ValidationError

from slimgpt.errors import CalibrationError, ModelNotFoundError
from slimgpt.spec.prune import (
    DEFAULT_SHAPES,
    HELD_OUT,
    HUB_ID,
    NAMED_TEXTS,
    PruneSpec,
    ScheduleShape,
)
from slimgpt.texts.files.encoding import BadText, read_small

NO_TEXT = "none"
LOCAL = "local:"
SHAPES = tuple(shape for shape in get_args(ScheduleShape) if shape != "explicit")
DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
PARTS = ("schedule", "calibration", "evaluation", "recovery")
OPTIONS = {
    ("model",): "MODEL",
    ("ratios",): "--ratio",
    ("calibration", "source"): "--calibration",
    ("calibration", "sequence_length"): "--seq-len",
    ("calibration", "config"): "--calibration-config",
    ("calibration", "split"): "--calibration-split",
    ("evaluation", "texts"): "--eval-text",
    ("evaluation", "sequence_lengths"): "--eval-seq-len",
    ("evaluation", "tasks"): "--task",
    ("evaluation", "tasks_source"): "--task-source",
    ("schedule", "ratios"): "--schedule",
    ("schedule", "shape"): "--schedule",
    ("schedule",): "--schedule",
    ("recovery", "source"): "--recover",
    ("recovery", "method"): "--recover-method",
    ("recovery", "samples"): "--recover-samples",
    ("recovery", "sequence_length"): "--recover-seq-len",
    ("recovery", "rank"): "--lora-rank",
    ("formats",): "--format",
    ("gguf_type",): "--gguf-type",
    ("tensor_parallel",): "--tensor-parallel",
}


@dataclass(frozen=True)
class Place:
    """Where something lies: its name in the engine's vocabulary and the root of that name."""

    name: str
    root: Path


def model_place(model: str) -> Place:
    """What the user calls a model: a folder, or a hub id where no such folder exists.

    Raises:
        ModelNotFoundError: neither.
    """
    path = Path(model).expanduser()
    if model and path.is_dir():
        return _local(path)
    if HUB_ID.fullmatch(model) and not path.exists():
        return Place(model, Path.cwd())
    what = "is a file, not a folder" if path.is_file() else "does not exist"
    raise ModelNotFoundError(
        f"model {model} {what}",
        hint="name a folder with config.json and safetensors files, or a hub id such as org/name",
    )


def model_places(models: Sequence[str]) -> tuple[tuple[str, ...], Path]:
    """Names of models in the engine's vocabulary, and the one root that their folders share.

    Raises:
        ModelNotFoundError: as `model_place`.
    """
    places = [model_place(model) for model in models]
    local = [place for place in places if place.name.startswith(LOCAL)]
    root = Path(os.path.commonpath([place.root for place in local])) if local else Path.cwd()
    names = [
        f"{LOCAL}{(place.root / place.name.removeprefix(LOCAL)).relative_to(root).as_posix()}"
        if place in local
        else place.name
        for place in places
    ]
    return tuple(names), root


def text_places(texts: Sequence[str], folders: Sequence[str] = ()) -> tuple[tuple[str, ...], Path]:
    """Names of texts and then of folders in the engine's vocabulary, and the root that they share.

    Raises:
        CalibrationError: a file or a folder does not exist.
    """
    files = {text: _text_file(text) for text in texts if not _is_named(text)}
    files |= {folder: _text_folder(folder) for folder in folders}
    root = Path.cwd()
    if files:
        root = Path(os.path.commonpath([file.parent for file in files.values()]))
    names = [
        f"local:{files[text].relative_to(root).as_posix()}" if text in files else text
        for text in (*texts, *folders)
    ]
    return tuple(names), root


def schedule_fields(
    schedule: str | None, method: str, ends: Mapping[str, float | None]
) -> dict[str, Any] | None:
    """The schedule's part of a specification: a shape with its ends, or a file's ratios.

    Raises:
        typer.BadParameter: the file cannot be read or holds something else than numbers.
    """
    given = {name: value for name, value in ends.items() if value is not None}
    if schedule is None and not given:
        return None
    shape = schedule or DEFAULT_SHAPES[method]
    if shape not in SHAPES and Path(shape).is_file():
        return {"shape": "explicit", "ratios": ratios_of(Path(shape)), **given}
    if shape not in SHAPES:
        raise typer.BadParameter(
            f"{shape!r} is none of {', '.join(SHAPES)}, and there is no such file of ratios",
            param_hint="--schedule",
        )
    return {"shape": shape, **given}


def make_spec(fields: Mapping[str, Any]) -> PruneSpec:
    """The specification.

    Raises:
        typer.BadParameter: a value is out of range or contradicts another; names the option.
    """
    try:
        return PruneSpec.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = tuple(str(part) for part in first["loc"] if not isinstance(part, int))
        message = first["msg"].removeprefix("Value error, ")
        if isinstance(first["input"], str | int | float):
            message = f"{first['input']!r}: {message}"
        raise typer.BadParameter(message, param_hint=_option(place)) from None


def device_name(value: str) -> str:
    """A device that the engine knows by name.

    Raises:
        typer.BadParameter: it does not.
    """
    if not DEVICE.fullmatch(value):
        raise typer.BadParameter(
            f"{value!r} is none of auto, cpu, cuda, cuda:N", param_hint="--device"
        )
    return value


def _local(path: Path) -> Place:
    # Not resolved: a folder of links, as the hub's cache makes them, keeps the name it was given.
    absolute = Path(os.path.abspath(path))
    return Place(f"local:{absolute.name}", absolute.parent)


def _is_named(text: str) -> bool:
    return text in (*NAMED_TEXTS, HELD_OUT) or text.startswith("hf:")


def _text_file(text: str) -> Path:
    path = Path(os.path.abspath(Path(text).expanduser()))
    if not path.is_file():
        raise CalibrationError(
            f"text {text}: there is no such file",
            hint="name a file (JSON, CSV, Parquet or plain text), hf:NAME, or one of "
            f"{', '.join(NAMED_TEXTS)}",
        )
    return path


def _text_folder(folder: str) -> Path:
    path = Path(os.path.abspath(Path(folder).expanduser()))
    if not path.is_dir():
        raise CalibrationError(
            f"texts {folder}: there is no such folder",
            hint="name a folder of this machine as a path, such as ./zeroshot",
        )
    return path


def ratios_of(path: Path) -> list[float]:
    """The ratios that a file lists: as JSON, or one a line.

    Raises:
        typer.BadParameter: it cannot be read, or holds something else.
    """
    try:
        text = read_small(path).strip()
        values = json.loads(text) if text.startswith("[") else text.split()
        return [float(value) for value in values]
    except BadText as error:
        reason = str(error)
    except OSError as error:
        reason = f"the file cannot be read ({error.strerror})"
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error)
    raise typer.BadParameter(
        f"{path}: {reason}; write a JSON list of ratios, or one number a line",
        param_hint="--schedule",
    )


def _option(place: tuple[str, ...]) -> str:
    """The option that set a field of the specification."""
    if not place:
        return "options"
    # Below the fields come the parts of their types, which say nothing to a user.
    field = place[: 2 if place[0] in PARTS else 1]
    return OPTIONS.get(field, f"--{field[-1].replace('_', '-')}")

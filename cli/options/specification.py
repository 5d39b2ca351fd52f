"""Builds a `PruneSpec` and the root of its texts from command line options."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import ValidationError

from cli.options.groups import Loc
from cli.options.model_names import LOCAL
from slimgpt.errors import CalibrationError
from slimgpt.spec.prune import (
    HELD_OUT,
    NAMED_TEXTS,
    PruneSpec,
    ScheduleShape,
)
from slimgpt.texts.files.encoding import BadText, read_small

NO_TEXT = "none"
SHAPES = tuple(shape for shape in get_args(ScheduleShape) if shape != "explicit")
DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
FIELD = re.compile(r"`(\w+)`")


def locate_texts(texts: Sequence[str], folders: Sequence[str] = ()) -> tuple[dict[str, str], Path]:
    """Names of files and folders in the engine's vocabulary, and their common root.

    Raises:
        CalibrationError: a file or a folder does not exist.
    """
    files = {text: _text_file(text) for text in texts if not is_named(text)}
    files |= {folder: _text_folder(folder) for folder in folders}
    root = Path.cwd()
    if files:
        root = Path(os.path.commonpath([file.parent for file in files.values()]))
    names = {text: f"{LOCAL}{file.relative_to(root).as_posix()}" for text, file in files.items()}
    return names, root


def make_spec(fields: Mapping[str, Any], options: Mapping[Loc, str]) -> PruneSpec:
    """Validate the fields of a specification.

    Args:
        options: option names by the paths of their fields, for messages.

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
        known = {("model",): "MODEL", ("ratio",): "--ratio", **options}
        typed = FIELD.sub(lambda field: _first((*place, field[1]), known) or field[0], message)
        typed = typed.replace("--ratio, --ratio", "--ratio")  # one option, two fields
        raise typer.BadParameter(typed, param_hint=_option(place, known)) from None


def device_name(value: str) -> str:
    """Validate a device name; returns it.

    Raises:
        typer.BadParameter: it is invalid.
    """
    if not DEVICE.fullmatch(value):
        raise typer.BadParameter(
            f"{value!r} is none of auto, cpu, cuda, cuda:N", param_hint="--device"
        )
    return value


def is_named(text: str) -> bool:
    """Whether this is the name of a text; a file of the same name is given as `./c4`."""
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


def read_ratios(path: Path) -> list[float]:
    """The ratios of a file: a JSON list, or one per line.

    Raises:
        typer.BadParameter: it cannot be read, or contains something else.
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
        f"{path}: {reason}; write a JSON list of ratios, or one number per line",
        param_hint="--schedule",
    )


def _option(place: Loc, options: Mapping[Loc, str]) -> str | None:
    """The option that set a field of the specification; None for a part as a whole."""
    if any(known[: len(place)] == place != known for known in options):
        return None
    # Try shorter paths: an option of a part also stands for fields without an option.
    for end in range(len(place), 0, -1):
        if option := _first(place[:end], options):
            return option
    return f"--{place[-1].replace('_', '-')}"


def _first(place: Loc, options: Mapping[Loc, str]) -> str | None:
    """The option of a field, or the first of a part."""
    return next((name for known, name in options.items() if known[: len(place)] == place), None)

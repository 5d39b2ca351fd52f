"""Resolves a model name to a local folder of safetensors: hub snapshot at a commit, or `local:`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache

from slimgpt.errors import (
    HubUnreachableError,
    ModelNotFoundError,
    StorageError,
    UnsupportedModelError,
)
from slimgpt.sources import adapters, licence, tokenizer_files
from slimgpt.sources.hub_errors import HubRequest, TerminalBar, is_offline, mapped_errors
from slimgpt.sources.roots import PREFIX, Roots

COMMIT = re.compile(r"[0-9a-f]{40}")
INDEX = "model.safetensors.index.json"
# Further files to download: configuration and documentation, never code or pickles.
COMPANIONS = ("*.json", "README.md", "LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
ANSWER_SECONDS = 10.0  # huggingface_hub has no default time limit
INSTEAD = "name a local folder: a path on the command line, local:NAME in the service"
_NUMBERED = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx")


@dataclass(frozen=True)
class ResolvedModel:
    """A model on this machine.

    Attributes:
        folder: the checkpoint folder; in a hub cache its files are links to blobs.
        model: `org/name` or `local:NAME`.
        revision: the commit on the hub; None for a local folder.
        licence: see `licence.of_folder`; None if the model states none.
        bytes: size of all files that pruning needs.
    """

    folder: Path
    model: str
    revision: str | None
    licence: str | None
    bytes: int


def resolve_model(model: str, roots: Roots) -> ResolvedModel:
    """Find a model; download it to the hub's cache (HF_HUB_CACHE) if necessary.

    Args:
        model: `local:NAME`, `org/name` or `org/name@revision`.
        roots: folders of `local:` names.

    Raises:
        ModelNotFoundError: it does not exist, is private or gated, or has no such revision.
        UnsupportedModelError: it has no safetensors.
        HubUnreachableError: the hub does not answer.
        StorageError: the disk has too little space for it.
    """
    if model.startswith(PREFIX):
        folder = roots.model(model)
        if (folder / "snapshots").is_dir() and not (folder / "config.json").exists():
            raise ModelNotFoundError(
                f"model {model!r} is a repository folder of a hub cache, not a model folder",
                hint="name a folder below its `snapshots`, or use the model's hub name, org/name",
            )
        return _resolved(folder, model, None)
    repository, _, revision = model.partition("@")
    try:
        folder = _download(repository, revision or None)
    except HubUnreachableError:
        # The cache may be used for a commit, which never changes, and if HF_HUB_OFFLINE is set.
        if not (COMMIT.fullmatch(revision) or is_offline()):
            raise
        cached = cached_snapshot(model)
        if cached is None:
            raise
        folder = cached
    return _resolved(folder, repository, folder.name)


def _resolved(folder: Path, model: str, revision: str | None) -> ResolvedModel:
    found = (*folder.iterdir(), *folder.glob(f"{tokenizer_files.TEMPLATES}/*"))
    sizes = {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in found if path.is_file()
    }
    files = needed(sizes, model)
    return ResolvedModel(
        folder=folder,
        model=model,
        revision=revision,
        licence=licence.of_folder(folder),
        bytes=sum(sizes[name] for name in files),
    )


def needed(names: Collection[str], model: str) -> list[str]:
    """The files of a repository that pruning needs: weights, tokenizer, configuration.

    Further copies of the weights are excluded (`consolidated.safetensors`, files in folders such as
    `original/`, pickles).

    Raises:
        UnsupportedModelError: there are no safetensors in the layout of transformers, or there is
            an adapter.
    """
    top = sorted(name for name in names if "/" not in name)
    weights = [name for name in top if _NUMBERED.fullmatch(name)]
    if not weights and INDEX in top:
        weights = [name for name in top if name.endswith(".safetensors")]
    adapters.refuse(top, f"model {model!r}", weights)
    if not weights:
        others = [name for name in top if name.endswith((*_OTHER_WEIGHTS, ".safetensors"))]
        there = f"it has {', '.join(others[:4])}" if others else "it has no weights"
        raise UnsupportedModelError(
            f"model {model!r} has no model.safetensors or numbered shards: {there}",
            hint="choose a revision with safetensors, or convert the model with transformers' "
            "`save_pretrained`; pickled weights are not read, because they can run code",
        )
    others = [name for name in top if any(fnmatch(name, p) for p in COMPANIONS)]
    return [*weights, *dict.fromkeys([*others, *filter(tokenizer_files.is_one, sorted(names))])]


def _download(repository: str, revision: str | None) -> Path:
    named = f"{repository}@{revision}" if revision else repository
    with mapped_errors(HubRequest(f"model {named!r}", ModelNotFoundError, INSTEAD)):
        info = HfApi().model_info(
            repository, revision=revision, files_metadata=True, timeout=ANSWER_SECONDS
        )
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        files = needed(sizes, named)
        missing = {
            name: sizes[name]
            for name in files
            if not isinstance(try_to_load_from_cache(repository, name, revision=info.sha), str)
        }
        check_room(missing, Path(constants.HF_HUB_CACHE), f"model {named!r}")
        return Path(
            snapshot_download(
                repository,
                revision=info.sha,
                allow_patterns=files,
                tqdm_class=TerminalBar,
            )
        )


def cached_snapshot(model: str) -> Path | None:
    """The folder of a hub model in this machine's cache, complete or not; None if there is none."""
    repository, _, revision = model.partition("@")
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision or None,
                local_files_only=True,
                allow_patterns=["config.json"],
            )
        )
    except FileNotFoundError:
        return None


def check_room(sizes: Mapping[str, int], folder: Path, what: str) -> None:
    """Check that a download fits the disk, before it starts.

    Args:
        sizes: bytes of each file to download.
        folder: the target; it may not exist yet.
        what: the download's name for the message.

    Raises:
        StorageError: the disk has too little space.
    """
    wanted = sum(sizes.values())
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if wanted > free:
        raise StorageError(
            f"{what} needs {wanted / 2**30:.1f} GiB in the hub's cache, but only "
            f"{free / 2**30:.1f} GiB are free there",
            hint="free space, or set HF_HUB_CACHE to a folder on a larger disk",
        )

"""Documents of a hub data set: Parquet, JSON or CSV files, read through `datasets`.

Only the first files of a configuration and split are downloaded, because calibration needs
megabytes and some data sets have terabytes. Code in a repository is never run; other file formats
are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.hf_api import RepoFile

from slimgpt.errors import CalibrationError
from slimgpt.sources.hub_errors import HubRequest, mapped_errors
from slimgpt.sources.resolve import ANSWER_SECONDS, check_room
from slimgpt.texts.documents import FIELD_HINT, Documents, Parse, parsed_row
from slimgpt.texts.rows import field_of, text_of

T = TypeVar("T")
ENOUGH = 1 << 30  # bytes; files of a split are downloaded in order up to this total
FORMATS = {
    "parquet": "parquet",
    **dict.fromkeys(("json", "jsonl", "ndjson"), "json"),
    **dict.fromkeys(("csv", "tsv"), "csv"),
}
PACKED = (".gz", ".zst", ".xz", ".bz2")


@dataclass(frozen=True)
class HubText:
    """A part of a data set on the hub.

    Attributes:
        name: `org/name` on the hub.
        config: the configuration; None is the data set's default.
        splits: acceptable splits; the first that exists is used.
        files: paths in the repository; None looks them up on the hub.
    """

    name: str
    config: str | None = None
    splits: tuple[str, ...] = ("train",)
    files: tuple[str, ...] | None = None


def read(text: HubText, source: str, text_field: str | None) -> Documents[str]:
    """The rows of a data set as documents; see `parsed`."""
    return parsed(text, source, text_field, text_of)


def parsed(text: HubText, source: str, text_field: str | None, parse: Parse[T]) -> Documents[T]:
    """The rows of a data set, parsed by `parse` on access.

    Args:
        text: the part of the data set.
        source: the user's name for it, for messages and the report.
        text_field: field of the rows that contains the text; None detects it.
        parse: function of a row and the requested field.

    Raises:
        CalibrationError: no such data set, configuration, split or field; or another file format.
        HubUnreachableError: the hub does not answer.
        StorageError: the disk has too little space for the files.
    """
    if "/" not in text.name:  # `datasets` treats bare names as formats or local folders
        raise CalibrationError(
            f"{source}: {text.name!r} has no owner",
            hint="use hf:OWNER/NAME, as on the hub",
        )
    with mapped_errors(HubRequest(f"data set {text.name!r} ({source})", CalibrationError)):
        info = HfApi().dataset_info(text.name, expand=["sha", "gated"], timeout=ANSWER_SECONDS)
        if info.gated:  # files of gated data sets can be listed by all: check access first
            HfApi().auth_check(info.id, repo_type="dataset")
        name, commit = info.id, str(info.sha)
        split, files = _files(text, name, commit, source)
        part = _first(files, name, commit)
        paths = [hf_hub_download(name, path, repo_type="dataset", revision=commit) for path in part]
        rows = _rows(paths, _format(part[0], source), tabs=".tsv" in part[0].lower())
    try:
        field_of(rows.column_names, text_field)
    except ValueError as error:
        raise CalibrationError(f"{source}: {error}", hint=FIELD_HINT) from error
    chosen = ", ".join(filter(None, [text.config, split]))
    some = "" if len(part) == len(files) else f", {len(part)} of {len(files)} files"
    return Documents(
        len(rows),
        lambda index: parsed_row(parse, rows[index], text_field, f"{source}: row {index}"),
        f"{source}, {name}@{commit[:12]} ({chosen}{some}), {len(rows):,} documents",
    )


def _files(text: HubText, name: str, commit: str, source: str) -> tuple[str, Sequence[str]]:
    """The first existing split and its files, as paths in the repository."""
    if text.files is not None:
        return text.splits[0], text.files
    by_split = _builder_files(text, name, commit, source)
    split = next((split for split in text.splits if split in by_split), None)
    if split is None:
        raise CalibrationError(
            f"{source}: the data set has no split {text.splits[0]!r}",
            hint=f"its splits are: {', '.join(by_split)}",
        )
    prefix = f"hf://datasets/{name}@{commit}/"
    return split, [path.removeprefix(prefix) for path in by_split[split]]


def _builder_files(text: HubText, name: str, commit: str, source: str) -> dict[str, list[str]]:
    import datasets

    try:
        # `hf://` prevents `datasets` from using a local folder of that name.
        builder = datasets.load_dataset_builder(
            f"hf://datasets/{name}", name=text.config, revision=commit
        )
    except (
        ValueError,
        RuntimeError,
        datasets.exceptions.DatasetsError,
        datasets.data_files.EmptyDatasetError,
    ) as error:
        lines = str(error).split("\n")
        raise CalibrationError(
            f"{source}: {lines[0]}",
            hint=" ".join(lines[1:2])
            or "choose a data set of Parquet, JSON or CSV files, and its `config`",
        ) from error
    found = builder.config.data_files or {}
    return {str(split): [str(path) for path in paths] for split, paths in found.items()}


def _first(files: Sequence[str], name: str, commit: str) -> list[str]:
    """The first files, at least one, up to `ENOUGH` bytes; checks that they fit the disk."""
    head = list(files[:64])
    infos = HfApi().get_paths_info(name, head, repo_type="dataset", revision=commit)
    sizes = {info.path: info.size for info in infos if isinstance(info, RepoFile)}
    part: dict[str, int] = {}
    for path in head:
        if part and sum(part.values()) + sizes.get(path, 0) > ENOUGH:
            break
        part[path] = sizes.get(path, 0)
    # Twice the size, because `datasets` keeps a second copy.
    twice = {path: 2 * size for path, size in part.items()}
    check_room(twice, Path(constants.HF_HUB_CACHE), f"data set {name!r}")
    return list(part)


def _format(path: str, source: str) -> str:
    plain = path.lower()
    for ending in PACKED:
        plain = plain.removesuffix(ending)
    suffix = PurePosixPath(plain).suffix.removeprefix(".")
    if suffix not in FORMATS:
        raise CalibrationError(
            f"{source}: the data set's files are .{suffix}; only Parquet, JSON and CSV are "
            "supported",
            hint="choose another data set or configuration, or use a local file",
        )
    return FORMATS[suffix]


def _rows(paths: list[str], form: str, *, tabs: bool) -> Any:
    import datasets

    # The engine reports progress by events, so the library's progress bars are disabled.
    drawing = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        how = {"sep": "\t"} if tabs else {}
        return datasets.load_dataset(form, data_files=paths, split="train", **how)
    except (ValueError, datasets.exceptions.DatasetsError) as error:
        if isinstance(error.__cause__, OSError):  # a full disk, not a bad file
            raise
        reason = type(error.__cause__ or error).__name__
        raise CalibrationError(
            f"the data set's {form} files cannot be read ({reason})",
            hint="the files on the hub are damaged, or their rows have different fields",
        ) from error
    finally:
        if drawing:
            datasets.enable_progress_bars()

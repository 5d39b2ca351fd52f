"""Documents of a hub data set: Parquet, JSON or CSV files, read through `datasets`.

The hub is asked which files belong to the configuration and split; only the first of them are
downloaded, because calibration needs megabytes and some sets have terabytes. Code in a
repository is never run: files of any other kind are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.hf_api import RepoFile

from slimgpt.errors import CalibrationError
from slimgpt.sources.hub_errors import HubRequest, mapped_errors
from slimgpt.sources.resolve import ANSWER_SECONDS, check_room
from slimgpt.texts.documents import Documents
from slimgpt.texts.rows import field_of, text_of

T = TypeVar("T")
ENOUGH = 1 << 30  # bytes; files of a split are taken from the first on until they add up to this
FORMATS = {
    "parquet": "parquet",
    **dict.fromkeys(("json", "jsonl", "ndjson"), "json"),
    **dict.fromkeys(("csv", "tsv"), "csv"),
}
PACKED = (".gz", ".zst", ".xz", ".bz2")


@dataclass(frozen=True)
class HubText:
    """Which part of which data set.

    Attributes:
        name: `org/name` on the hub.
        config: the configuration; None is the set's default.
        splits: splits that would do; the first that exists is taken.
        files: paths in the repository, where they are known; None asks the hub.
    """

    name: str
    config: str | None = None
    splits: tuple[str, ...] = ("train",)
    files: tuple[str, ...] | None = None


def read(text: HubText, source: str, text_field: str | None) -> Documents[str]:
    """The rows of a data set as documents; see `parsed`."""
    return parsed(text, source, text_field, text_of)


def parsed(
    text: HubText, source: str, text_field: str | None, parse: Callable[[object, str | None], T]
) -> Documents[T]:
    """The rows of a data set through `parse`, each read when it is asked for.

    Args:
        text: which part of which set.
        source: what the user called it, for messages and the report.
        text_field: field of the rows that holds the text; None finds it.
        parse: a row and the field asked for → what the row says.

    Raises:
        CalibrationError: no such set, configuration, split or field; or files of another kind.
        HubUnreachableError: the hub does not answer.
        StorageError: there is no room for the files.
    """
    if "/" not in text.name:  # `datasets` takes bare names for formats or folders of this machine
        raise CalibrationError(
            f"{source}: {text.name!r} has no owner",
            hint="write hf:OWNER/NAME, as on the hub's page",
        )
    with mapped_errors(HubRequest(f"data set {text.name!r} ({source})", CalibrationError)):
        info = HfApi().dataset_info(text.name, expand=["sha", "gated"], timeout=ANSWER_SECONDS)
        if info.gated:  # its files may be listed by all, and are read by few: ask before any work
            HfApi().auth_check(info.id, repo_type="dataset")
        name, commit = info.id, str(info.sha)
        split, files = _files(text, name, commit, source)
        part = _first(files, name, commit)
        paths = [hf_hub_download(name, path, repo_type="dataset", revision=commit) for path in part]
        rows = _rows(paths, _format(part[0], source), tabs=".tsv" in part[0].lower())
    try:
        field_of(rows.column_names, text_field)
    except ValueError as error:
        raise CalibrationError(
            f"{source}: {error}", hint="name the field that holds the text (text_field)"
        ) from error
    chosen = ", ".join(filter(None, [text.config, split]))
    some = "" if len(part) == len(files) else f", {len(part)} of {len(files)} files"
    return Documents(
        len(rows),
        lambda index: _parsed_row(rows[index], text_field, parse, f"{source}: row {index}"),
        f"{source}, {name}@{commit[:12]} ({chosen}{some}), {len(rows):,} documents",
    )


def _parsed_row(
    row: dict[str, Any],
    text_field: str | None,
    parse: Callable[[object, str | None], T],
    where: str,
) -> T:
    try:
        return parse(row, text_field)
    except ValueError as error:
        raise CalibrationError(
            f"{where}: {error}", hint="name the field that holds the text (text_field)"
        ) from error


def _files(text: HubText, name: str, commit: str, source: str) -> tuple[str, Sequence[str]]:
    """The split that is there and its files, as paths in the repository."""
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
        # `hf://` keeps `datasets` from preferring a folder of that name on this machine.
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
            or "choose a set of Parquet, JSON or CSV files, and its config",
        ) from error
    found = builder.config.data_files or {}
    return {str(split): [str(path) for path in paths] for split, paths in found.items()}


def _first(files: Sequence[str], name: str, commit: str) -> list[str]:
    """The first files, until there is enough; at least one; none that would not fit the disk."""
    head = list(files[:64])
    infos = HfApi().get_paths_info(name, head, repo_type="dataset", revision=commit)
    sizes = {info.path: info.size for info in infos if isinstance(info, RepoFile)}
    part: dict[str, int] = {}
    for path in head:
        if part and sum(part.values()) + sizes.get(path, 0) > ENOUGH:
            break
        part[path] = sizes.get(path, 0)
    # Twice: `datasets` keeps a copy of its own.
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
            f"{source}: the data set's files are .{suffix}, and Parquet, JSON and CSV are read",
            hint="choose another set or configuration, or give its text as a local file",
        )
    return FORMATS[suffix]


def _rows(paths: list[str], form: str, *, tabs: bool) -> Any:
    import datasets

    # The engine speaks through events: what the library draws would only disturb them.
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
            hint="the files on the hub are damaged or their rows differ in their fields",
        ) from error
    finally:
        if drawing:
            datasets.enable_progress_bars()

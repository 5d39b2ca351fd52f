"""Opens and checks storage URLs through fsspec: local folder, `s3://` and others.

S3 takes credentials, region and endpoint from the standard variables (`AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, …), files and roles, as botocore does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import fsspec
from fsspec.implementations.local import LocalFileSystem

from jobs.settings import BadSettings, Settings

S3 = frozenset({"s3", "s3a"})
PART_BYTES = 8 << 20
"""Of an upload in parts. 10,000 are allowed, so a file may have 78 GiB."""
TRIES = 2
"""Of s3fs, each of which is three of botocore: a store that hangs is given up after minutes."""
CONNECTION: dict[str, Any] = {
    "connect_timeout": 5,
    "read_timeout": 30,
    "retries": {"max_attempts": 3, "mode": "standard"},
    # Checksums in trailers are new to S3, and unknown to many stores that speak it.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}


class BadStorageUrl(ValueError):  # noqa: N818 - says what is the case
    """No files can be kept at this URL; the message says why and what next."""


class StorageUnavailable(OSError):  # noqa: N818 - says what is the case
    """The object store does not answer, or refuses; its own words are the cause."""


_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
"""What does not begin so is a folder: its name may hold whatever names may hold, `://` too."""


def protocol_of(url: str) -> str:
    """`file` for a folder, else what stands before `://`."""
    match = _PROTOCOL.match(url)
    return match[1].lower() if match else "file"


def local_folder(url: str) -> Path | None:
    """The folder of this machine that a place is; None: it is another kind of place.

    Raises:
        BadStorageUrl: a `file://` URL that names none, or several URLs in one.
    """
    if protocol_of(url) != "file":
        return None
    if not _PROTOCOL.match(url):
        if "://" in url and not url.startswith(("/", "~", ".")):
            raise BadStorageUrl(f"{url} is no place that files can be kept at; name one URL")
        return Path(url).expanduser().absolute()
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
        raise BadStorageUrl(
            f"{url} is no URL of a folder of this machine; name the folder itself, or write "
            "file:///PATH with ? as %3F and # as %23"
        )
    return Path(url2pathname(parts.path))


def check(url: str) -> None:
    """Look whether this installation can work with such a place; nothing is contacted.

    Raises:
        BadStorageUrl: no library knows the protocol, or its package is not installed.
    """
    if local_folder(url) is not None:
        return
    protocol = protocol_of(url)
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError as error:
        raise BadStorageUrl(
            f"{protocol}:// is no place that files can be kept at; name a folder, or an object "
            "store such as s3://bucket/folder"
        ) from error
    except ImportError as error:
        words = " ".join(str(error).split())
        raise BadStorageUrl(
            f"{protocol}:// needs a package that is not installed: {words}"
        ) from error


def require(settings: Settings) -> None:
    """Look whether artifacts can be kept where, and be handed out as, the settings say.

    Raises:
        BadSettings: they can't; the message names the variable and what to do.
    """
    try:
        check(settings.artifacts_url)
    except BadStorageUrl as error:
        raise BadSettings(f"SLIMGPT_ARTIFACTS_URL: {error}") from error
    if settings.artifact_redirects and protocol_of(settings.artifacts_url) not in S3:
        raise BadSettings(
            "SLIMGPT_ARTIFACT_REDIRECTS: there is nothing to redirect to, SLIMGPT_ARTIFACTS_URL is "
            "no s3:// URL; name one, or unset SLIMGPT_ARTIFACT_REDIRECTS"
        )


def open_storage(url: str, *, endpoint: str | None = None) -> tuple[Any, str]:
    """The file system of a URL, and its root there without a slash at the end.

    Args:
        endpoint: of an S3-compatible store, in place of `AWS_ENDPOINT_URL`.

    Raises:
        BadStorageUrl: as `check`.
    """
    check(url)
    if (folder := local_folder(url)) is not None:
        return LocalFileSystem(), str(folder).rstrip("/")
    options: dict[str, Any] = {}
    if protocol_of(url) in S3:
        options = {
            "use_listings_cache": False,  # others write there too
            "default_block_size": PART_BYTES,
            "config_kwargs": {**CONNECTION, "signature_version": "s3v4"},
            "endpoint_url": endpoint,
            "skip_instance_cache": True,  # variables are read again
        }
    fs, root = fsspec.core.url_to_fs(url, **options)
    if options:
        fs.retries = TRIES
    return fs, root.rstrip("/")


def is_local(fs: Any) -> bool:
    """Whether the files are in a folder of this machine."""
    return isinstance(fs, LocalFileSystem)


@contextmanager
def storage_errors() -> Iterator[None]:
    """Every store has exceptions of its own; callers know OSError.

    Raises:
        StorageUnavailable: in place of what is neither an OSError nor a ValueError.
    """
    try:
        yield
    except (OSError, ValueError):
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] in {"jobs", "builtins"}:
            raise  # ours, or a defect
        words = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if "Credentials" in type(error).__name__:
            words += "; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise StorageUnavailable(words) from error

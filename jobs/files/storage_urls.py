"""Checks and opens storage URLs through fsspec: local folders, `s3://` and others.

Credentials, region and endpoint of S3 come from botocore's standard variables (`AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, …), files and roles.
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
"""Part size of multipart uploads. S3 allows 10,000 parts, so a file can have 78 GiB."""
TRIES = 2
"""Tries of s3fs, each with three of botocore: a hanging store times out after minutes."""
CONNECTION: dict[str, Any] = {
    "connect_timeout": 5,
    "read_timeout": 30,
    "retries": {"max_attempts": 3, "mode": "standard"},
    # Many S3-compatible stores do not support checksums in trailers.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}


class BadStorageUrl(ValueError):  # noqa: N818 - says what is the case
    """The URL cannot be used as a file store; the message says why, and what to do."""


class StorageUnavailable(OSError):  # noqa: N818 - says what is the case
    """The object store does not answer or refuses the request; its own error is the cause."""


_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
"""A URL without this prefix is a folder."""


def protocol_of(url: str) -> str:
    """`file` for a folder, else the scheme of the URL."""
    match = _PROTOCOL.match(url)
    return match[1].lower() if match else "file"


def local_folder(url: str) -> Path | None:
    """The local folder of a URL; None if it is another kind of store.

    Raises:
        BadStorageUrl: a `file://` URL without a local path, or chained URLs.
    """
    if protocol_of(url) != "file":
        return None
    if not _PROTOCOL.match(url):
        if "://" in url and not url.startswith(("/", "~", ".")):
            raise BadStorageUrl(f"{url} cannot be used as a file store; set a single URL")
        return Path(url).expanduser().absolute()
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
        raise BadStorageUrl(
            f"{url} is not the URL of a folder of this machine; set the folder's path, or "
            "file:///PATH with ? as %3F and # as %23"
        )
    return Path(url2pathname(parts.path))


def check(url: str) -> None:
    """Check whether this installation supports the URL; contacts no server.

    Raises:
        BadStorageUrl: fsspec does not know the protocol, or its package is not installed.
    """
    if local_folder(url) is not None:
        return
    protocol = protocol_of(url)
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError as error:
        raise BadStorageUrl(
            f"{protocol}:// cannot be used as a file store; set a folder, or an object store such "
            "as s3://bucket/folder"
        ) from error
    except ImportError as error:
        words = " ".join(str(error).split())
        raise BadStorageUrl(
            f"{protocol}:// needs a package that is not installed: {words}"
        ) from error


def require(settings: Settings) -> None:
    """Check the settings of the artifact store.

    Raises:
        BadSettings: they cannot be used; the message names the variable and what to do.
    """
    try:
        check(settings.artifacts_url)
    except BadStorageUrl as error:
        raise BadSettings(f"SLIMGPT_ARTIFACTS_URL: {error}") from error
    if settings.artifact_redirects and protocol_of(settings.artifacts_url) not in S3:
        raise BadSettings(
            "SLIMGPT_ARTIFACT_REDIRECTS: needs an s3:// URL in SLIMGPT_ARTIFACTS_URL; set one, or "
            "unset SLIMGPT_ARTIFACT_REDIRECTS"
        )


def open_storage(url: str, *, endpoint: str | None = None) -> tuple[Any, str]:
    """The file system of a URL, and the root path in it, without a trailing slash.

    Args:
        endpoint: of an S3-compatible store; overrides `AWS_ENDPOINT_URL`.

    Raises:
        BadStorageUrl: as `check`.
    """
    check(url)
    if (folder := local_folder(url)) is not None:
        return LocalFileSystem(), str(folder).rstrip("/")
    options: dict[str, Any] = {}
    if protocol_of(url) in S3:
        options = {
            "use_listings_cache": False,  # other processes write there, too
            "default_block_size": PART_BYTES,
            "config_kwargs": {**CONNECTION, "signature_version": "s3v4"},
            "endpoint_url": endpoint,
            "skip_instance_cache": True,  # read the variables again
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
    """Convert a store's own exceptions to OSError.

    Raises:
        StorageUnavailable: instead of an exception that is neither an OSError nor a ValueError.
    """
    try:
        yield
    except (OSError, ValueError):
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] in {"jobs", "builtins"}:
            raise  # an exception of this package, or a defect
        words = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if "Credentials" in type(error).__name__:
            words += "; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise StorageUnavailable(words) from error

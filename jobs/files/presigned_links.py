"""`Links`: presigned download URLs of the object store.

They are signed for the address that clients reach the store by, which may be another than ours,
and for one method: a link to GET answers no HEAD. Signing asks nobody.
"""

from __future__ import annotations

from typing import Literal, cast

from jobs.files.storage_urls import open_storage, storage_errors
from jobs.files.transfer import plain
from jobs.settings import Settings

LINK_SECONDS = 300
Method = Literal["GET", "HEAD"]
OPERATIONS = {"GET": "get_object", "HEAD": "head_object"}


class Links:
    """Signs addresses of files.

    Args:
        url: of the artifacts, `s3://…`.
        endpoint: address of the store as clients reach it; empty: `AWS_ENDPOINT_URL`, or Amazon's.
    """

    def __init__(self, url: str, endpoint: str = "") -> None:
        self._fs, self._root = open_storage(url, endpoint=endpoint or None)

    @classmethod
    def wanted(cls, settings: Settings) -> Links | None:
        """As the settings say; None: files pass through the API."""
        if not settings.artifact_redirects:
            return None
        return cls(settings.artifacts_url, settings.artifact_public_endpoint)

    def sign(self, path: str, method: Method, headers: dict[str, str]) -> str:
        """The address of a file.

        Args:
            path: of the file, its prefix first.
            method: the only one that the address is good for.
            headers: `Content-Disposition` and `Content-Type` are what the store will answer.

        Raises:
            OSError: there are no credentials to sign with.
        """
        with storage_errors():
            url = self._fs.url(
                f"{self._root}/{plain(path)}",
                expires=LINK_SECONDS,
                client_method=OPERATIONS[method],
                ResponseContentDisposition=headers["Content-Disposition"],
                ResponseContentType=headers["Content-Type"],
            )
        return cast(str, url)

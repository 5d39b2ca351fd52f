"""`Links`: presigned download URLs of the object store.

URLs are signed for the endpoint that clients use, which may differ from the service's own, and for
one method: a URL for GET does not serve HEAD. Signing needs no request.
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
    """Signs URLs of files.

    Args:
        url: URL of the artifact store, `s3://…`.
        endpoint: endpoint of the store for clients; empty: `AWS_ENDPOINT_URL`, or Amazon's.
    """

    def __init__(self, url: str, endpoint: str = "") -> None:
        self._fs, self._root = open_storage(url, endpoint=endpoint or None)

    @classmethod
    def wanted(cls, settings: Settings) -> Links | None:
        """Links as configured; None if the API itself serves the files."""
        if not settings.artifact_redirects:
            return None
        return cls(settings.artifacts_url, settings.artifact_public_endpoint)

    def sign(self, path: str, method: Method, headers: dict[str, str]) -> str:
        """The presigned URL of a file.

        Args:
            path: path of the file, prefix included.
            method: the only method that the URL permits.
            headers: `Content-Disposition` and `Content-Type` of the store's response.

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

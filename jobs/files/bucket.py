"""Creates the artifact bucket if it does not exist: `python -m jobs.files.bucket`.

One of the steps before a service starts; for those who own their object store. Where the bucket
is there, nothing is changed and no right to make buckets is needed.
"""

from __future__ import annotations

import sys

from jobs.files.storage_urls import (
    BadStorageUrl,
    is_local,
    open_storage,
    protocol_of,
    storage_errors,
)
from jobs.settings import BadSettings, load


def ensure(url: str) -> str:
    """Make what files at this URL lie in: a bucket, or a folder. Returns what was found, in words.

    Raises:
        jobs.files.storage_urls.BadStorageUrl: no files can be kept at such a URL.
        OSError: the store does not answer, or does not let us.
    """
    fs, root = open_storage(url)
    place = root if is_local(fs) else root.split("/")[0]
    name = place if is_local(fs) else f"{protocol_of(url)}://{place}"
    with storage_errors():
        if fs.exists(place):
            return f"{name} is there"
        fs.makedirs(place, exist_ok=True)
    return f"{name} was made"


def main() -> None:
    """Make it, say it in a line, exit."""
    try:
        said = ensure(load().artifacts_url)
    except (BadSettings, BadStorageUrl, OSError) as error:
        sys.exit(f"the place of artifacts cannot be used: {' '.join(str(error).split())}")
    sys.stdout.write(f"{said}\n")


if __name__ == "__main__":
    main()

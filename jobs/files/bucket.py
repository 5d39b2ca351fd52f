"""Creates the artifact bucket if it does not exist: `python -m jobs.files.bucket`.

A step before the first start, for operators of their own object store. If the bucket exists,
nothing is changed and no right to create buckets is needed.
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
    """Create the bucket or folder of this URL if it does not exist. Returns a message.

    Raises:
        jobs.files.storage_urls.BadStorageUrl: the URL cannot be used as a file store.
        OSError: the store does not answer, or refuses.
    """
    fs, root = open_storage(url)
    place = root if is_local(fs) else root.split("/")[0]
    name = place if is_local(fs) else f"{protocol_of(url)}://{place}"
    with storage_errors():
        if fs.exists(place):
            return f"{name} exists"
        fs.makedirs(place, exist_ok=True)
    return f"{name} was created"


def main() -> None:
    """Create the bucket and print one line."""
    try:
        said = ensure(load().artifacts_url)
    except (BadSettings, BadStorageUrl, OSError) as error:
        sys.exit(f"the artifact store cannot be used: {' '.join(str(error).split())}")
    sys.stdout.write(f"{said}\n")


if __name__ == "__main__":
    main()

"""`client.calibration_sets`: your own texts, for use in jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from slimgpt.client._sync.transport import Transport
from slimgpt.client.models.calibration_sets import CalibrationSet, CalibrationSetPage
from slimgpt.client.progress_bar import transfer_bar, wanted
from slimgpt.client.requests import Request
from slimgpt.client.uploads import CHUNK_BYTES, checked_format, upload_request
from slimgpt.texts.upload_checks import Format

SetRef = str | CalibrationSet
"""A set, its id, or its name in jobs."""


class CalibrationSets:
    """The uploaded texts. A set is named by itself, by its id, or by `upload:ID`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def upload(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        text_field: str | None = None,
        form: Format | None = None,
        bar: bool | None = None,
    ) -> CalibrationSet:
        """Check a file and upload it; the set's `source` is its name in jobs.

        The same text uploaded again is the same set.

        Args:
            name: shown in lists; default: the file's name.
            text_field: field that holds the text; default: found.
            form: `jsonl`, `csv` or `text`; default: found.
            bar: show progress; default: in a terminal.

        Raises:
            ClientError: the file cannot be read or is not valid; names the line.
        """
        path = Path(path)
        form = checked_format(path, form, text_field)
        params = {"name": name or path.name, "text_field": text_field}
        size = path.stat().st_size
        with transfer_bar("upload", size, shown=wanted(bar)) as advance:
            sent = 0

            def chunks() -> Iterator[bytes]:
                nonlocal sent
                advance(-sent)  # of a try before
                sent = 0
                with path.open("rb") as file:
                    while chunk := file.read(CHUNK_BYTES):
                        yield chunk
                        sent += len(chunk)
                        advance(len(chunk))

            request = upload_request(path, form, chunks, params)
            return CalibrationSet.model_validate(self._transport.json(request))

    def list(
        self, *, owner: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> CalibrationSetPage:
        """A page of sets, newest first; `owner` is for admins, who see those of all."""
        params = {"owner": owner, "limit": limit, "cursor": cursor}
        request = Request(path="/calibration-sets", params=params)
        return CalibrationSetPage.model_validate(self._transport.json(request))

    def get(self, one: SetRef) -> CalibrationSet:
        """The set."""
        return CalibrationSet.model_validate(self._transport.json(Request(path=_path(one))))

    def text(self, one: SetRef) -> str:
        """The text, as it was uploaded."""
        return self._transport.text(Request(path=f"{_path(one)}/content"))

    def delete(self, one: SetRef) -> None:
        """Delete a set that no unfinished job uses.

        Raises:
            ConflictError: a job uses it.
        """
        self._transport.text(Request(method="DELETE", path=_path(one), repeatable=False))


def _path(one: SetRef) -> str:
    name = one if isinstance(one, str) else one.id
    return f"/calibration-sets/{quote(name.removeprefix('upload:'), safe='')}"

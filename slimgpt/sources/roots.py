"""`Roots`: the folders below which `local:NAME` and `upload:ID` are resolved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slimgpt.errors import CalibrationError, ModelNotFoundError

PREFIX = "local:"
UPLOAD_PREFIX = "upload:"
UPLOADED = (".jsonl", ".csv", ".txt")
MANY = 8


@dataclass(frozen=True)
class Roots:
    """The folders below which `local:` names lie.

    Attributes:
        models: `local:NAME` is a folder below it.
        texts: `local:FILE` is a file below it.
        uploads: `upload:ID` is the file ID.jsonl, .csv or .txt in it; None: there are none.
        confined: refuse what lies outside after resolving links. A server confines; a command
            line trusts its user, who may link where he likes.
    """

    models: Path
    texts: Path
    confined: bool = True
    uploads: Path | None = None

    def model(self, name: str) -> Path:
        """The folder of `local:NAME`, links resolved.

        Raises:
            ModelNotFoundError: there is no such folder below the root. What lies outside is
                reported in the same words as what does not exist, without the server's paths.
        """
        folder = self._below(self.models, name)
        if folder is None or not folder.is_dir():
            raise ModelNotFoundError(
                f"model {name!r}: there is no such folder below the models folder",
                hint=self._models_there(),
            )
        return folder

    def text(self, name: str) -> Path:
        """The regular file of `local:FILE` under that name; where its links lead is checked.

        Raises:
            CalibrationError: there is no such file below the root, or it is a folder or a device.
        """
        path = self._below(self.texts, name)
        if path is not None and path.is_dir():
            raise CalibrationError(
                f"text {name!r} is a folder, not a file",
                hint="name one file: JSON lines, a JSON array, plain text, or one of these in .gz",
            )
        if path is None or not path.is_file():
            raise CalibrationError(
                f"text {name!r}: there is no such file below the texts folder",
                hint="check the spelling, or put the file there",
            )
        return self.texts / name.removeprefix(PREFIX)

    def folder(self, name: str) -> Path:
        """The folder of texts of `local:FOLDER`, links resolved.

        Raises:
            CalibrationError: there is no such folder below the root.
        """
        path = self._below(self.texts, name)
        if path is None or not path.is_dir():
            raise CalibrationError(
                f"folder {name!r}: there is no such folder below the texts folder",
                hint="check the spelling, or put the folder there",
            )
        return path

    def upload(self, name: str) -> Path:
        """The file of `upload:ID`.

        Raises:
            CalibrationError: there is none.
        """
        if self.uploads is None:
            raise CalibrationError(
                f"text {name!r}: `upload:` names exist in the service only",
                hint="name the file itself",
            )
        stem = name.removeprefix(UPLOAD_PREFIX)
        for suffix in UPLOADED:
            path = self._below(self.uploads, stem + suffix)
            if path is not None and path.is_file():
                return path
        raise CalibrationError(
            f"text {name!r} is not there", hint="upload it again, and name its new id"
        )

    def _below(self, root: Path, name: str) -> Path | None:
        """The resolved path of `name`, or None where it does not exist or may not be seen."""
        relative = name.removeprefix(PREFIX)
        try:
            path = (root / relative).resolve(strict=True)
            outside = not path.is_relative_to(root.resolve(strict=True))
        except (OSError, RuntimeError, ValueError):  # missing, a loop of links, a NUL in the name
            return None
        return None if not relative or (self.confined and outside) else path

    def _models_there(self) -> str:
        try:
            names = sorted(
                f"{PREFIX}{path.name}" for path in self.models.iterdir() if path.is_dir()
            )
        except OSError:
            names = []
        if not names:
            return "the models folder is empty: put a checkpoint folder there, or name a hub model"
        more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
        return f"there are: {', '.join(names[:MANY])}{more}"

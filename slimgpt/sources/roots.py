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
    """The root folders of `local:` and `upload:` names.

    Attributes:
        models: `local:NAME` is a folder below it.
        texts: `local:FILE` is a file below it.
        uploads: `upload:ID` is the file ID.jsonl, .csv or .txt in it; None: no uploads.
        confined: refuse paths that are outside the root after resolving links. True in the service;
            False on the command line, where users may link anywhere.
    """

    models: Path
    texts: Path
    confined: bool = True
    uploads: Path | None = None

    def model(self, name: str) -> Path:
        """The folder of `local:NAME`, links resolved.

        Raises:
            ModelNotFoundError: there is no such folder below the root. The message is the same for
                folders outside the root, and contains no paths of the server.
        """
        folder = self._below(self.models, name)
        if folder is None or not folder.is_dir():
            raise ModelNotFoundError(
                f"model {name!r}: there is no such folder below the models folder",
                hint=self._models_there(),
            )
        return folder

    def within(self, model: str) -> Path | None:
        """The folder that links of a model's files must not leave; None if they may."""
        return self.models if self.confined and model.startswith(PREFIX) else None

    def text(self, name: str) -> Path:
        """The path of the regular file `local:FILE`; links are checked but not resolved.

        Raises:
            CalibrationError: there is no such file below the root, or it is a folder or a device.
        """
        path = self._below(self.texts, name)
        if path is not None and path.is_dir():
            raise CalibrationError(
                f"text {name!r} is a folder, not a file",
                hint="name a file: JSON lines, a JSON array, CSV, TSV, Parquet, plain text, or .gz",
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
                f"text {name!r}: `upload:` names exist only in the service",
                hint="use the path of the file",
            )
        stem = name.removeprefix(UPLOAD_PREFIX)
        for suffix in UPLOADED:
            path = self._below(self.uploads, stem + suffix)
            if path is not None and path.is_file():
                return path
        raise CalibrationError(
            f"text {name!r} does not exist", hint="upload the file again, and use its new id"
        )

    def _below(self, root: Path, name: str) -> Path | None:
        """The resolved path of `name`; None if it does not exist or is outside the root."""
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
            return "the models folder is empty: add a checkpoint folder, or name a hub model"
        more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
        return f"available: {', '.join(names[:MANY])}{more}"

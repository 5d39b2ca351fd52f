"""`Location`: a model folder whose files must be regular and, links resolved, below a root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slimgpt.errors import BrokenCheckpointError, ModelNotFoundError


@dataclass(frozen=True)
class Location:
    """A model folder, and the root that its links may not leave (a hub cache links to its blobs).

    Attributes:
        folder: the folder, links resolved.
        root: the root, links resolved; None if links may lead anywhere.
    """

    folder: Path
    root: Path | None = None

    @classmethod
    def of(cls, folder: Path, within: Path | None = None) -> Location:
        """The location of a model folder.

        Raises:
            ModelNotFoundError: there is no such folder, or it lies outside `within`.
        """
        root = within.resolve() if within else None
        try:
            real = folder.resolve(strict=True)
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
            raise _absent(folder) from error
        if not real.is_dir():
            raise _absent(folder)
        if root and not real.is_relative_to(root):
            raise ModelNotFoundError(
                f"{folder.name} leads out of the folder that models are read from",
                hint="copy the model there, or set the models folder to its location",
            )
        return cls(real, root)

    def has(self, name: str) -> bool:
        """Whether the folder has an entry of that name, including dangling links."""
        return (self.folder / name).exists() or (self.folder / name).is_symlink()

    def file(self, name: str) -> Path:
        """The path of the regular file `name`; links are checked but not resolved.

        The target's name is not used: in a hub's cache it is a hash.

        Raises:
            BrokenCheckpointError: it is missing, a dangling link, or not a regular file.
            ModelNotFoundError: a link leads out of the root.
        """
        if Path(name).name != name:
            raise BrokenCheckpointError(
                f"{name!r} is not the name of a file in the model folder",
                hint="an index can only refer to files in its own folder",
            )
        try:
            real = (self.folder / name).resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise BrokenCheckpointError(
                f"{name} is missing from the model folder", hint="download the model again"
            ) from error
        if self.root and not real.is_relative_to(self.root):
            raise ModelNotFoundError(
                f"{name} is a link that leads out of the folder that models are read from",
                hint="copy the file into the model folder",
            )
        if not real.is_file():
            raise BrokenCheckpointError(
                f"{name} is not a regular file", hint="copy the file into the model folder"
            )
        return self.folder / name


def _absent(folder: Path) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"there is no model folder {folder}", hint="check the path, or download the model first"
    )

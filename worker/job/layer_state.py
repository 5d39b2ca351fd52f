"""`LayerState`: the index of finished layers shared in the artifact store.

A state names all files of one consistent run: an attempt that went on from another's layers lists
them with the epoch under which they were stored, so nothing is stored twice, and layers of two
runs that began anew are never mixed.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace

from jobs.files import prefixes
from jobs.files.artifacts import Artifact, Artifacts
from jobs.store.records import Claim

STATE = "state.json"
SHARED = re.compile(r"(p\d+/)?(job|layer-[\w.-]+)")
"""What an attempt goes on from, of the engine's folder: its fingerprint, layers, their records; of
a sweep in a folder for each model."""


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A file in the store, and the epoch that stored it."""

    file: Artifact
    epoch: int


@dataclass(frozen=True, slots=True)
class LayerState:
    """Files of one attempt's layers."""

    epoch: int
    files: tuple[SharedFile, ...]

    @classmethod
    def start(cls, claim: Claim) -> LayerState:
        """That of an attempt that has finished nothing yet."""
        return cls(claim.epoch, ())

    def plus(self, shared: SharedFile) -> LayerState:
        """The same with one more file, or with another one of its name."""
        others = {one.file.path: one for one in self.files} | {shared.file.path: shared}
        return replace(self, files=tuple(others[path] for path in sorted(others, key=order)))

    def find(self, path: str) -> SharedFile | None:
        """The file of that name."""
        return next((one for one in self.files if one.file.path == path), None)

    def save(self, artifacts: Artifacts, job_id: str) -> None:
        """Write it beside the attempt's files.

        Raises:
            OSError: the store does not answer.
        """
        files = [asdict(one.file) | {"epoch": one.epoch} for one in self.files]
        content = json.dumps({"files": files}).encode()
        artifacts.write(prefixes.layers(job_id, self.epoch), STATE, content)


def order(path: str) -> tuple[int, str, bool]:
    """Sorts layers by number, and the record after the tensors: it says that they are whole."""
    folder, _, name = path.rpartition("/")
    stem, _, suffix = name.partition(".")
    return int(folder[1:] or 0), stem, suffix == "json"


def earlier_states(artifacts: Artifacts, claim: Claim) -> list[LayerState]:
    """States of the job's earlier_states attempts, the most useful first; what can't be read is left out.

    Of a job that was to start anew only those since then.

    Raises:
        OSError: the store does not answer.
    """
    found, job_id = [], claim.job.id
    folder = prefixes.layers(job_id, claim.epoch).rpartition("/")[0]
    for name in artifacts.children(folder):
        if not name.isdigit() or not claim.job.anew_epoch < int(name) < claim.epoch:
            continue
        try:
            state = _read(artifacts.read(f"{folder}/{name}", STATE), int(name))
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            continue
        found.append(state)
    return sorted(found, key=lambda state: (len(state.files), state.epoch), reverse=True)


def _read(raw: bytes, epoch: int) -> LayerState:
    content = json.loads(raw)
    files = [
        SharedFile(Artifact(entry["path"], entry["size"], entry["sha256"]), entry["epoch"])
        for entry in content["files"]
    ]
    for shared in files:
        if not SHARED.fullmatch(shared.file.path) or not 0 < int(shared.epoch) <= epoch:
            raise ValueError("names a file that no attempt shares")
    return LayerState(epoch, tuple(files))

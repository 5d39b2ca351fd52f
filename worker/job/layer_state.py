"""`LayerState`: the index of finished layers shared in the artifact store.

A state lists all files of one consistent run. An attempt that resumed from the layers of another
lists them with the epoch that stored them. So nothing is stored twice, and layers of different
runs are never mixed.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace

from jobs.files import prefixes
from jobs.files.artifacts import Artifact, Artifacts
from jobs.store.records import Claim

STATE = "state.json"
DAMAGE = "damage.json"
SHARED = re.compile(r"(p\d+/)?(job|layer-[\w.-]+)|" + re.escape(DAMAGE))
"""Files in the engine's folder that an attempt resumes from: fingerprint, layers, their records; in
a sweep, in one folder per model. With schedule `measured` also the damage curves, from which the
same plan is made again."""


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
        """The state of an attempt without finished layers."""
        return cls(claim.epoch, ())

    def with_file(self, shared: SharedFile) -> LayerState:
        """A copy with one more file, which replaces one of the same path."""
        others = {one.file.path: one for one in self.files} | {shared.file.path: shared}
        return replace(self, files=tuple(others[path] for path in sorted(others, key=order)))

    def find(self, path: str) -> SharedFile | None:
        """The file with that path, or None."""
        return next((one for one in self.files if one.file.path == path), None)

    def save(self, artifacts: Artifacts, job_id: str) -> None:
        """Write the state next to the attempt's files.

        Raises:
            OSError: the store does not answer.
        """
        files = [asdict(one.file) | {"epoch": one.epoch} for one in self.files]
        content = json.dumps({"files": files}).encode()
        artifacts.write(prefixes.layers(job_id, self.epoch), STATE, content)


def order(path: str) -> tuple[int, str, bool]:
    """Sort key: layers by number, each record after its tensors, because it marks them complete."""
    folder, _, name = path.rpartition("/")
    stem, _, suffix = name.partition(".")
    return int(folder[1:] or 0), stem, suffix == "json"


def earlier_states(artifacts: Artifacts, claim: Claim) -> list[LayerState]:
    """States of the job's earlier attempts, those with most files first; skips unreadable ones.

    If the job was restarted from its first layer (`anew`), only states since then. A first attempt
    does not ask the store, which may hang.

    Raises:
        OSError: the store does not answer.
    """
    found, job_id = [], claim.job.id
    if claim.epoch <= claim.job.anew_epoch + 1:
        return []
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

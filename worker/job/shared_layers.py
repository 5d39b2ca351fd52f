"""`SharedLayers`: finished layers in the artifact store, to resume on another machine.

While the engine works, a thread copies every finished layer to the store and adds it to the
attempt's state (`worker.job.layer_state`). The next attempt, on any machine, fetches the layers
that its own disk lacks. This is an optimisation: a failing store neither slows nor fails a job;
layers are lost only if the machine is lost, too.
"""

from __future__ import annotations

import contextvars
import os
import shutil
import stat
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import structlog

from jobs.files import prefixes
from jobs.files.artifacts import Artifacts
from jobs.files.transfer import Interrupted, Stop, copy
from jobs.settings import Settings
from jobs.store.records import Claim
from worker import metrics
from worker.job.cancellation import run_with_timeout
from worker.job.layer_state import DAMAGE, SHARED, LayerState, SharedFile, earlier_states, order

RETRY_SECONDS = 30.0
JOIN_SECONDS = 2.0
RECORD = ".json"
log = structlog.get_logger(__name__)
Signature = tuple[int, int]


def sharing_enabled(settings: Settings, artifacts: Artifacts) -> bool:
    """Whether layers are shared; with `auto`, if the store is not on the disk of `work_root`."""
    if settings.share_layers != "auto":
        return settings.share_layers == "on"
    return not artifacts.local or _device(Path(artifacts.root)) != _device(settings.work_root)


class SharedLayers:
    """The layers of one attempt; a context manager that runs the copy thread.

    Args:
        artifacts: the store.
        claim: the claimed job.
        folder: the engine's folder of layers; may not exist yet.
        on: False: nothing is fetched, copied or removed.
        over: the job's id once no attempt or retry needs its layers, else nothing; asked by a copy
            that ends after the attempt, whose files the clean-up of the job has missed.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        claim: Claim,
        folder: Path,
        *,
        on: bool,
        over: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._artifacts = artifacts
        self._claim = claim
        self._folder = folder
        self._on = on
        self._state = self._saved = LayerState.start(claim)
        self._known: dict[str, Signature] = {}
        self._earlier: list[LayerState] = []
        self._changed = threading.Condition()
        self._asked = self._done = 0
        self._job_over = over
        self._over = self._removed = self._outlived = False
        self.failures = 0
        """Failed attempts to copy layers."""
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._copy,), name="layers", daemon=True
        )

    def __enter__(self) -> SharedLayers:
        if self._on:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()
        if self._on:
            self._thread.join(JOIN_SECONDS)  # a thread that hangs in the store ends later
            self._outlived = self._thread.is_alive()

    def fetch(self, stop: Stop) -> bool:
        """Fetch the layers of an earlier attempt, if it had more than this disk has.

        Returns:
            True if layers were fetched.

        Raises:
            Interrupted: `stop` returned True; the folder is unchanged.
        """
        if not self._on:
            return False
        try:
            self._earlier = earlier_states(self._artifacts, self._claim)
            best = self._earlier[0] if self._earlier else None
            if best is None or len(best.files) <= len(self._local_files()):
                return False
            return self._fetch_state(best, stop)
        except Interrupted:
            raise
        except Exception as error:  # object stores raise any type; start with the local layers
            log.warning("layers of earlier attempts cannot be had", error=str(error))
            return False

    def layer_finished(self) -> None:
        """Schedule the copy of a finished layer. Returns at once."""
        with self._changed:
            self._asked += 1
            self._changed.notify_all()

    def wait_copied(self, seconds: float) -> None:
        """Wait until all layers finished so far are copied, at most `seconds`."""
        if self._on:
            self.layer_finished()
            with self._changed:
                self._changed.wait_for(lambda: self._done >= self._asked, seconds)

    def reset(self) -> None:
        """Remove all shared layers, because the engine starts again from the first layer."""
        self._delete()
        self._state = self._saved = LayerState.start(self._claim)
        self._known, self._earlier = {}, []

    def remove(self) -> None:
        """Remove the layers of all attempts, because the job has ended."""
        self._removed = True  # set first: a copy in progress then removes what it writes
        self._delete()

    def _delete(self) -> None:
        if self._on:
            run_with_timeout(self._delete_all, JOIN_SECONDS)

    def _delete_all(self) -> None:
        try:
            self._artifacts.delete(prefixes.folders(self._claim.job.id)[1])
        except Exception as error:
            log.warning("layers are left in the artifact store", error=str(error))

    def _copy(self) -> None:
        """Body of the copy thread; it may outlive the job if the store is slow."""
        self._keep_copying()
        if self._removed or (self._outlived and self._job_over()):
            self._delete()

    def _keep_copying(self) -> None:
        behind = False
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._over or self._asked > self._done,
                    RETRY_SECONDS if behind else None,
                )
                if self._over:
                    return
                asked = self._asked
            try:
                self._copy_new()
                behind = False
            except Interrupted:
                return
            except Exception as error:
                behind = True
                self.failures += 1
                metrics.layer_copy_failures.inc()
                log.warning("layers wait to be shared", failures=self.failures, error=str(error))
            with self._changed:
                self._done = asked
                self._changed.notify_all()

    def _copy_new(self) -> None:
        for path, signature in self._local_files().items():
            if self._known.get(path) == signature:
                continue
            try:
                shared = self._stored(path, signature[0]) or self._send(path)
            except FileNotFoundError:  # the engine has removed it
                continue
            self._known[path] = signature
            self._state = self._state.with_file(shared)
            if shared.epoch == self._claim.epoch:
                self._save()
        self._save()

    def _save(self) -> None:
        if self._state != self._saved:
            self._state.save(self._artifacts, self._claim.job.id)
            self._saved = self._state

    def _fetch_state(self, state: LayerState, stop: Stop) -> bool:
        """Fetch a state's files into a temporary folder, up to the first missing one; then swap."""
        folder, fetched = self._folder, LayerState.start(self._claim)
        new, old = (folder.with_name(f"{folder.name}.{word}") for word in ("new", "old"))
        for path in (new, old):
            shutil.rmtree(path, ignore_errors=True)
        new.mkdir(parents=True)
        try:
            for shared in state.files:
                try:
                    self._obtain(shared, new / shared.file.path, stop)
                except OSError as error:  # the layers after a missing one are of no use
                    log.warning("a layer cannot be had", path=shared.file.path, error=str(error))
                    break
                fetched = fetched.with_file(shared)
            if len(fetched.files) <= len(self._local_files()):
                return False
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
        finally:
            for path in (new, old):
                shutil.rmtree(path, ignore_errors=True)
        self._state, self._known = fetched, self._local_files()
        log.info("layers brought", files=len(fetched.files), epoch=state.epoch)
        return True

    def _obtain(self, shared: SharedFile, target: Path, stop: Stop) -> None:
        """Link the local file if it is the same, else download it."""
        local, file = self._folder / shared.file.path, shared.file
        target.parent.mkdir(exist_ok=True)
        same = local.is_file() and local.stat().st_size == file.size
        if same and _digest(local, stop) == file.sha256:
            try:
                os.link(local, target)
            except OSError:  # a file system without hard links
                shutil.copyfile(local, target)
            return
        prefix = prefixes.layers(self._claim.job.id, shared.epoch)
        self._artifacts.fetch(prefix, file, target, stop)

    def _stored(self, path: str, size: int) -> SharedFile | None:
        """The same file, if an earlier attempt has stored it."""
        for state in self._earlier:
            shared = state.find(path)
            if shared is None or shared.file.size != size:
                continue
            if shared.file.sha256 == _digest(self._folder / path, self._is_over):
                return shared
        return None

    def _send(self, path: str) -> SharedFile:
        epoch = self._claim.epoch
        prefix = prefixes.layers(self._claim.job.id, epoch)
        return SharedFile(
            self._artifacts.send(prefix, path, self._folder / path, self._is_over), epoch
        )

    def _is_over(self) -> bool:
        return self._over

    def _local_files(self) -> dict[str, Signature]:
        """Shareable files on this disk, each with size and modification time."""
        if not self._folder.is_dir():
            return {}
        found = {}
        for path in (*self._folder.glob("*"), *self._folder.glob("p*/*")):
            name = path.relative_to(self._folder).as_posix()
            with suppress(FileNotFoundError):  # the engine has removed it
                status = path.lstat()
                if SHARED.fullmatch(name) and stat.S_ISREG(status.st_mode):
                    found[name] = (status.st_size, status.st_mtime_ns)
        # A listing is not atomic: it may have a record and miss the tensors written before it.
        whole = {
            path
            for path in found
            if not path.endswith(RECORD) or path == DAMAGE or _tensors(path) in found
        }
        return {path: found[path] for path in sorted(whole, key=order)}


def _tensors(record: str) -> str:
    """The tensor file that this record belongs to."""
    return record.removesuffix(RECORD) + ".safetensors"


def _digest(file: Path, stop: Stop) -> str:
    with file.open("rb") as reading:
        return copy(reading, len, stop)[1]


def _device(path: Path) -> int:
    """The device of the file system that a path is on, or will be on."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists()).stat().st_dev

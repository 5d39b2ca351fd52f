"""`SharedLayers`: finished layers in the artifact store, to resume on another machine.

While the engine works, a thread copies every finished layer to the store, and notes it in the
attempt's state (`worker.job.layer_state`). The next attempt, wherever it runs, brings from there
what its own disk lacks. All of it is help and no duty: a store that fails slows or fails no job, it
only costs layers when the machine is lost too.
"""

from __future__ import annotations

import contextvars
import os
import shutil
import stat
import threading
from contextlib import suppress
from pathlib import Path

import structlog

from jobs.files import prefixes
from jobs.files.artifacts import Artifacts
from jobs.files.transfer import Interrupted, Stop, copy
from jobs.settings import Settings
from jobs.store.records import Claim
from worker import metrics
from worker.job.cancellation import aside
from worker.job.layer_state import SHARED, LayerState, SharedFile, earlier, order

RETRY_SECONDS = 30.0
JOIN_SECONDS = 2.0
RECORD = ".json"
log = structlog.get_logger(__name__)
Signature = tuple[int, int]


def sharing_enabled(settings: Settings, artifacts: Artifacts) -> bool:
    """Whether layers are to be shared; of themselves, where the store outlives this disk."""
    if settings.share_layers != "auto":
        return settings.share_layers == "on"
    return not artifacts.local or _device(Path(artifacts.root)) != _device(settings.work_root)


class SharedLayers:
    """The layers of one attempt; a context manager that runs the copying thread.

    Args:
        artifacts: the store.
        claim: whose layers they are.
        folder: where the engine has them; need not be there yet.
        on: False: nothing is brought, copied or removed.
    """

    def __init__(self, artifacts: Artifacts, claim: Claim, folder: Path, *, on: bool) -> None:
        self._artifacts = artifacts
        self._claim = claim
        self._folder = folder
        self._on = on
        self._state = self._saved = LayerState.start(claim)
        self._known: dict[str, Signature] = {}
        self._before: list[LayerState] = []
        self._changed = threading.Condition()
        self._asked = self._done = 0
        self._over = self._removed = False
        self.failures = 0
        """How often the store did not take a layer at once."""
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
            self._thread.join(JOIN_SECONDS)  # one that hangs in the store ends later, or never

    def bring(self, stop: Stop) -> bool:
        """Fetch the layers of earlier attempts, if they had more than lie here. True: it did.

        Raises:
            Interrupted: `stop` said so; what lies here is as it was.
        """
        if not self._on:
            return False
        try:
            self._before = earlier(self._artifacts, self._claim)
            best = self._before[0] if self._before else None
            if best is None or len(best.files) <= len(self._here()):
                return False
            return self._fetch(best, stop)
        except Interrupted:
            raise
        except Exception as error:  # whatever a store raises: the attempt begins with what it has
            log.warning("layers of earlier attempts cannot be had", error=str(error))
            return False

    def noted(self) -> None:
        """A layer is finished: have it copied soon. Returns at once."""
        with self._changed:
            self._asked += 1
            self._changed.notify_all()

    def settle(self, seconds: float) -> None:
        """Wait until what is finished now is copied, at most so long."""
        if self._on:
            self.layer_finished()
            with self._changed:
                self._changed.wait_for(lambda: self._done >= self._asked, seconds)

    def forget(self) -> None:
        """The engine begins anew: what was shared so far is not of its run, nor of any use."""
        self._delete()
        self._state = self._saved = LayerState.start(self._claim)
        self._known, self._before = {}, []

    def remove(self) -> None:
        """Remove the job's layers of all attempts, for good: the job is over."""
        self._removed = True  # before it is done: a copy on its way then removes what it brings
        self._delete()

    def _delete(self) -> None:
        if self._on:
            aside(self._delete_all, JOIN_SECONDS)

    def _delete_all(self) -> None:
        try:
            self._artifacts.delete(prefixes.folders(self._claim.job.id)[1])
        except Exception as error:
            log.warning("layers are left in the artifact store", error=str(error))

    def _copy(self) -> None:
        """What the thread does; it may outlive the job, in a store that is slow to answer."""
        self._keep_copying()
        if self._removed:
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
        for path, signature in self._here().items():
            if self._known.get(path) == signature:
                continue
            try:
                shared = self._stored(path, signature[0]) or self._send(path)
            except FileNotFoundError:  # the engine is done with it
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

    def _fetch(self, state: LayerState, stop: Stop) -> bool:
        """Fill a folder aside with a state's files, as far as they can be had; then swap."""
        folder, brought = self._folder, LayerState.start(self._claim)
        coming, going = (folder.with_name(f"{folder.name}.{word}") for word in ("coming", "going"))
        for path in (coming, going):
            shutil.rmtree(path, ignore_errors=True)
        coming.mkdir(parents=True)
        try:
            for shared in state.files:
                try:
                    self._obtain(shared, coming / shared.file.path, stop)
                except OSError as error:  # what comes after a missing layer is of no use
                    log.warning("a layer cannot be had", path=shared.file.path, error=str(error))
                    break
                brought = brought.with_file(shared)
            if len(brought.files) <= len(self._here()):
                return False
            if folder.exists():
                folder.rename(going)
            coming.rename(folder)
        finally:
            for path in (coming, going):
                shutil.rmtree(path, ignore_errors=True)
        self._state, self._known = brought, self._here()
        log.info("layers brought", files=len(brought.files), epoch=state.epoch)
        return True

    def _obtain(self, shared: SharedFile, target: Path, stop: Stop) -> None:
        """A file as it lies here already, or from the store."""
        here, file = self._folder / shared.file.path, shared.file
        target.parent.mkdir(exist_ok=True)
        same = here.is_file() and here.stat().st_size == file.size
        if same and _digest(here, stop) == file.sha256:
            try:
                os.link(here, target)
            except OSError:  # a file system without hard links
                shutil.copyfile(here, target)
            return
        prefix = prefixes.layers(self._claim.job.id, shared.epoch)
        self._artifacts.fetch(prefix, file, target, stop)

    def _stored(self, path: str, size: int) -> SharedFile | None:
        """The same file as an earlier attempt has stored it."""
        for state in self._before:
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

    def _here(self) -> dict[str, Signature]:
        """Shareable files that lie here, each with size and time of change."""
        if not self._folder.is_dir():
            return {}
        found = {}
        for path in (*self._folder.glob("*"), *self._folder.glob("p*/*")):
            name = path.relative_to(self._folder).as_posix()
            with suppress(FileNotFoundError):  # the engine is done with it
                facts = path.lstat()
                if SHARED.fullmatch(name) and stat.S_ISREG(facts.st_mode):
                    found[name] = (facts.st_size, facts.st_mtime_ns)
        # A listing is no moment: it may show a record and miss the tensors written before it.
        whole = {path for path in found if not path.endswith(RECORD) or _tensors(path) in found}
        return {path: found[path] for path in sorted(whole, key=order)}


def _tensors(record: str) -> str:
    """The file of which this is the record."""
    return record.removesuffix(RECORD) + ".safetensors"


def _digest(file: Path, stop: Stop) -> str:
    with file.open("rb") as reading:
        return copy(reading, len, stop)[1]


def _device(path: Path) -> int:
    """The file system that a path is on, or will be."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists()).stat().st_dev

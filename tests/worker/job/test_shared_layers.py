"""Finished layers in the store: brought to another machine, never mixed, never in anyone's way."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.files.artifacts import Artifacts
from jobs.files.removal import remove_job
from jobs.files.transfer import Interrupted, never
from jobs.settings import Settings
from jobs.store.records import Claim
from jobs.store.store import Store
from tests.proxy import Proxy
from tests.servers import ObjectStore, wait_until
from tests.worker.conftest import SPEC, Bench
from worker.housekeeping.retention import RetentionSweep
from worker.job.layer_state import STATE
from worker.job.shared_layers import SharedLayers, sharing_enabled
from worker.job.supervisor import Outcome


@pytest.fixture(params=["folder", "s3"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    if request.param == "s3":
        return Artifacts(request.getfixturevalue("bucket_url"))
    return Artifacts(str(tmp_path / "artifacts"))


@pytest.fixture
def claim(own_store: Store) -> Claim:
    """The first of a job's claims."""
    taken = own_store.claim(own_store.create(SPEC).id, "tester")
    assert taken is not None
    return taken


@pytest.fixture
def own_store(bench: Bench) -> Store:
    return bench.store


def write(folder: Path, layers: int, run: str = "") -> Path:
    """An engine's folder with so many layers, whose bytes tell their run apart."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job").write_text("fingerprint")
    for number in range(layers):
        (folder / f"layer-{number}.safetensors").write_text(f"weights {number} {run}")
        (folder / f"layer-{number}.json").write_text(f"record {number}")
    return folder


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def share(artifacts: Artifacts, claim: Claim, folder: Path) -> None:
    """What an attempt does that ends after its layers were copied."""
    with SharedLayers(artifacts, claim, folder, on=True) as layers:
        layers.fetch(never)
        layers.wait_copied(60)


def brought(artifacts: Artifacts, claim: Claim, folder: Path) -> bool:
    return SharedLayers(artifacts, claim, folder, on=True).fetch(never)


def test_layers_go_from_attempt_to_attempt_and_are_stored_once(
    artifacts: Artifacts, claim: Claim, tmp_path: Path
) -> None:
    share(artifacts, claim, write(tmp_path / "a" / "layers", 2))
    second = replace(claim, epoch=2)
    there = tmp_path / "b" / "layers"
    with SharedLayers(artifacts, second, there, on=True) as layers:
        assert layers.fetch(never)
        assert content(there) == content(tmp_path / "a" / "layers")
        write(there, 3)
        layers.wait_copied(60)
    work = f"work/{claim.job.id}"
    assert artifacts.children(f"{work}/2") == ["layer-2.json", "layer-2.safetensors", STATE]
    third = replace(claim, epoch=3)
    assert brought(artifacts, third, tmp_path / "c" / "layers")
    assert content(tmp_path / "c" / "layers") == content(there)
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["layers"]
    SharedLayers(artifacts, third, there, on=True).remove()
    assert artifacts.children(work) == []


def test_layers_of_several_models_are_kept_apart(
    artifacts: Artifacts, claim: Claim, tmp_path: Path
) -> None:
    here, there = tmp_path / "a" / "layers", tmp_path / "b" / "layers"
    for number in (0, 2, 10):
        write(here / f"p{number}", 2, run=f"of model {number}")
    share(artifacts, claim, here)
    assert brought(artifacts, replace(claim, epoch=2), there)
    assert sorted(path.name for path in there.iterdir()) == ["p0", "p10", "p2"]
    for number in (0, 2, 10):
        assert content(there / f"p{number}") == content(here / f"p{number}")
    raw = json.loads(artifacts.read(f"work/{claim.job.id}/1", STATE))
    paths = [file["path"] for file in raw["files"]]
    assert [path.split("/")[0] for path in paths] == ["p0"] * 5 + ["p2"] * 5 + ["p10"] * 5


def test_no_state_names_a_record_without_its_tensors(claim: Claim, tmp_path: Path) -> None:
    """A machine may be lost between any two files; a record says that its layer is whole."""
    states: list[set[str]] = []

    class Watched(Artifacts):
        def write(self, prefix: str, path: str, content: bytes) -> None:
            super().write(prefix, path, content)
            states.append({file["path"] for file in json.loads(content)["files"]})

    store = Watched(str(tmp_path / "artifacts"))
    share(store, claim, write(tmp_path / "layers", 3))
    assert len(states[-1]) == 7
    assert len(states) >= 6
    for names in states:
        records = {name.removesuffix(".json") for name in names if name.endswith(".json")}
        assert records <= {name.removesuffix(".safetensors") for name in names}


def test_layers_that_are_here_already_are_not_stored_again(
    artifacts: Artifacts, claim: Claim, tmp_path: Path
) -> None:
    """The same machine goes on: what lies there is found in the store by its hash."""
    here = write(tmp_path / "layers", 2)
    share(artifacts, claim, here)
    share(artifacts, replace(claim, epoch=2), here)
    assert artifacts.children(f"work/{claim.job.id}/2") == [STATE]
    assert brought(artifacts, replace(claim, epoch=3), tmp_path / "other")


def test_the_longer_run_is_taken_whole(artifacts: Artifacts, claim: Claim, tmp_path: Path) -> None:
    """Layers of a run that began anew, on another device perhaps, are never mixed with others."""
    share(artifacts, claim, write(tmp_path / "a", 3, "gpu"))
    alone = tmp_path / "b"
    with SharedLayers(artifacts, replace(claim, epoch=2), write(alone, 2, "cpu"), on=True) as own:
        own.wait_copied(60)  # it began when the store was away, so it has brought nothing
    here = write(tmp_path / "c", 1, "cpu")
    assert brought(artifacts, replace(claim, epoch=3), here)
    assert content(here) == content(tmp_path / "a")
    longer = write(tmp_path / "d", 3, "cpu")
    before = content(longer)
    assert not brought(artifacts, replace(claim, epoch=3), longer)
    assert content(longer) == before


@pytest.mark.parametrize("harm", ["torn", "missing"])
def test_what_is_torn_is_not_brought(
    artifacts: Artifacts, claim: Claim, tmp_path: Path, harm: str
) -> None:
    whole = write(tmp_path / "a", 3)
    share(artifacts, claim, whole)
    path = artifacts.at(f"work/{claim.job.id}/1", "layer-1.safetensors")
    if harm == "torn":
        artifacts.fs.pipe_file(path, b"weights 1")
    else:
        artifacts.fs.rm_file(path)
    second, here = replace(claim, epoch=2), tmp_path / "b"
    assert brought(artifacts, second, here)
    names = ["job", "layer-0.json", "layer-0.safetensors"]
    assert content(here) == {name: content(whole)[name] for name in names}
    artifacts.fs.pipe_file(artifacts.at(f"work/{claim.job.id}/1", "job"), b"torn")
    assert not brought(artifacts, second, tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"[]",
        b"{",
        b'{"files": []}',
        b'{"files": [{"path": "job", "size": 1}]}',
        b'{"files": [{"path": "../x", "size": 1, "sha256": "", "epoch": 1}]}',
        b'{"files": [{"path": "job", "size": 1, "sha256": "", "epoch": 7}]}',
    ],
)
def test_states_of_nobody_are_passed_over(claim: Claim, tmp_path: Path, state: bytes) -> None:
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    artifacts.write(f"work/{claim.job.id}/1", STATE, state)
    artifacts.write(f"work/{claim.job.id}/noise", STATE, b"{}")
    assert not brought(artifacts, replace(claim, epoch=2), tmp_path / "here")


@pytest.mark.parametrize("anew", [False, True])
def test_a_job_that_is_tried_again_goes_on_unless_it_is_to_start_anew(
    bench: Bench, claim: Claim, tmp_path: Path, anew: bool
) -> None:
    artifacts, store = Artifacts(str(tmp_path / "artifacts")), bench.store
    share(artifacts, claim, write(tmp_path / "a", 2))
    store.fail(claim.job.id, claim.epoch, {"code": "x", "message": "", "hint": ""})
    assert store.retry(claim.job.id, anew=anew)
    again = store.claim(claim.job.id, "tester")
    assert again is not None
    assert again.epoch == 2
    assert brought(artifacts, again, tmp_path / "b") is not anew


def test_bringing_can_be_stopped_and_changes_nothing_then(
    artifacts: Artifacts, claim: Claim, tmp_path: Path
) -> None:
    share(artifacts, claim, write(tmp_path / "a", 2))
    here = write(tmp_path / "b" / "layers", 1, "own")
    before, asked = content(here), 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 5

    with pytest.raises(Interrupted):
        SharedLayers(artifacts, replace(claim, epoch=2), here, on=True).fetch(stop)
    assert content(here) == before
    assert list((tmp_path / "b").iterdir()) == [here]


def test_a_store_that_fails_for_a_while_gets_the_layers_later(
    claim: Claim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.job.shared_layers.RETRY_SECONDS", 0.05)
    monkeypatch.setattr("jobs.files.artifacts.ATTEMPTS", 1)
    (tmp_path / "artifacts").write_text("no folder")
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    with SharedLayers(artifacts, claim, write(tmp_path / "a", 2), on=True) as layers:
        assert not layers.fetch(never)
        layers.layer_finished()
        wait_until(lambda: layers.failures > 1, "it was tried again")
        (tmp_path / "artifacts").unlink()
        state = f"work/{claim.job.id}/1"
        wait_until(lambda: len(artifacts.children(state)) == 6, "all is copied")
        wait_until(lambda: len(json.loads(artifacts.read(state, STATE))["files"]) == 5, "and said")


def test_a_store_that_hangs_holds_up_neither_engine_nor_end(
    bench: Bench, bucket_url: str, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job starts and is done while the store says nothing at all."""
    monkeypatch.setattr("worker.job.supervisor.COPY_SECONDS", 0.1)
    with Proxy(object_store.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        bench.artifacts = Artifacts(bucket_url)
        job, gate = bench.job(), bench.settings.home / "gate"
        proxy.stall()
        outcomes = bench.beside(bench.supervisor("good", gate), job)
        wait_until(lambda: bench.again(job).layers_done == 1, "the first layer", 60)
        gate.touch()
        wait_until(lambda: bench.again(job).stage == "publish", "the engine has ended", 60)
        bench.shutting_down = True
        assert wait_until(lambda: outcomes, "the supervisor ends", 30) == [Outcome.RELEASED]
        assert not proxy.flowing
        proxy.flow()
        wait_until(lambda: not bench.transfers(), "the transfer has ended", 120)
        wait_until(lambda: _copiers() == [], "the copier has ended", 120)


class Slow(Artifacts):
    """A store that writes nothing before `answers` is set."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.reached, self.answers = threading.Event(), threading.Event()

    def write(self, prefix: str, path: str, content: bytes) -> None:
        self.reached.set()
        assert self.answers.wait(60)
        super().write(prefix, path, content)


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slow:
    monkeypatch.setattr("worker.job.shared_layers.JOIN_SECONDS", 0.05)
    return Slow(str(tmp_path / "slow"))


def test_a_copy_that_outlives_the_job_leaves_nothing(
    claim: Claim, tmp_path: Path, slow: Slow
) -> None:
    """A store that answers only after the job is over and all of it is swept."""
    with SharedLayers(slow, claim, write(tmp_path / "a", 1), on=True) as layers:
        layers.layer_finished()
        assert slow.reached.wait(60)
    layers.remove()
    assert not list((tmp_path / "slow").glob("work/*"))
    slow.answers.set()
    wait_until(lambda: not _copiers(), "the copier has ended")
    assert not list((tmp_path / "slow").glob("work/*"))


@pytest.mark.parametrize("deleted", [True, False])
def test_a_copy_that_outlives_a_failed_job_leaves_what_a_retry_needs(
    bench: Bench, slow: Slow, monkeypatch: pytest.MonkeyPatch, deleted: bool
) -> None:
    monkeypatch.setattr("worker.job.supervisor.COPY_SECONDS", 0.05)
    bench.artifacts, job = slow, bench.job()
    supervisor = bench.supervisor("fail", changes={"share_layers": "on"})
    assert supervisor.run(job.id) is Outcome.FAILED
    assert slow.reached.wait(60)
    if deleted:
        assert remove_job(bench.again(job), bench.store, slow, bench.progress)
    slow.answers.set()
    wait_until(lambda: not _copiers(), "the copier has ended")
    assert slow.children("work") == ([] if deleted else [job.id])


def _copiers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "layers"]


def test_another_machine_goes_on_from_the_last_layer(
    bench: Bench, artifacts: Artifacts, tmp_path: Path
) -> None:
    """Two workers that share the store alone; the first is told to leave."""
    bench.artifacts = artifacts
    on = {"share_layers": "on"}
    job, gate = bench.job(), tmp_path / "gate"
    outcomes = bench.beside(bench.supervisor("good", gate, on), job)
    wait_until(lambda: bench.again(job).layers_done == 1, "the first layer", 60)
    bench.shutting_down = True
    assert wait_until(lambda: outcomes, "the supervisor ends", 60) == [Outcome.RELEASED]
    bench.shutting_down = False
    gate.touch()
    other = on | {"work_root": tmp_path / "other"}
    assert bench.supervisor("good", gate, other).run(job.id) is Outcome.SUCCEEDED
    assert [layer.resumed for layer in bench.store.layers(job.id)] == [True, False, False]
    done = bench.again(job)
    assert done.artifacts_prefix is not None
    with artifacts.open(done.artifacts_prefix, "model.safetensors") as file:
        assert file.read() == b"012"
    assert artifacts.fs.find(f"{artifacts.root}/work") == []


def test_an_end_removes_them_and_a_failure_when_they_expire(
    bench: Bench,
) -> None:
    def kept() -> list[str]:
        return [path.name for path in Path(bench.settings.artifacts_url).glob("work/*")]

    job, on = bench.job(), {"share_layers": "on"}
    bench.supervisor("crash", changes=on).run(job.id)
    settings = bench.settings
    for days, left in ((3.0, [job.id]), (0.0, [])):
        changed = settings.model_copy(update={"layer_days": days})
        RetentionSweep(changed, bench.store, bench.artifacts, bench.progress).look()
        assert kept() == left
    assert bench.store.unswept() == []
    again = bench.job()
    outcomes = bench.beside(bench.supervisor("hang", changes=on), again)
    wait_until(lambda: bench.again(again).layers_done == 1, "the first layer", 60)
    bench.store.request_cancel(again.id)
    assert wait_until(lambda: outcomes, "the supervisor ends", 60) == [Outcome.CANCELLED]
    assert kept() == []


def test_layers_of_another_input_are_no_obstacle(bench: Bench, tmp_path: Path) -> None:
    """Another machine has another version of a model: the engine refuses, and begins anew."""
    job, gate = bench.job(), tmp_path / "gate"
    outcomes = bench.beside(bench.supervisor("picky", gate, {"share_layers": "on"}), job)
    wait_until(lambda: bench.again(job).layers_done == 1, "the first layer", 60)
    bench.shutting_down = True
    assert wait_until(lambda: outcomes, "the supervisor ends", 60) == [Outcome.RELEASED]
    bench.shutting_down = False
    gate.touch()
    (shared,) = Path(bench.settings.artifacts_url).glob("work/*/1/job")
    assert shared.read_text() == "fingerprint"
    mark = bench.settings.work_root / job.id / "engine" / "layers" / "job"
    mark.write_text("fingerprint of another model")
    assert bench.supervisor("picky", gate, {"share_layers": "on"}).run(job.id) is Outcome.SUCCEEDED
    assert [layer.resumed for layer in bench.store.layers(job.id)] == [False, False, False]


@pytest.mark.parametrize(
    ("setting", "url", "is_wanted"),
    [
        ("auto", "{home}/artifacts", False),
        ("on", "{home}/artifacts", True),
        ("auto", "/dev/shm/slimgpt-none/artifacts", True),
        ("off", "/dev/shm/slimgpt-none/artifacts", False),
        ("auto", "memory://x", True),
        ("off", "memory://x", False),
    ],
)
def test_layers_are_shared_where_the_store_outlives_the_disk(
    settings: Settings, setting: str, url: str, is_wanted: bool
) -> None:
    if url.startswith("/dev/shm") and not Path("/dev/shm").is_mount():
        pytest.skip("there is no second file system")
    place = url.format(home=settings.home)
    changed = settings.model_copy(update={"share_layers": setting, "artifacts_url": place})
    assert sharing_enabled(changed, Artifacts(place)) is is_wanted

"""Published files: in a folder, in fsspec's store in memory, and in one that speaks S3."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.files import multipart, storage_urls
from jobs.files.artifacts import MANIFEST, Artifact, ArtifactNotFound, Artifacts, HashMismatch
from jobs.files.storage_urls import BadStorageUrl
from jobs.files.transfer import Interrupted
from tests.servers import ObjectStore, free_port

FILES = {"config.json": b"{}", "deep/er/model.safetensors": bytes(range(256)) * 9000, "empty": b""}
PREFIX = "jobs/job_1/1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "checkpoint"
    for path, content in FILES.items():
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_bytes(content)
    return made


ODD = "o?dd [x]*%20 h#ome::memory://ü"


@pytest.fixture(params=["folder", "file", "memory", "s3"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    if request.param == "s3":
        return Artifacts(request.getfixturevalue("bucket_url"))
    root = tmp_path / ODD / "artifacts"
    urls = {"folder": str(root), "file": root.as_uri(), "memory": f"memory://{uuid.uuid4()}"}
    return Artifacts(urls[request.param])


def test_what_is_put_is_there(artifacts: Artifacts, folder: Path) -> None:
    put = artifacts.put(PREFIX, folder)
    assert put == artifacts.list(PREFIX)
    assert put == [
        Artifact(path, len(content), hashlib.sha256(content).hexdigest())
        for path, content in sorted(FILES.items())
    ]
    for path, content in FILES.items():
        assert artifacts.stat(PREFIX, path).size == len(content)
        with artifacts.open(PREFIX, path) as file:
            assert file.read() == content
            file.seek(1)
            assert file.read(3) == content[1:4]


@pytest.mark.parametrize("form", [str, Path.as_uri])
def test_a_folder_with_an_odd_name_is_that_folder(
    form: Callable[[Path], str], tmp_path: Path, folder: Path
) -> None:
    root = tmp_path / ODD / "artifacts"
    Artifacts(form(root)).put(PREFIX, folder)
    assert (root / PREFIX / "config.json").read_bytes() == FILES["config.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", Path(ODD).parts[0]]


@pytest.mark.parametrize("url", ["file://host/a", "file:///a?b", "file:///a#b", "a::s3://b"])
def test_what_might_mean_another_folder_is_refused(url: str) -> None:
    with pytest.raises(BadStorageUrl):
        Artifacts(url)


def test_nothing_is_there_before(artifacts: Artifacts) -> None:
    for look in (artifacts.list, lambda prefix: artifacts.open(prefix, "config.json")):
        with pytest.raises(ArtifactNotFound, match="nothing is published under 'jobs/job_1/1'"):
            look(PREFIX)


def test_a_second_put_replaces_the_first(artifacts: Artifacts, folder: Path) -> None:
    artifacts.put(PREFIX, folder)
    (folder / "config.json").unlink()
    artifacts.put(PREFIX, folder)
    with pytest.raises(ArtifactNotFound):
        artifacts.open(PREFIX, "config.json")
    assert not artifacts.fs.exists(f"{artifacts.root}/{PREFIX}/config.json")


def test_delete_leaves_the_neighbours(artifacts: Artifacts, folder: Path) -> None:
    artifacts.put(PREFIX, folder)
    artifacts.put("jobs/job_1/2", folder)
    artifacts.delete(PREFIX)
    artifacts.delete(PREFIX)
    with pytest.raises(ArtifactNotFound):
        artifacts.list(PREFIX)
    assert len(artifacts.list("jobs/job_1/2")) == len(FILES)


@pytest.mark.parametrize(
    "path",
    [
        "../2/config.json",
        "deep/../config.json",
        "/etc/passwd",
        "./config.json",
        "deep",
        "",
        MANIFEST,
        "deep\\er\\model.safetensors",
        "config.json\0",
        "config.json/",
        "//config.json",
    ],
)
def test_only_listed_files_can_be_opened(artifacts: Artifacts, folder: Path, path: str) -> None:
    artifacts.put(PREFIX, folder)
    artifacts.put("jobs/job_1/2", folder)
    with pytest.raises(ArtifactNotFound):
        artifacts.open(PREFIX, path)


@pytest.mark.parametrize("prefix", ["..", "../x", "a/../../x", "", ".", "a\\b", "a\0b"])
def test_prefixes_lead_downwards(artifacts: Artifacts, folder: Path, prefix: str) -> None:
    for act in (lambda: artifacts.put(prefix, folder), lambda: artifacts.delete(prefix)):
        with pytest.raises(ValueError, match="not a plain relative path"):
            act()


def test_a_lying_manifest_leads_nowhere(tmp_path: Path, folder: Path) -> None:
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    artifacts.put(PREFIX, folder)
    (tmp_path / "secret").write_text("secret")
    manifest = tmp_path / "artifacts" / PREFIX / MANIFEST
    text = manifest.read_text().replace("config.json", "../../../../secret")
    manifest.write_text(text)
    with pytest.raises(ValueError, match="not a plain relative path"):
        artifacts.open(PREFIX, "../../../../secret")


def test_links_are_not_published(artifacts: Artifacts, folder: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="'link' is neither a file nor a folder"):
        artifacts.put(PREFIX, folder)
    with pytest.raises(ArtifactNotFound):
        artifacts.list(PREFIX)


def test_a_transfer_can_be_stopped_anywhere(artifacts: Artifacts, folder: Path) -> None:
    """Before every chunk of every file; whatever was written by then is gone."""
    (folder / "model-2.safetensors").write_bytes(bytes(20 << 20))  # several parts
    asked = 0

    def stop_at(moment: int) -> Callable[[], bool]:
        def stop() -> bool:
            nonlocal asked
            asked += 1
            return asked > moment

        return stop

    for moment in (0, 1, 3, 12, 20):
        asked = 0
        with pytest.raises(Interrupted):
            artifacts.put(PREFIX, folder, stop_at(moment))
        assert asked == moment + 1
        with pytest.raises(ArtifactNotFound):
            artifacts.list(PREFIX)
        assert artifacts.fs.find(artifacts.root) == []
    asked = 0
    assert len(artifacts.put(PREFIX, folder, stop_at(1000))) == len(FILES) + 1


def test_single_files_come_and_go(artifacts: Artifacts, folder: Path, tmp_path: Path) -> None:
    prefix = "work/job_1/1"
    assert artifacts.children("work/job_1") == []
    sent = artifacts.send(prefix, "layer-0", folder / "deep/er/model.safetensors")
    artifacts.write(prefix, "state.json", b"1")
    artifacts.write(prefix, "state.json", b"2")
    artifacts.write("work/job_1/10", "state.json", b"3")
    assert artifacts.children("work/job_1") == ["1", "10"]
    assert artifacts.children(prefix) == ["layer-0", "state.json"]
    assert artifacts.read(prefix, "state.json") == b"2"
    artifacts.fetch(prefix, sent, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == FILES["deep/er/model.safetensors"]
    with pytest.raises(Interrupted):
        artifacts.fetch(prefix, sent, tmp_path / "other", lambda: True)
    with pytest.raises(HashMismatch, match="is not what was stored"):
        artifacts.fetch(prefix, replace(sent, sha256="0" * 64), tmp_path / "other")
    with pytest.raises(FileNotFoundError):
        artifacts.read("work/job_1/2", "state.json")
    assert not (tmp_path / "other").exists()
    artifacts.delete("work/job_1")
    assert artifacts.children("work/job_1") == []
    assert artifacts.fs.find(artifacts.root) == []


def test_an_interrupted_upload_leaves_no_parts(
    bucket_url: str, object_store: ObjectStore, folder: Path
) -> None:
    """Parts without an end are invisible, and paid for."""
    (folder / "model-2.safetensors").write_bytes(bytes(20 << 20))
    artifacts, bucket = Artifacts(bucket_url), bucket_url.split("/")[2]
    pending: list[int] = []

    def stop() -> bool:
        pending.append(len(object_store.uploads(bucket)))
        return pending[-1] > 0 and len(pending) > 14

    with pytest.raises(Interrupted):
        artifacts.put(PREFIX, folder, stop)
    assert pending[-1] == 1
    assert object_store.uploads(bucket) == []
    assert object_store.keys(bucket) == []


def test_parts_that_a_killed_worker_left_are_found_and_removed(
    bucket_url: str, object_store: ObjectStore
) -> None:
    artifacts, bucket = Artifacts(bucket_url), bucket_url.split("/")[2]
    for prefix in ("jobs/job_1/1", "jobs/job_1/2", "jobs/job_10/1"):
        left = artifacts.fs.open(f"{artifacts.at(prefix, 'model.safetensors')}", "wb")
        left.write(bytes(9 << 20))  # more than a part
        left.buffer, left.closed = None, True  # killed
    assert len(object_store.uploads(bucket)) == 3
    assert artifacts.children("jobs/job_1") == ["1", "2"]
    artifacts.delete("jobs/job_1/1")
    assert artifacts.children("jobs/job_1") == ["2"]
    artifacts.delete("jobs/job_1")
    assert artifacts.children("jobs") == ["job_10"]
    assert len(object_store.uploads(bucket)) == 1


def test_more_unfinished_uploads_than_a_store_lists_at_once(bucket_url: str) -> None:
    """Real ones list a thousand at a time; that of the tests lists all, so it is cut here."""
    artifacts, bucket = Artifacts(bucket_url), bucket_url.split("/")[2]
    keys = [f"jobs/job_1/1/{number}" for number in range(3)]
    for key in keys:
        artifacts.fs.call_s3("create_multipart_upload", Bucket=bucket, Key=key)

    class OneByOne:
        def call_s3(self, name: str, *, KeyMarker: str = "", **asked: Any) -> dict[str, Any]:
            asked.pop("UploadIdMarker", None)
            uploads = artifacts.fs.call_s3(name, **asked)["Uploads"]
            left = sorted((one for one in uploads if one["Key"] > KeyMarker), key=_key)
            page = {"Uploads": left[:1], "IsTruncated": len(left) > 1}
            return page | {"NextKeyMarker": left[0]["Key"], "NextUploadIdMarker": "of this one"}

    found = multipart.unfinished(OneByOne(), f"{bucket}/jobs")
    assert [key for key, _ in found] == keys


def _key(upload: dict[str, str]) -> str:
    return upload["Key"]


def test_a_store_that_is_away_is_an_oserror(
    bucket_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr("jobs.files.artifacts.ATTEMPTS", 1)
    monkeypatch.setattr("jobs.files.storage_urls.TRIES", 1)
    monkeypatch.setitem(storage_urls.CONNECTION, "retries", {"max_attempts": 1})
    artifacts = Artifacts(bucket_url)
    for act in (
        artifacts.probe,
        lambda: artifacts.list(PREFIX),
        lambda: artifacts.put(PREFIX, folder),
        lambda: artifacts.delete(PREFIX),
    ):
        with pytest.raises(OSError, match="Could not connect"):
            act()


def test_a_store_without_credentials_or_bucket_says_so(
    bucket_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket = bucket_url.split("/")[2]
    Artifacts(bucket_url).probe()
    with pytest.raises(OSError, match="there is no bucket 'no-such-bucket'"):
        Artifacts(bucket_url.replace(bucket, "no-such-bucket")).probe()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(OSError, match="Unable to locate credentials; set AWS_ACCESS_KEY_ID"):
        Artifacts(bucket_url).put(PREFIX, folder)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense://x/y", "nonsense:// cannot be used"),
        ("abfs://x/y", "package that is not installed"),
    ],
)
def test_a_place_that_cannot_be_is_explained(url: str, words: str) -> None:
    with pytest.raises(BadStorageUrl, match=words):
        Artifacts(url)


def test_a_publication_survives_the_power_supply(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file and every folder is on the disk before the name is; the name is, in the end."""
    synced: list[str] = []
    fsync, rename = os.fsync, os.replace

    def note(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def check(source: Path, target: Path) -> None:
        if target.name == "1":
            expected = {"config.json", "model.safetensors", "empty", "er", "deep", "1.partial"}
            assert expected <= set(synced)
            synced.clear()
        rename(source, target)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "replace", check)
    Artifacts(str(tmp_path / "artifacts")).put(PREFIX, folder)
    assert synced == ["job_1", "jobs"]


def test_what_a_killed_publication_left_goes_with_its_prefix(tmp_path: Path) -> None:
    left = tmp_path / "artifacts" / "jobs" / "job_1" / "1.partial" / "model.safetensors"
    left.parent.mkdir(parents=True)
    left.touch()
    Artifacts(str(tmp_path / "artifacts")).delete(PREFIX)
    assert not left.parent.exists()


def test_a_full_disk_leaves_nothing(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real failure to write: the process may not make files larger than 64 KiB."""
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            artifacts.put(PREFIX, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == []
    with pytest.raises(ArtifactNotFound):
        artifacts.list(PREFIX)


def test_two_that_remove_the_same_folder_leave_nothing(tmp_path: Path) -> None:
    artifacts, folder = Artifacts(str(tmp_path)), tmp_path / PREFIX
    for _ in range(5):
        for name in range(200):
            (folder / f"{name % 20}").mkdir(parents=True, exist_ok=True)
            (folder / f"{name % 20}" / f"{name}").touch()
        with ThreadPoolExecutor() as pool:
            both = [pool.submit(artifacts.delete, PREFIX) for _ in range(2)]
            for done in as_completed(both):
                done.result()
                assert not folder.exists()  # also for who came second

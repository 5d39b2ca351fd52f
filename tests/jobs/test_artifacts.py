"""Published files: in a folder, and in an object store (fsspec's own in memory)."""

from __future__ import annotations

import hashlib
import resource
import signal
import uuid
from pathlib import Path

import pytest

from jobs.artifacts import MANIFEST, Artifact, ArtifactNotFound, Artifacts

FILES = {"config.json": b"{}", "deep/er/model.safetensors": bytes(range(256)) * 9000, "empty": b""}
PREFIX = "jobs/job_1/1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "checkpoint"
    for path, content in FILES.items():
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_bytes(content)
    return made


@pytest.fixture(params=["folder", "file", "memory"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    root = tmp_path / "artifacts"
    urls = {"folder": str(root), "file": f"file://{root}", "memory": f"memory://{uuid.uuid4()}"}
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

"""Downloads that are redirected to the object store: real S3, real HTTP, curl and `slimgpt`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from api.app import create_app
from cli.main import app
from jobs.files.storage_urls import require
from jobs.settings import BadSettings, Settings
from jobs.store.keys import Keys
from jobs.store.store import Store
from tests.api.conftest import BODY
from tests.servers import ObjectStore

FILE = "model.safetensors"
PEPPER = SecretStr("p" * 32)


@pytest.fixture
def settings(settings: Settings, bucket_url: str) -> Settings:
    """On an object store, with redirects, and with keys."""
    return settings.model_copy(
        update={
            "artifacts_url": bucket_url,
            "artifact_redirects": True,
            "auth": "keys",
            "loopback_only": False,
            "key_pepper": PEPPER,
        }
    )


@pytest.fixture
def key(own_store: Store) -> str:
    """A key of the owner of all jobs here."""
    return Keys(own_store.engine, PEPPER.get_secret_value()).create("local").text


@pytest.fixture
def api(base_url: str, key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=base_url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


def address(finished: dict[str, Any], path: str = FILE) -> str:
    return f"/jobs/{finished['id']}/artifacts/{path}"


def test_a_file_is_linked_to_for_its_method_and_a_short_time(
    api: httpx.Client, finished: dict[str, Any], object_store: ObjectStore
) -> None:
    for path, content in finished["files"].items():
        for method in ("GET", "HEAD"):
            answer = api.request(method, address(finished, path))
            assert (answer.status_code, answer.content) == (307, b"")
            assert answer.headers["Cache-Control"] == "no-store"
            link = urlsplit(answer.headers["Location"])
            assert f"http://{link.netloc}" == object_store.endpoint
            query = parse_qs(link.query)
            assert query["X-Amz-Expires"] == ["300"]
            assert query["response-content-disposition"][0].startswith("attachment; filename*=")
            stored = httpx.request(method, answer.headers["Location"], trust_env=False)
            assert stored.status_code == 200
            assert stored.headers["Content-Length"] == str(len(content))
            assert stored.content == (content if method == "GET" else b"")
    part = httpx.get(
        api.get(address(finished)).headers["Location"],
        headers={"Range": "bytes=5-9"},
        trust_env=False,
    )
    assert (part.status_code, part.content) == (206, finished["files"][FILE][5:10])


def test_what_needs_no_bytes_is_answered_here(api: httpx.Client, finished: dict[str, Any]) -> None:
    etag = f'"{hashlib.sha256(finished["files"][FILE]).hexdigest()}"'
    assert api.get(address(finished), headers={"If-None-Match": etag}).status_code == 304
    assert api.get(address(finished, "none.bin")).status_code == 404
    for_a_page = api.get(address(finished), params={"redirect": "false"})
    assert (for_a_page.status_code, for_a_page.content) == (200, finished["files"][FILE])
    assert httpx.get(f"{api.base_url}{address(finished)}", trust_env=False).status_code == 401


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_follows_it(
    api: httpx.Client, finished: dict[str, Any], key: str, tmp_path: Path
) -> None:
    target = tmp_path / "file"
    url = f"{str(api.base_url).rstrip('/')}{address(finished)}"
    command = ["curl", "-sSfL", "-H", f"Authorization: Bearer {key}", "-o", str(target), url]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == finished["files"][FILE]


def test_links_are_signed_for_the_public_address(settings: Settings) -> None:
    from jobs.files.presigned_links import Links

    public = settings.model_copy(update={"artifact_public_endpoint": "https://files.example"})
    links = Links.wanted(public)
    assert links is not None
    headers = {"Content-Disposition": "attachment", "Content-Type": "text/plain"}
    link = urlsplit(links.sign("jobs/job_1/1/a b.txt", "GET", headers))
    bucket = settings.artifacts_url.removeprefix("s3://")
    assert (link.scheme, link.netloc) == ("https", "files.example")
    assert link.path == f"/{bucket}/jobs/job_1/1/a%20b.txt"
    assert parse_qs(link.query)["X-Amz-SignedHeaders"] == ["host"]


def test_there_must_be_a_store_to_redirect_to(settings: Settings, tmp_path: Path) -> None:
    folder = settings.model_copy(update={"artifacts_url": str(tmp_path)})
    with pytest.raises(BadSettings, match="SLIMGPT_ARTIFACT_REDIRECTS: needs an s3"):
        create_app(folder)
    with pytest.raises(BadSettings, match="SLIMGPT_ARTIFACTS_URL: nonsense:// cannot be used"):
        require(settings.model_copy(update={"artifacts_url": "nonsense://x"}))


@pytest.fixture
def eavesdropper(object_store: ObjectStore) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A proxy before the store at another address, and the headers of all that it was asked."""
    heard: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(dict(self.headers))
            headers = {name: value for name, value in self.headers.items() if name == "Range"}
            stored = httpx.get(object_store.endpoint + self.path, headers=headers, trust_env=False)
            self.send_response(stored.status_code)
            self.send_header("Content-Length", str(len(stored.content)))
            self.end_headers()
            self.wfile.write(stored.content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", heard
        server.shutdown()
        thread.join()


class TestDownload:
    """`slimgpt download` through a redirect to a stranger."""

    @pytest.fixture
    def settings(
        self, settings: Settings, eavesdropper: tuple[str, list[dict[str, str]]]
    ) -> Settings:
        return settings.model_copy(update={"artifact_public_endpoint": eavesdropper[0]})

    def test_it_keeps_its_key_and_resumes(
        self,
        base_url: str,
        finished: dict[str, Any],
        key: str,
        eavesdropper: tuple[str, list[dict[str, str]]],
        tmp_path: Path,
    ) -> None:
        begun = tmp_path / f"out.{finished['id']}.partial" / FILE
        begun.parent.mkdir()
        begun.write_bytes(finished["files"][FILE][:1000])
        arguments = ["download", finished["id"], str(tmp_path / "out"), "--url", base_url]
        outcome = CliRunner().invoke(app, [*arguments, "--api-key", key])
        assert outcome.exit_code == 0, outcome.stderr
        for path, content in finished["files"].items():
            assert (tmp_path / "out" / path).read_bytes() == content
        heard = eavesdropper[1]
        assert len(heard) == len(finished["files"])
        assert [one["Range"] for one in heard if "Range" in one] == ["bytes=1000-"]
        assert key not in str(heard)

    def test_wrong_bytes_are_refused(
        self, base_url: str, finished: dict[str, Any], key: str, settings: Settings, tmp_path: Path
    ) -> None:
        from jobs.files.artifacts import Artifacts

        artifacts = Artifacts(settings.artifacts_url)
        (found,) = artifacts.fs.glob(f"{artifacts.root}/jobs/*/*/{FILE}")
        artifacts.fs.pipe_file(found, b"another file")
        arguments = ["download", finished["id"], str(tmp_path / "out"), "--url", base_url]
        outcome = CliRunner().invoke(app, [*arguments, "--api-key", key])
        assert outcome.exit_code == 1
        assert "does not have the sha256" in outcome.stderr


def test_a_store_that_is_away_is_a_problem_document(
    api: httpx.Client, finished: dict[str, Any], object_store: ObjectStore
) -> None:
    object_store.stop()
    try:
        answer = api.get(address(finished), timeout=120)
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
        assert "127.0.0.1" not in answer.text
        ready = api.get("/readyz", timeout=120)
        assert (ready.status_code, ready.json()["checks"]["artifacts"]) == (503, "failed")
    finally:
        object_store.start()
    assert api.post("/jobs", json=BODY).status_code == 202

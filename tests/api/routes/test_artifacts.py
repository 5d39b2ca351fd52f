"""Files of a finished job: listed, streamed, and cut into ranges as slices of bytes are."""

from __future__ import annotations

import hashlib
import shutil
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.ranges import RangeError, parse
from tests.api.conftest import BODY

FILE = "model.safetensors"


def address(finished: dict[str, Any], path: str = FILE) -> str:
    return f"/jobs/{finished['id']}/artifacts/{path}"


def test_the_list_has_size_and_hash_of_every_file(
    api: httpx.Client, finished: dict[str, Any]
) -> None:
    items = api.get(f"/jobs/{finished['id']}/artifacts").json()["items"]
    assert {item["path"]: (item["size"], item["sha256"]) for item in items} == {
        path: (len(content), hashlib.sha256(content).hexdigest())
        for path, content in finished["files"].items()
    }


def test_every_file_comes_whole_as_an_attachment(
    api: httpx.Client, finished: dict[str, Any]
) -> None:
    for path, content in finished["files"].items():
        answer = api.get(address(finished, path))
        assert answer.content == content
        assert answer.headers["Content-Length"] == str(len(content))
        assert answer.headers["ETag"] == f'"{hashlib.sha256(content).hexdigest()}"'
        assert answer.headers["Content-Disposition"].startswith("attachment;")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "wanted", ["0-0", "5-9", "1048570-1048590", "2000000-", "-7", "0-99999999"]
)
def test_a_range_is_a_slice(api: httpx.Client, finished: dict[str, Any], wanted: str) -> None:
    content = finished["files"][FILE]
    first, last = wanted.split("-")
    start = int(first) if first else len(content) - int(last)
    stop = int(last) + 1 if first and last else len(content)
    answer = api.get(address(finished), headers={"Range": f"bytes={wanted}"})
    assert answer.status_code == 206
    assert answer.content == content[start:stop]
    end = start + len(answer.content) - 1
    assert answer.headers["Content-Range"] == f"bytes {start}-{end}/{len(content)}"


def test_a_range_beyond_the_end_is_refused(api: httpx.Client, finished: dict[str, Any]) -> None:
    size = len(finished["files"][FILE])
    answer = api.get(address(finished), headers={"Range": f"bytes={size}-"})
    assert answer.status_code == 416
    assert answer.json()["type"] == "/problems/range-not-satisfiable"
    assert answer.headers["Content-Range"] == f"bytes */{size}"


def test_a_range_of_another_version_brings_the_whole_file(
    api: httpx.Client, finished: dict[str, Any]
) -> None:
    headers = {"Range": "bytes=5-9", "If-Range": '"another"'}
    answer = api.get(address(finished), headers=headers)
    assert (answer.status_code, answer.content) == (200, finished["files"][FILE])
    headers["If-Range"] = answer.headers["ETag"]
    assert api.get(address(finished), headers=headers).status_code == 206


def test_a_file_that_the_client_has_is_not_sent_again(
    api: httpx.Client, finished: dict[str, Any]
) -> None:
    etag = api.head(address(finished)).headers["ETag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        answer = api.get(address(finished), headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
    answer = api.get(address(finished), headers={"If-None-Match": '"other"'})
    assert answer.status_code == 200


def test_head_says_the_size_and_sends_nothing(api: httpx.Client, finished: dict[str, Any]) -> None:
    answer = api.head(address(finished))
    assert answer.headers["Content-Length"] == str(len(finished["files"][FILE]))
    assert answer.content == b""


@pytest.mark.parametrize(
    "path", ["none.bin", "manifest.json", "../../../slimgpt.db", "%2e%2e/%2e%2e/slimgpt.db", "%00"]
)
def test_only_listed_files_can_be_reached(
    api: httpx.Client, finished: dict[str, Any], path: str
) -> None:
    request = api.build_request("GET", address(finished))
    raw = address(finished, path).encode()
    request.url = request.url.copy_with(raw_path=raw)  # as it is: clients would normalise it
    answer = api.send(request)
    assert answer.status_code == 404
    assert answer.json()["status"] == 404


def test_a_job_that_is_not_done_has_no_files_yet(api: httpx.Client) -> None:
    job_id = api.post("/jobs", json=BODY).json()["id"]
    for path in ("artifacts", f"artifacts/{FILE}", "report"):
        answer = api.get(f"/jobs/{job_id}/{path}")
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/job-not-finished")


def test_files_that_someone_removed_are_a_problem_not_a_crash(
    api: httpx.Client, finished: dict[str, Any]
) -> None:
    (finished["folder"] / FILE).unlink()
    gone = api.get(address(finished))
    assert (gone.status_code, gone.json()["type"]) == (404, "/problems/artifact-not-found")
    shutil.rmtree(finished["folder"])
    assert api.get(f"/jobs/{finished['id']}/artifacts").status_code == 404


@given(st.binary(max_size=40), st.integers(0, 60), st.integers(0, 60))
def test_ranges_are_python_slices(content: bytes, first: int, last: int) -> None:
    def cut(header: str) -> bytes | None:
        part = parse(header, len(content))
        return None if part is None else content[part[0] : part[1]]

    if first >= len(content):
        if first <= last:
            with pytest.raises(RangeError):
                parse(f"bytes={first}-{last}", len(content))
    else:
        assert cut(f"bytes={first}-") == content[first:]
        assert cut(f"bytes={first}-{last}") == (
            content[first : last + 1] if first <= last else None
        )
    if last and content:
        assert cut(f"bytes=-{last}") == content[-last:]


@pytest.mark.parametrize("header", [None, "", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4"])
def test_what_is_not_one_byte_range_means_the_whole_file(header: str | None) -> None:
    assert parse(header, 10) is None

"""Uploads over a real uvicorn: what is taken in, what is refused, and that nothing is left."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.routes.calibration_sets import CalibrationSetView
from api.uploads import receive, spool
from jobs.settings import Settings
from jobs.store.store import Store
from tests.api.conftest import BODY
from tests.api.http.test_problems import problem
from tests.api.test_auth import Client, client, engine, guarded, keys, stranger
from tests.servers import wait_until

__all__ = ["client", "engine", "guarded", "keys", "stranger"]
FEW = {"samples": 1, "sequence_length": 8}
LINES = b'{"text": "one"}\n\n"two"\r\n{"text": " "}\n{"messages": [{"content": "three"}]}'
NDJSON = {"Content-Type": "application/x-ndjson"}
PLAIN = {"Content-Type": "text/plain"}
MAX = 2 << 20


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Small limits."""
    changes = {"max_upload_bytes": MAX, "max_uploads_per_owner": 20}
    return settings.model_copy(update={**changes, "max_uploaded_bytes_per_owner": 3 << 20})


def upload(api: Any, content: Any = LINES, headers: Any = None, **params: Any) -> Any:
    return api.post(
        "/calibration-sets", content=content, headers=NDJSON | (headers or {}), params=params
    )


def left(settings: Settings) -> list[str]:
    """Files of uploads on disk: those under way, and those in the store."""
    folders = (settings.uploads_root, Path(settings.artifacts_url) / "calibration-sets")
    return [path.name for folder in folders for path in folder.rglob("*") if path.is_file()]


def nothing_left(settings: Settings, api: Any) -> bool:
    return left(settings) == [] and api.get("/calibration-sets").json()["items"] == []


def test_an_upload_is_a_set_that_can_be_read_back(api: httpx.Client, settings: Settings) -> None:
    answer = upload(api, name="grüße")
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (
        answer.headers["Location"] == made["links"]["self"] == f"/v1/calibration-sets/{made['id']}"
    )
    assert (made["name"], made["format"], made["documents"]) == ("grüße", "jsonl", 3)
    assert (made["size"], made["owner"]) == (len(LINES), "local")
    assert made["sha256"] == hashlib.sha256(LINES).hexdigest()
    assert made["source"] == f"upload:{made['id']}"
    assert api.get(made["links"]["self"]).json() == made
    assert api.get("/calibration-sets").json() == {"items": [made], "next_cursor": None}
    content = api.get(made["links"]["content"])
    assert content.content == LINES
    assert content.headers["Content-Type"] == "application/x-ndjson"
    assert content.headers["Content-Disposition"].startswith("attachment")
    assert content.headers["ETag"] == f'"{made["sha256"]}"'
    assert sorted(left(settings)) == [f"{made['id']}.jsonl", "manifest.json"]


def test_plain_text_and_fields_of_another_name(api: httpx.Client) -> None:
    prose = b"Eins.\n\nZwei.\n \nDrei."
    made = upload(api, prose, {"Content-Type": "text/plain; charset=UTF-8"}).json()
    assert (made["format"], made["documents"]) == ("text", 3)
    assert api.get(made["links"]["content"]).headers["Content-Type"].startswith("text/plain")
    rows = b'{"body": "one"}\n{"body": "two"}'
    detail = problem(upload(api, rows), "invalid-calibration-set")["detail"]
    assert "no field is known to contain text; the fields are: body" in detail
    assert upload(api, rows, text_field="body").json()["documents"] == 2


def test_a_table_is_read_and_prose_that_is_none_is_refused(
    api: httpx.Client, settings: Settings
) -> None:
    table = b'id,text\r\n1,"Eins,\nzwei."\r\n2,Drei.\r\n'
    made = upload(api, table, {"Content-Type": "text/csv"}).json()
    assert (made["format"], made["documents"]) == ("csv", 2)
    content = api.get(made["links"]["content"])
    assert content.headers["Content-Type"].startswith("text/csv")
    assert content.content == table
    assert sorted(left(settings)) == [f"{made['id']}.csv", "manifest.json"]
    tabs = table.replace(b",t", b"\tt").replace(b"1,", b"1\t").replace(b"2,", b"2\t")
    kind = {"Content-Type": "text/tab-separated-values"}
    assert upload(api, tabs, kind).json()["documents"] == 2
    for body, words in (
        (table, "is a table: declare it as text/csv"),
        (LINES, "is JSON lines: declare it as application/x-ndjson"),
        (b"PAR1\x15\x04", "is a Parquet file: write its rows as JSON lines"),
        ("prose".encode("utf-16"), "is UTF-16, not UTF-8: save it as UTF-8"),
    ):
        refused = upload(api, body, {"Content-Type": "text/plain"})
        assert words in problem(refused, "invalid-calibration-set")["detail"]


def test_the_same_text_again_is_the_same_set(api: httpx.Client, settings: Settings) -> None:
    first = upload(api, name="first")
    again = upload(api, name="again")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert len(left(settings)) == 2
    assert upload(api, b'"other"').status_code == 201


def test_a_text_that_the_client_has_is_not_sent_again(
    api: httpx.Client, settings: Settings
) -> None:
    place = f"{upload(api).headers['Location']}/content"
    etag = api.get(place).headers["ETag"]
    for known in (etag, "*"):
        answer = api.get(place, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == etag
    assert api.get(place, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_deleted_set_is_gone(api: httpx.Client, settings: Settings) -> None:
    place = upload(api).headers["Location"]
    assert api.delete(place).status_code == 204
    for path in (place, f"{place}/content"):
        problem(api.get(path), "calibration-set-not-found")
    problem(api.delete(place), "calibration-set-not-found")
    assert nothing_left(settings, api)
    assert upload(api).status_code == 201


def test_a_set_that_a_job_needs_stays(api: httpx.Client, own_store: Store) -> None:
    made = upload(api).json()
    texts = {
        "calibration": {"source": made["source"], **FEW},
        "evaluation": {"texts": [made["source"]], "sequence_lengths": [8]},
    }
    posted = api.post("/jobs", json={**BODY, **texts})
    assert posted.status_code == 202, posted.text
    problem(api.delete(made["links"]["self"]), "calibration-set-in-use")
    own_store.request_cancel(posted.json()["id"])
    assert api.delete(made["links"]["self"]).status_code == 204


def test_jobs_and_plans_name_sets_that_are_there(api: httpx.Client) -> None:
    for route in ("/jobs", "/plans"):
        names_are_checked(api, route)


def names_are_checked(api: httpx.Client, route: str) -> None:
    gone = f"upload:cal_{'0' * 26}"
    texts = {"calibration": {"source": gone}, "evaluation": {"texts": ["held-out", gone]}}
    document = problem(api.post(route, json={**BODY, **texts}), "invalid-request")
    assert [e["pointer"] for e in document["errors"]] == [
        "/calibration/source",
        "/evaluation/texts/1",
    ]
    assert "there is no calibration set" in document["detail"]
    for wrong in ("upload:", "upload:cal_1", "upload:../../etc/passwd", "upload:cal_" + "O" * 26):
        document = problem(
            api.post(route, json={**BODY, "calibration": {"source": wrong}}), "invalid-request"
        )
        assert document["errors"][0]["pointer"] == "/calibration/source"


def test_pages(api: httpx.Client) -> None:
    ids = [upload(api, json.dumps(str(n)).encode()).json()["id"] for n in range(5)]
    seen: list[str] = []
    page: dict[str, Any] = {"next_cursor": None}
    while not seen or page["next_cursor"]:
        params = {"limit": 2} | ({"cursor": page["next_cursor"]} if seen else {})
        page = api.get("/calibration-sets", params=params).json()
        seen += [item["id"] for item in page["items"]]
    assert seen == sorted(ids, reverse=True)
    problem(api.get("/calibration-sets?cursor=am9iXzA"), "invalid-request")


REFUSED: list[tuple[bytes, dict[str, str], str, str]] = [
    (b"", NDJSON, "invalid-calibration-set", "contains no text"),
    (b" \n\n", PLAIN, "invalid-calibration-set", "contains no text"),
    (b'"a"\n{"b": ]\n"c"', NDJSON, "invalid-calibration-set", "line 2 is not JSON"),
    (b'"a"\n{"c": 1}', NDJSON, "invalid-calibration-set", "line 2 cannot be used: no field"),
    (b'"a"\n7', NDJSON, "invalid-calibration-set", "line 2 cannot be used: a int"),
    (b'"\xff"', NDJSON, "invalid-calibration-set", "line 1 is not UTF-8"),
    (b"a\nb\xe2\x82", PLAIN, "invalid-calibration-set", "line 2 is not UTF-8"),
    (b"a\nb\0c", PLAIN, "invalid-calibration-set", "line 2 contains NUL"),
    (b"\x1f\x8b\x08\0packed", PLAIN, "invalid-calibration-set", "the file is compressed with gzip"),
    (b"[" * 50_000, NDJSON, "invalid-calibration-set", "nested too deeply"),
    (b'{"a":' * 100_000, NDJSON, "invalid-calibration-set", "nested more than 64 deep"),
    (b"9" * 10_000, NDJSON, "invalid-calibration-set", "too many digits"),
    (b'{"text": "\\udc00"}', NDJSON, "invalid-calibration-set", "half of a character"),
    (b'{"\\ud800\\u0007": 1}', NDJSON, "invalid-calibration-set", "are: \\ud800\\x07"),
    (b"x" * (MAX + 1), PLAIN, "body-too-large", f"larger than {MAX} bytes"),
    (LINES, {"Content-Type": "application/json"}, "not-text", "is 'application/json'; send one"),
    (LINES, {"Content-Type": ""}, "not-text", "is missing"),
    (LINES, {"Content-Type": "multipart/form-data; boundary=x"}, "not-text", "multipart"),
    (LINES, {"Content-Type": "text/plain; charset=latin-1"}, "not-text", "'latin-1'; send UTF-8"),
    (LINES, {**NDJSON, "Content-Encoding": "gzip"}, "not-text", "Content-Encoding 'gzip'"),
    (LINES, {**PLAIN, "Origin": "http://evil.example"}, "not-local", "its own machine only"),
    (LINES, {**PLAIN, "Origin": "null"}, "not-local", "its own machine only"),
]


def test_what_is_refused_leaves_nothing(api: httpx.Client, settings: Settings) -> None:
    for content, headers, kind, words in REFUSED:
        document = problem(upload(api, content, headers), kind)
        assert words in document["detail"]
        assert str(settings.home) not in document["detail"]
        if "line 2" in words:
            assert document["line"] == 2
        assert nothing_left(settings, api), words


def test_a_page_of_the_services_own_may_upload(api: httpx.Client, base_url: str) -> None:
    same = {**PLAIN, "Origin": base_url}
    assert upload(api, b"words", same).status_code == 201


def test_a_streamed_upload_is_cut_at_its_limit(api: httpx.Client, settings: Settings) -> None:
    """Without Content-Length; nobody needs to be asked for the end."""
    chunks = (b"x" * 65536 for _ in range(MAX // 65536 + 1))
    problem(upload(api, chunks, PLAIN), "body-too-large")
    assert upload(api, (b"x" * 65536 for _ in range(MAX // 65536)), PLAIN).status_code == 201


def test_no_other_address_takes_so_much(api: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    for path in ("/jobs", "/plans", "/calibration-sets/", "//calibration-sets", "/nothing"):
        problem(api.post(path, content=b" " * (MAX - 1), headers=headers), "body-too-large")
    problem(api.put("/calibration-sets", content=b" " * (MAX - 1)), "body-too-large")


def test_quotas(api: httpx.Client, settings: Settings) -> None:
    assert upload(api, b"a" * MAX, PLAIN).status_code == 201
    document = problem(upload(api, b"b" * MAX, PLAIN), "uploads-full")
    assert "local has 2,097,152 bytes" in document["detail"]
    assert "2,097,152 more exceed the limit of 3,145,728" in document["detail"]
    assert upload(api, b"a" * MAX, PLAIN).status_code == 200  # nothing more is kept
    for number in range(19):
        assert upload(api, str(number).encode(), PLAIN).status_code == 201
    assert "has 20 calibration sets" in problem(upload(api), "uploads-full")["detail"]
    assert len(left(settings)) == 2 * 20


class Wire:
    """An upload by hand, on a socket."""

    def __init__(self, base_url: str, declared: int) -> None:
        port = int(base_url.rsplit(":", 1)[1])
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        head = f"POST /calibration-sets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {declared}"
        self.send(f"{head}\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n".encode())

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> bytes:
        """All that comes until the other side hangs up."""
        said = b""
        while chunk := self.socket.recv(65536):
            said += chunk
        return said


@pytest.fixture
def wire(base_url: str) -> Iterator[Callable[[int], Wire]]:
    made: list[Wire] = []

    def start(declared: int) -> Wire:
        made.append(Wire(base_url, declared))
        return made[-1]

    yield start
    for one in made:
        one.socket.close()


def test_a_client_that_hangs_up_leaves_nothing(
    api: httpx.Client, settings: Settings, wire: Callable[[int], Wire]
) -> None:
    broken = wire(MAX)
    broken.send(b"x" * (1 << 20))
    wait_until(lambda: left(settings), "the upload is under way")
    (path,) = settings.uploads_root.rglob("*.txt")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    broken.socket.close()
    wait_until(lambda: nothing_left(settings, api), "nothing is left")
    assert list(settings.uploads_root.iterdir()) == []


def test_a_client_that_falls_silent_is_not_waited_for(
    api: httpx.Client,
    settings: Settings,
    wire: Callable[[int], Wire],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receive, "IDLE_SECONDS", 0.5)
    slow = wire(MAX)
    slow.send(b"x")
    said = slow.answer()
    assert b" 408 " in said.splitlines()[0]
    assert b"no data was received for 0.5 seconds" in said
    assert nothing_left(settings, api)


def test_a_client_that_drips_is_not_waited_for(
    api: httpx.Client,
    settings: Settings,
    wire: Callable[[int], Wire],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receive, "WHOLE_SECONDS", 1.0)
    slow = wire(MAX)
    slow.socket.settimeout(0.2)
    said = b""
    while not said:
        slow.send(b"x")
        try:
            said = slow.socket.recv(65536)
        except TimeoutError:
            continue
    slow.socket.settimeout(10)
    while b"more than 1 seconds" not in said and (piece := slow.socket.recv(65536)):
        said += piece  # the body comes after the head
    assert b" 408 " in said.splitlines()[0]
    assert b"more than 1 seconds" in said
    assert nothing_left(settings, api)


def test_an_owner_has_few_uploads_under_way(
    api: httpx.Client, settings: Settings, wire: Callable[[int], Wire]
) -> None:
    many = [wire(MAX) for _ in range(receive.AT_ONCE)]
    wait_until(lambda: len(left(settings)) == receive.AT_ONCE, "all are under way")
    answer = upload(api)
    problem(answer, "too-many-uploads")
    assert answer.headers["Retry-After"]
    many[0].socket.close()
    wait_until(lambda: upload(api).status_code == 201, "one more is taken")


def test_the_disk_is_looked_at_while_it_fills(
    api: httpx.Client,
    settings: Settings,
    wire: Callable[[int], Wire],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receive, "LOOK_BYTES", 1 << 20)
    filling = wire(MAX)
    filling.send(b"x" * (1 << 19))
    wait_until(lambda: left(settings), "the upload is under way")
    real = os.statvfs

    def full(path: Any) -> os.statvfs_result:
        found = list(real(path))
        found[4] = 0
        return os.statvfs_result(found)

    monkeypatch.setattr(os, "statvfs", full)
    filling.send(b"x" * (3 << 19))
    said = filling.answer()
    assert b" 503 " in said.splitlines()[0]
    assert b"storage-low" in said
    monkeypatch.undo()
    assert nothing_left(settings, api)


@pytest.mark.parametrize("broken", ["put", "delete"])
def test_a_store_that_fails_leaves_no_set(
    api: httpx.Client, settings: Settings, broken: str
) -> None:
    """A file stands where a folder must be."""
    place = Path(settings.artifacts_url) / "calibration-sets"
    if broken == "put":
        place.write_text("in the way")
        problem(upload(api), "unavailable")
        place.unlink()
    else:
        made = upload(api).json()
        os.rename(place, place.with_name("elsewhere"))
        place.write_text("in the way")
        assert api.delete(made["links"]["self"]).status_code == 204
        place.unlink()
        problem(api.get(made["links"]["self"]), "calibration-set-not-found")
    assert nothing_left(settings, api)
    assert upload(api).status_code == 201


def test_what_a_killed_process_left_is_swept(
    api: httpx.Client,
    settings: Settings,
    wire: Callable[[int], Wire],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    orphan = settings.uploads_root / f"cal_{'0' * 26}"
    orphan.mkdir(parents=True)
    (orphan / "x.txt").write_text("left")
    under_way = wire(MAX)
    under_way.send(b"x" * (1 << 19))
    wait_until(lambda: len(left(settings)) == 2, "an upload is under way")
    upload(api)
    assert orphan.exists()  # it may be just being made
    monkeypatch.setattr(spool, "ABANDONED_SECONDS", -1.0)
    upload(api, b'"other"')
    assert not orphan.exists()
    under_way.send(b"x" * (3 << 19))
    under_way.socket.shutdown(socket.SHUT_WR)
    assert b" 201 " in under_way.answer().splitlines()[0]


def test_owners_are_strangers_to_each_other(client: Client) -> None:
    ada, bob, ops = client("ada"), client("bob"), client("ops", admin=True)
    made = upload(ada).json()
    assert made["owner"] == "ada"
    for path in (f"/calibration-sets/{made['id']}", f"/calibration-sets/cal_{'0' * 26}"):
        for method, route in (("GET", path), ("GET", f"{path}/content"), ("DELETE", path)):
            problem(bob.request(method, route), "calibration-set-not-found")
    assert bob.get("/calibration-sets").json()["items"] == []
    assert bob.get("/calibration-sets?owner=ada").json()["items"] == []
    job = {**BODY, "calibration": {"source": made["source"], **FEW}}
    document = problem(bob.post("/jobs", json=job), "invalid-request")
    assert document["errors"][0]["pointer"] == "/calibration/source"
    assert ada.post("/jobs", json=job).status_code == 202
    assert upload(bob).json()["id"] != made["id"]
    assert [s["id"] for s in ops.get("/calibration-sets?owner=ada").json()["items"]] == [made["id"]]
    assert len(ops.get("/calibration-sets").json()["items"]) == 2
    assert ops.get(made["links"]["content"]).content == LINES


def test_a_body_is_not_read_of_those_without_a_key(stranger: TestClient) -> None:
    problem(upload(stranger, b"\xff"), "unauthorized")


# Random uploads: an independent reading says which line is the first that is bad.

GOOD = st.sampled_from(['"a"', '{"text": "x"}', '{"content": "y", "n": 1e999}', "", "  ",
                        '{"instruction": "i", "output": "o"}', '{"text": null}'])  # fmt: skip
BAD = st.sampled_from(['{"text": "x"', "nul", '{"a": 1}', "[1]", "3", '{"text": {}}', "{'text': 1}",
                       '{"text": "x"},', "[" * 5000, "9" * 5000, '"\\ud800"'])  # fmt: skip
QUICK = hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@QUICK
@given(before=st.lists(GOOD, max_size=5), bad=BAD, after=st.lists(GOOD | BAD, max_size=5))
def test_the_first_bad_line_is_named(
    api: httpx.Client, settings: Settings, before: list[str], bad: str, after: list[str]
) -> None:
    content = "\n".join([*before, bad, *after]).encode()
    document = problem(upload(api, content), "invalid-calibration-set")
    assert document["line"] == len(before) + 1
    assert nothing_left(settings, api)


@QUICK
@given(lines=st.lists(GOOD, max_size=5), end=st.sampled_from(["\n", "\r\n"]), mark=st.booleans())
def test_good_lines_are_counted(
    api: httpx.Client, settings: Settings, lines: list[str], end: str, mark: bool
) -> None:
    content = (b"\xef\xbb\xbf" if mark else b"") + end.join(lines).encode()
    answer = upload(api, content)
    expected = sum(bool(line.strip()) and line != '{"text": null}' for line in lines)
    if not expected:
        assert "contains no text" in problem(answer, "invalid-calibration-set")["detail"]
        return
    made = CalibrationSetView.model_validate(answer.json())
    assert (made.documents, made.size) == (expected, len(content))
    assert api.delete(made.links.self).status_code == 204


@QUICK
@given(content=st.binary(max_size=200), plain=st.booleans())
def test_any_bytes_are_taken_or_refused(
    api: httpx.Client, settings: Settings, content: bytes, plain: bool
) -> None:
    answer = upload(api, content, PLAIN if plain else NDJSON)
    if answer.status_code == 201:
        content.decode()
        assert api.get(answer.json()["links"]["content"]).content == content
        assert api.delete(answer.headers["Location"]).status_code == 204
    else:
        problem(answer, "invalid-calibration-set")
    assert nothing_left(settings, api)

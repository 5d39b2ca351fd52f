"""Who is let in, and whose jobs they see, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from api.app import create_app
from api.auth import is_open
from api.streams import feeds, key_revocations
from jobs.settings import BadSettings, Settings
from jobs.store.database import make_engine
from jobs.store.keys import Keys, list_keys, revoke_key
from tests import sparse_model
from tests.api.conftest import BODY, CONFIG, another
from tests.api.http.test_problems import problem

PEPPER = "a pepper that only the tests know, of some length"
Client = Callable[..., TestClient]


@pytest.fixture
def guarded(settings: Settings, database_url: str) -> Settings:
    """Settings that ask for keys, on both databases."""
    sparse_model.write(settings.models_root / "tiny", CONFIG)
    asked = {"auth": "keys", "key_pepper": PEPPER, "database_url": database_url}
    return Settings(**{**settings.model_dump(), **asked, "loopback_only": False})


@pytest.fixture
def engine(guarded: Settings) -> Iterator[Engine]:
    engine = make_engine(guarded.database_url.get_secret_value())
    yield engine
    engine.dispose()


@pytest.fixture
def keys(engine: Engine) -> Keys:
    return Keys(engine, PEPPER)


@pytest.fixture
def stranger(guarded: Settings) -> Iterator[TestClient]:
    """A client without a key."""
    with TestClient(create_app(guarded)) as client:
        yield client


@pytest.fixture
def client(stranger: TestClient, keys: Keys) -> Client:
    """A client with a new key of an owner."""

    def of(owner: str, *, admin: bool = False) -> TestClient:
        made = another(stranger)
        made.headers["Authorization"] = f"Bearer {keys.create(owner, admin=admin).text}"
        return made

    return of


def operations(api: TestClient) -> list[tuple[str, str, dict[str, Any]]]:
    paths = api.get("/openapi.json").json()["paths"]
    return [(m, path, o) for path, methods in paths.items() for m, o in methods.items()]


def test_nothing_is_open_but_what_is_meant_to_be(stranger: TestClient) -> None:
    for method, path, operation in operations(stranger):
        answer = stranger.request(method, path.replace("{job_id}", "job_1"))
        if is_open(path):
            assert answer.status_code != 401, path
            assert operation["security"] == []
            continue
        problem(answer, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="slimgpt"'
        assert operation["security"] == [{"apiKey": []}]
        assert "401" in operation["responses"]
    schemes = stranger.get("/openapi.json").json()["components"]["securitySchemes"]
    assert (schemes["apiKey"]["type"], schemes["apiKey"]["scheme"]) == ("http", "bearer")


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/jobs/", "/%2fjobs", "/jobs/..%2fhealthz", "/healthz/../jobs", "/readyz%0a"],
)
def test_what_does_not_exist_is_closed_too(stranger: TestClient, path: str) -> None:
    problem(stranger.get(path), "unauthorized")


def test_a_body_is_not_read_of_those_who_may_not_send_one(stranger: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    problem(stranger.post("/jobs", content="{", headers=headers), "unauthorized")


def test_a_valid_key_is_let_in_and_a_revoked_one_is_not(
    stranger: TestClient, keys: Keys, engine: Engine
) -> None:
    made = keys.create("ada")
    for scheme in ("Bearer", "bearer", "BEARER "):
        headers = {"Authorization": f"{scheme} {made.text}"}
        assert stranger.get("/jobs", headers=headers).status_code == 200
    revoke_key(engine, made.key.id)
    answer = stranger.get("/jobs", headers=headers)
    problem(answer, "unauthorized")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YTpi", "slim_x", "Bearer slim_x", "Bearer " + "x" * 4000],
)
def test_what_is_no_key_is_refused(stranger: TestClient, header: str) -> None:
    problem(stranger.get("/jobs", headers={"Authorization": header}), "unauthorized")


def test_two_keys_are_none(stranger: TestClient, keys: Keys) -> None:
    """A proxy and the service could each take another one."""
    headers = [("Authorization", f"Bearer {keys.create(owner).text}") for owner in ("ada", "bob")]
    problem(stranger.get("/jobs", headers=headers), "unauthorized")


def test_a_key_in_the_query_is_none(stranger: TestClient, keys: Keys) -> None:
    """Addresses are logged by everyone on the way."""
    text = keys.create("ada").text
    problem(stranger.get(f"/jobs?key={text}&access_token={text}"), "unauthorized")


def test_another_owners_job_does_not_exist(client: Client, stranger: TestClient) -> None:
    ada, bob = client("ada"), client("bob")
    job = ada.post("/jobs", json=BODY).json()
    assert job["owner"] == "ada"
    routes = [(m, p) for m, p, _ in operations(stranger) if "{job_id}" in p]
    assert len(routes) >= 7
    for method, path in routes:
        answers = [
            bob.request(method, path.format(job_id=job_id, path="x", delivery_id="x"))
            for job_id in (job["id"], "job_00000000000000000000000000")
        ]
        documents = [problem(answer, "job-not-found") for answer in answers]
        own = {"detail": "", "instance": "", "request_id": ""}
        known = [{**d, **own} for d in documents]
        assert known[0] == known[1], path
    assert bob.get("/jobs").json()["items"] == []
    assert bob.get("/jobs?owner=ada").json()["items"] == []
    assert ada.get(f"/jobs/{job['id']}").json()["status"] == "queued"  # bob cancelled nothing
    assert [j["id"] for j in ada.get("/jobs?owner=ada").json()["items"]] == [job["id"]]


def test_an_admin_sees_all_jobs_and_posts_their_own(client: Client) -> None:
    ids = {who: client(who).post("/jobs", json=BODY).json()["id"] for who in ("ada", "bob")}
    admin = client("ops", admin=True)
    ids["ops"] = admin.post("/jobs", json=BODY).json()["id"]
    assert {j["id"] for j in admin.get("/jobs").json()["items"]} == set(ids.values())
    for owner, job_id in ids.items():
        items = admin.get("/jobs", params={"owner": owner}).json()["items"]
        assert [(j["id"], j["owner"]) for j in items] == [(job_id, owner)]
        assert admin.get(f"/jobs/{job_id}").status_code == 200
    assert admin.post(f"/jobs/{ids['ada']}/cancel").status_code == 202
    problem(admin.get("/jobs?owner=%00"), "invalid-request")


def test_an_idempotency_key_is_its_owners(client: Client) -> None:
    headers = {"Idempotency-Key": "night-1"}
    posted = [client(who).post("/jobs", json=BODY, headers=headers) for who in ("ada", "bob")]
    assert [answer.status_code for answer in posted] == [202, 202]
    assert posted[0].json()["id"] != posted[1].json()["id"]


def test_cursors_lead_to_no_other_owner(client: Client) -> None:
    ada, bob = client("ada"), client("bob")
    for who in (ada, bob, ada, bob, ada):
        who.post("/jobs", json=BODY)
    cursor = ada.get("/jobs?limit=1").json()["next_cursor"]
    items = bob.get("/jobs", params={"cursor": cursor}).json()["items"]
    assert {job["owner"] for job in items} == {"bob"}


def test_keys_are_in_no_answer_and_no_log(
    client: Client, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    ada = client("ada")
    text = str(ada.headers["Authorization"]).partition(" ")[2]
    answers = [ada.get("/jobs"), ada.post("/jobs", json=BODY), ada.get("/nothing")]
    wrong = text[:-3] + "000"
    answers.append(ada.get("/jobs", headers={"Authorization": f"Bearer {wrong}"}))
    said = "".join(a.text + str(a.headers) for a in answers)
    said += "".join(capfd.readouterr()) + caplog.text
    assert text[18:] not in said
    assert wrong[18:] not in said


def test_no_start_without_keys_but_for_loopback(settings: Settings) -> None:
    given = settings.model_dump()
    with pytest.raises(BadSettings, match="SLIMGPT_AUTH: off needs SLIMGPT_LOOPBACK_ONLY"):
        create_app(Settings(**{**given, "loopback_only": False}))
    for pepper in ("", "short"):
        with pytest.raises(BadSettings, match="SLIMGPT_KEY_PEPPER"):
            create_app(Settings(**{**given, "auth": "keys", "key_pepper": pepper}))


def test_keys_are_asked_for_unless_somebody_says_otherwise() -> None:
    assert Settings.model_fields["auth"].default == "keys"


LOOPBACK = [("127.0.0.1", "localhost:8000"), ("127.9.9.9", "127.0.0.1"), ("::1", "[::1]:8000"),
            ("::ffff:127.0.0.1", "LOCALHOST")]  # fmt: skip
FOREIGN = [("10.0.0.7", "localhost"), ("203.0.113.9", "127.0.0.1"), ("::ffff:10.0.0.7", "[::1]"),
           ("fe80::1", "localhost"), ("", "localhost"), ("testclient", "localhost"),
           ("127.0.0.1", "evil.example"), ("127.0.0.1", "localhost.evil.example"),
           ("127.0.0.1", "127.0.0.1.nip.io:8000"), ("127.0.0.1", "0.0.0.0"),
           ("127.0.0.1", "127.0.0.1@evil"), ("127.0.0.1", "")]  # fmt: skip


@pytest.mark.parametrize(("peer", "host"), LOOPBACK + FOREIGN)
def test_without_keys_only_this_machine_is_answered(
    settings: Settings, peer: str, host: str
) -> None:
    with TestClient(create_app(settings), client=(peer, 50000)) as client:
        answers = [client.get(path, headers={"Host": host}) for path in ("/jobs", "/healthz")]
    if (peer, host) in LOOPBACK:
        assert [answer.status_code for answer in answers] == [200, 200]
    else:
        for answer in answers:
            problem(answer, "not-local")


def test_a_proxy_on_this_machine_does_not_make_strangers_local(api: httpx.Client) -> None:
    """uvicorn believes a forwarded address that a loopback peer names."""
    problem(api.get("/jobs", headers={"X-Forwarded-For": "203.0.113.9"}), "not-local")


def test_without_keys_the_description_asks_for_none(settings: Settings) -> None:
    described = create_app(settings).openapi()
    assert "securitySchemes" not in described["components"]
    assert "401" not in described["paths"]["/v1/jobs"]["get"]["responses"]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("http://127.0.0.1:8000", 200),
        ("HTTP://127.0.0.1:8000", 200),
        ("http://127.0.0.1:3000", 403),  # another program's page, on this machine
        ("http://localhost:3000", 403),
        ("http://localhost:8000", 403),  # the same place under a name that was not asked
        ("https://127.0.0.1:8000", 403),
        ("http://127.0.0.1", 403),
        ("http://[::1]:8000", 403),
        ("http://127.0.0.1:8000/", 403),
        ("http://127.0.0.1:8000@evil.example", 403),
        ("http://127.0.0.1:8000, http://evil.example", 403),
        ("https://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("http://evil.example@localhost:1@x", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_without_keys_no_other_sites_page_may_ask(
    settings: Settings, origin: str | None, status: int
) -> None:
    """A form of any site can post here without a preflight, and need not read the answer."""
    with TestClient(create_app(settings), client=("127.0.0.1", 1)) as client:
        headers = {"Host": "127.0.0.1:8000"} | ({} if origin is None else {"Origin": origin})
        assert client.get("/jobs", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost", "http://localhost"),
        ("localhost", "http://localhost:80"),
        ("localhost:80", "http://localhost"),
        ("LOCALHOST:8000", "http://localhost:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_the_origin_is_the_host_that_was_asked(settings: Settings, host: str, origin: str) -> None:
    with TestClient(create_app(settings), client=("127.0.0.1", 1)) as client:
        headers = {"Host": host, "Origin": origin}
        assert client.get("/jobs", headers=headers).status_code == 200
        twice = [("Host", host), ("Origin", origin), ("Origin", "http://evil.example")]
        assert client.get("/jobs", headers=twice).status_code == 403


@pytest.mark.parametrize(
    ("site", "mode", "status"),
    [
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),
        ("cross-site", "navigate", 200),  # somebody follows a link to the dashboard
        ("same-site", "no-cors", 403),  # a picture in a page of another port
        ("cross-site", "no-cors", 403),
        ("cross-site", "cors", 403),
    ],
)
def test_no_other_sites_page_may_load_from_here(
    settings: Settings, site: str, mode: str, status: int
) -> None:
    with TestClient(create_app(settings), client=("127.0.0.1", 1)) as client:
        headers = {"Host": "localhost:8000", "Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
        assert client.get("/jobs", headers=headers).status_code == status


def test_a_stream_ends_when_its_key_is_revoked(
    keys: Keys, engine: Engine, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops with what was told before; the next request is refused."""
    monkeypatch.setattr(key_revocations, "EVERY_SECONDS", 0.0)
    ada = client("ada")
    job_id = ada.post("/jobs", json=BODY).json()["id"]
    monkeypatch.setattr(feeds, "LOOK_SECONDS", 0.02)
    (key,) = list_keys(engine)
    revoking = threading.Timer(1.0, revoke_key, (engine, key.id))
    revoking.start()
    told = ada.get(f"/jobs/{job_id}/events")  # returns when the stream is closed
    revoking.join()
    assert told.status_code == 200
    assert "event: state" in told.text
    assert "event: end" not in told.text
    assert ada.get(f"/jobs/{job_id}/events").status_code == 401

"""Webhooks over HTTP: made, changed, tried and removed by their owners, on both databases."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from api.app import create_app
from jobs.messages.webhook_urls import WebhookUrls
from jobs.settings import Settings
from jobs.store.keys import Keys
from jobs.store.store import Store
from jobs.store.webhooks.deliveries import Deliveries
from jobs.store.webhooks.endpoints import Webhooks
from jobs.store.webhooks.outbox import announce_all
from jobs.store.webhooks.records import DeliveryOutcome
from tests.api.conftest import another
from tests.api.http.test_problems import problem
from tests.jobs.conftest import SPEC
from tests.servers import wait_until

PEPPER = "a pepper that only the tests know, of some length"
URL = "https://93.184.215.14/hook"  # a public address: nothing is resolved, nothing is sent
Client = Callable[..., TestClient]


@pytest.fixture
def client(settings: Settings, engine: Engine, database_url: str) -> Iterator[Client]:
    """A client with a new key of an owner."""
    given = {"auth": "keys", "key_pepper": PEPPER, "database_url": database_url}
    asked = {**settings.model_dump(), **given, "loopback_only": False, "max_webhooks": 3}
    with TestClient(create_app(Settings(**asked))) as running:

        def of(owner: str, *, admin: bool = False) -> TestClient:
            made = another(running)
            key = Keys(engine, PEPPER).create(owner, admin=admin)
            made.headers["Authorization"] = f"Bearer {key.text}"
            return made

        yield of


def made(api: TestClient, **body: Any) -> dict[str, Any]:
    answer = api.post("/webhooks", json={"url": URL, **body})
    assert answer.status_code == 201, answer.text
    webhook: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/v1/webhooks/{webhook['id']}"
    return webhook


def test_a_webhook_is_made_and_its_secret_shown_once(client: Client, engine: Engine) -> None:
    api = client("ada")
    webhook = made(api, events=["job.failed", "job.failed"], description="grüße")
    assert webhook["secret"].startswith("whsec_")
    shown = {name: value for name, value in webhook.items() if name != "secret"}
    assert shown["events"] == ["job.failed"]
    assert (shown["owner"], shown["url"], shown["enabled"]) == ("ada", URL, True)
    assert api.get(f"/webhooks/{webhook['id']}").json() == shown
    assert api.get("/webhooks").json() == {"items": [shown], "next_cursor": None}
    with engine.connect() as connection:
        stored = connection.exec_driver_sql("SELECT * FROM webhooks").mappings().one()
    assert webhook["secret"].removeprefix("whsec_") not in json.dumps(dict(stored), default=str)


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({"url": "http://93.184.215.14/"}, "/url", "must begin with https://"),
        ({"url": "ftp://93.184.215.14/"}, "/url", "must begin with https://"),
        ({"url": "https://user:pass@93.184.215.14/"}, "/url", "user name"),
        ({"url": "https://93.184.215.14/#a"}, "/url", "fragment"),
        ({"url": "https://127.0.0.1/"}, "/url", "not public"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "/url", "not public"),
        ({"url": "https://localhost/"}, "/url", "not public"),
        ({"url": "https://no-such-host.invalid/"}, "/url", "not public"),
        ({"url": "https:///"}, "/url", ""),
        ({"url": "https://93.184.215.14/\u0000"}, "/url", "printable"),
        ({"url": "https://93.184.215.14/" + "a" * 2048}, "/url", "2048"),
        ({"url": 5}, "/url", "string"),
        ({}, "/url", "required"),
        ({"url": URL, "events": []}, "/events", "at least 1"),
        ({"url": URL, "events": ["job.born"]}, "/events/0", "job.succeeded"),
        ({"url": URL, "description": "a\u0000"}, "/description", "pattern"),
        ({"url": URL, "secret": "mine"}, "/secret", "unknown field"),
    ],
)
def test_what_is_refused_and_where(
    settings: Settings, body: dict[str, Any], pointer: str, words: str
) -> None:
    given = {**settings.model_dump(), "key_pepper": PEPPER}
    app = create_app(Settings(**given))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as api:
        answer = api.post("/webhooks", json=body)
    document = problem(answer, "invalid-request")
    assert document["errors"][0]["pointer"] == pointer
    assert words in document["errors"][0]["message"]


def test_name_servers_that_hang_do_not_take_every_thread(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def hang(_host: str, _port: int) -> list[str]:
        over.wait(60)
        return []

    (settings.home / "pepper").write_text("p" * 32)
    app = create_app(Settings(**settings.model_dump(exclude={"key_pepper"})))
    monkeypatch.setattr(WebhookUrls.__init__, "__kwdefaults__", {"resolver": hang})
    monkeypatch.setattr(WebhookUrls.addresses, "__defaults__", (60.0,))
    statuses: list[int] = []

    def make(client: TestClient) -> None:
        statuses.append(client.post("/webhooks", json={"url": "https://slow.example/"}).status_code)

    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as client:
        threads = [threading.Thread(target=make, args=[client]) for _ in range(12)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(statuses) == 4, "those beyond the eighth are refused")
        assert client.get("/healthz").status_code == 200
        over.set()
        for thread in threads:
            thread.join()
    assert sorted(statuses) == [422] * 8 + [503] * 4


def test_an_owner_has_only_so_many(client: Client) -> None:
    api = client("ada")
    webhooks = [made(api) for _ in range(3)]
    problem(api.post("/webhooks", json={"url": URL}), "too-many-webhooks")
    made(client("bob"))
    assert api.delete(f"/webhooks/{webhooks[0]['id']}").status_code == 204
    made(api)


def test_a_webhook_is_changed_rotated_and_removed(client: Client) -> None:
    api = client("ada")
    webhook = made(api)
    here = f"/webhooks/{webhook['id']}"
    changed = api.patch(here, json={"description": "new", "enabled": False}).json()
    assert (changed["description"], changed["enabled"]) == ("new", False)
    assert changed["events"] == webhook["events"]
    problem(api.patch(here, json={"url": URL}), "invalid-request")
    problem(api.patch(here, json={"enabled": None}), "invalid-request")
    assert api.patch(here, json={}).json()["enabled"] is False
    rotated = api.post(f"{here}/rotate").json()
    assert rotated["secret"] not in ("", webhook["secret"])
    assert rotated["previous_until"] is not None
    assert api.delete(here).status_code == 204
    for answer in (api.get(here), api.delete(here), api.patch(here, json={"enabled": True})):
        problem(answer, "webhook-not-found")


def test_the_log_of_deliveries_and_sending_again(client: Client, engine: Engine) -> None:
    api = client("ada")
    webhook = made(api)
    here = f"/webhooks/{webhook['id']}"
    store = Store(engine)
    job = store.create(SPEC, owner="ada")
    store.request_cancel(job.id)
    announce_all(engine)
    deliveries = Deliveries(engine)
    claimed = deliveries.claim()
    assert claimed is not None
    outcome = DeliveryOutcome(claimed.created_at, 0.1234, 500, "answered 500")
    deliveries.record(claimed, outcome, None, 1e9)
    (shown,) = api.get(f"{here}/deliveries").json()["items"]
    assert (shown["id"], shown["event"], shown["job_id"]) == (claimed.id, "job.cancelled", job.id)
    assert (shown["status"], shown["attempts"], shown["next_at"]) == ("failed", 1, None)
    (attempt,) = shown["log"]
    assert (attempt["status_code"], attempt["error"]) == (500, "answered 500")
    assert attempt["seconds"] == 0.123
    detail = api.get(f"{here}/deliveries/{claimed.id}").json()
    assert detail["payload"]["data"]["id"] == job.id
    answer = api.post(f"{here}/deliveries/{claimed.id}/redeliver")
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    problem(api.post(f"{here}/deliveries/msg_none/redeliver"), "delivery-not-found")
    problem(api.get(f"{here}/deliveries?cursor=am9iXzE"), "invalid-request")


def test_a_test_message_is_sent_unless_the_webhook_is_off(client: Client) -> None:
    api = client("ada")
    here = f"/webhooks/{made(api)['id']}"
    answer = api.post(f"{here}/test")
    assert answer.status_code == 202
    assert (answer.json()["event"], answer.json()["job_id"]) == ("webhook.test", None)
    api.patch(here, json={"enabled": False})
    (given_up,) = api.get(f"{here}/deliveries").json()["items"]
    assert given_up["status"] == "failed"
    problem(api.post(f"{here}/test"), "webhook-disabled")
    problem(api.post(f"{here}/deliveries/{given_up['id']}/redeliver"), "webhook-disabled")


def test_anothers_webhook_is_not_there(client: Client) -> None:
    ada, bob, admin = client("ada"), client("bob"), client("root", admin=True)
    webhook, foreign = made(ada), made(bob)
    delivery = ada.post(f"/webhooks/{webhook['id']}/test").json()
    here = f"/webhooks/{webhook['id']}"
    sent = f"{here}/deliveries/{delivery['id']}"
    asked: list[tuple[str, str, Any]] = [
        ("GET", here, None),
        ("PATCH", here, {"enabled": False}),
        ("DELETE", here, None),
        ("POST", f"{here}/rotate", None),
        ("POST", f"{here}/test", None),
        ("GET", f"{here}/deliveries", None),
        ("GET", sent, None),
        ("POST", f"{sent}/redeliver", None),
    ]
    for method, path, body in asked:
        document = problem(bob.request(method, path, json=body), "webhook-not-found")
        assert document["detail"] == f"there is no webhook {webhook['id']!r}"
    # A delivery is found below its own webhook only.
    problem(bob.get(f"/webhooks/{foreign['id']}/deliveries/{delivery['id']}"), "delivery-not-found")
    assert [item["id"] for item in bob.get("/webhooks").json()["items"]] == [foreign["id"]]
    assert ada.get(here).json()["enabled"] is True
    assert len(admin.get("/webhooks").json()["items"]) == 2
    assert admin.get(here).status_code == 200


@pytest.mark.parametrize("webhook_id", ["wh_" + "a" * 60, "wh_%00", "wh_é", "..%2f", "none"])
def test_what_is_no_id_is_not_found(client: Client, webhook_id: str) -> None:
    answer = client("ada").get(f"/webhooks/{webhook_id}")
    assert answer.status_code == 404


def test_lists_come_in_pages(client: Client) -> None:
    api = client("ada")
    ids = [made(api)["id"] for _ in range(3)]
    first = api.get("/webhooks?limit=2").json()
    rest = api.get("/webhooks", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    listed = [item["id"] for item in first["items"] + rest["items"]]
    assert listed == sorted(ids, reverse=True)
    assert rest["next_cursor"] is None
    problem(api.get("/webhooks?cursor=nonsense"), "invalid-request")


def test_without_a_pepper_the_routes_say_so(api: httpx.Client, own_store: Store) -> None:
    assert api.get("/webhooks").json()["items"] == []
    answer = api.post("/webhooks", json={"url": URL})
    assert answer.status_code == 503
    assert answer.json()["type"] == "/problems/webhooks-unavailable"
    assert "SLIMGPT_KEY_PEPPER" in answer.json()["detail"]
    assert Webhooks(own_store.engine).list().items == []


def test_a_page_in_a_browser_cannot_make_one(api: httpx.Client) -> None:
    """What browsers post across origins without asking is declared as text."""
    body = json.dumps({"url": URL})
    answer = api.post("/webhooks", content=body, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415

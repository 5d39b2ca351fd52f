"""`/keys`: admins make and revoke keys, on both databases; nobody else sees that there are any."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.http.test_problems import problem
from tests.api.test_auth import Client, client, engine, guarded, keys, stranger

__all__ = ["client", "engine", "guarded", "keys", "stranger"]


@pytest.fixture
def admin(client: Client) -> TestClient:
    return client("root", admin=True)


def test_a_key_is_made_used_listed_and_revoked(admin: TestClient, stranger: TestClient) -> None:
    answer = admin.post("/keys", json={"owner": "ada", "name": "laptop"})
    assert answer.status_code == 201
    made = answer.json()
    bearer = {"Authorization": f"Bearer {made['key']}"}
    assert stranger.get("/overview", headers=bearer).json()["owner"] == "ada"
    assert not stranger.get("/overview", headers=bearer).json()["admin"]
    (listed,) = admin.get("/keys", params={"owner": "ada"}).json()["items"]
    assert (listed["id"], listed["name"], listed["revoked_at"]) == (made["id"], "laptop", None)
    assert "key" not in listed
    for _ in range(2):
        revoked = admin.delete(f"/keys/{made['id']}")
        assert revoked.status_code == 200
        assert revoked.json()["revoked_at"] is not None
    problem(stranger.get("/overview", headers=bearer), "unauthorized")
    problem(admin.delete("/keys/key_none"), "key-not-found")


def test_a_key_does_not_revoke_itself(admin: TestClient) -> None:
    (own,) = admin.get("/keys").json()["items"]
    problem(admin.delete(f"/keys/{own['id']}"), "key-in-use")
    assert admin.get("/keys").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/keys", None),
        ("POST", "/keys", {"owner": "eve", "admin": True}),
        ("DELETE", "/keys/key_0123456789ab", None),
    ],
)
def test_keys_are_for_admins(client: Client, method: str, path: str, body: Any) -> None:
    problem(client("eve").request(method, path, json=body), "not-admin")


@pytest.mark.parametrize(
    "body", [{"owner": "no owner"}, {"owner": ""}, {}, {"owner": "a", "name": "\u202e" * 3}]
)
def test_what_is_no_key_is_refused(admin: TestClient, body: dict[str, Any]) -> None:
    problem(admin.post("/keys", json=body), "invalid-request")


def test_pages_hold_every_key_once(admin: TestClient) -> None:
    made = {admin.post("/keys", json={"owner": f"o{n}"}).json()["id"] for n in range(7)}
    seen: list[str] = []
    asked: dict[str, str] = {}
    while True:
        page = admin.get("/keys", params={"limit": "3", **asked}).json()
        assert len(page["items"]) <= 3
        seen += [one["id"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        asked = {"cursor": page["next_cursor"]}
    assert len(seen) == len(set(seen)) == 8  # and the admin's own
    assert made < set(seen)
    assert admin.get("/keys", params={"limit": "201"}).status_code == 422


def test_a_service_without_keys_makes_none(api: Any) -> None:
    answer = api.post("/keys", json={"owner": "ada"})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/keys-off")
    assert api.get("/keys").json() == {"items": [], "next_cursor": None}

"""Keys are made and revoked on the page by an admin, and nobody else is offered it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from jobs.settings import Settings
from jobs.store.database import make_engine
from jobs.store.keys import Keys
from tests.api.conftest import base_url
from tests.browser import Visit, open_browser

__all__ = ["base_url"]
PEPPER = "a pepper of the tests, long enough to be one"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    asked = {"auth": "keys", "key_pepper": PEPPER, "loopback_only": False}
    return Settings(**{**settings.model_dump(), **asked})


@pytest.fixture
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def signed_in(visit: Visit, key: str) -> Page:
    page = visit.open()
    page.get_by_label("API key").fill(key)
    page.get_by_label("API key").press("Enter")
    expect(page.get_by_text("Sign out")).to_be_visible()
    return page


def test_an_admin_makes_and_revokes_keys(
    base_url: str, browser: Browser, settings: Settings
) -> None:
    engine = make_engine(settings.database_url.get_secret_value())
    keys = Keys(engine, PEPPER)
    root, ada = keys.create("root", admin=True).text, keys.create("ada").text
    engine.dispose()
    visit = Visit(browser, base_url)
    page = signed_in(visit, root)
    page.get_by_role("link", name="Keys").click()
    page.get_by_role("textbox", name="Owner").fill("eve")
    page.get_by_role("button", name="Create key").click()
    card = page.get_by_role("status", name="The key of eve")
    found = re.search(r"slim_\w+", card.inner_text())
    assert found
    headers = {"Authorization": f"Bearer {found[0]}"}
    with httpx.Client(base_url=base_url, headers=headers, trust_env=False) as eve:
        assert eve.get("/overview").json()["owner"] == "eve"
        page.get_by_role("button", name="I have stored it").click()
        assert found[0] not in page.content()
        item = page.get_by_role("listitem").filter(has_text="key_" + found[0].split("_")[1])
        item.get_by_role("button", name=re.compile("^Revoke")).click()
        page.get_by_role("dialog").get_by_role("button", name="Revoke the key").click()
        expect(item).to_contain_text("revoked")
        assert eve.get("/overview").status_code == 401
    visit.close()

    visit = Visit(browser, base_url)
    page = signed_in(visit, ada)
    expect(page.get_by_role("link", name="Workers")).to_be_visible()
    expect(page.get_by_role("link", name="Keys")).to_be_hidden()
    visit.close()

"""The dashboard's files and headers, and its list in a real browser without keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect
from pydantic import SecretStr
from starlette.testclient import TestClient

from api.app import create_app
from api.dashboard import FILES
from jobs.settings import Settings
from jobs.store.store import Store
from tests.api.conftest import BODY
from tests.api.routes.test_jobs import post
from tests.browser import Visit, open_browser
from tests.jobs.store.lists.test_summaries import finished, sweep

VENDOR = FILES / "vendor"
SCRIPTS = sorted(path for path in FILES.rglob("*.js") if VENDOR not in path.parents)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def test_the_page_may_run_and_load_nothing_but_its_own_files(api: httpx.Client) -> None:
    for address in ("/", "/static/app.js", "/static/style.css"):
        answer = api.get(address)
        assert answer.status_code == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Set-Cookie" not in answer.headers
        again = api.get(address, headers={"If-None-Match": answer.headers["ETag"]})
        assert address == "/" or again.status_code == 304


@pytest.mark.parametrize("script", sorted(VENDOR.iterdir()), ids=lambda path: str(path.name))
def test_what_others_wrote_says_its_version_and_licence(script: Path) -> None:
    head = script.read_text(encoding="utf-8").partition("\n\n")[0]
    assert re.search(r"\d+\.\d+\.\d+", head)
    assert "Copyright" in head


def test_the_page_has_no_script_or_style_of_its_own() -> None:
    page = (FILES / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page) == []
    assert re.findall(r"(?:src|href)=\"(?:https?:)?//", page) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(FILES)))
def test_scripts_never_read_text_as_html(script: Path) -> None:
    code = script.read_text(encoding="utf-8")
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
    assert re.findall(forbidden, code) == []
    assert re.findall(r"localStorage|document\.cookie", code) == []


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/none.js"])
def test_only_the_files_of_the_page_are_served(api: httpx.Client, path: str) -> None:
    answer = api.get(path)
    assert (answer.status_code, answer.json()["status"]) == (404, 404)


def test_the_page_is_open_without_a_key_and_its_data_is_not(settings: Settings) -> None:
    keyed = settings.model_copy(
        update={"auth": "keys", "key_pepper": SecretStr("p" * 40), "loopback_only": False}
    )
    with TestClient(create_app(keyed)) as client:
        assert client.get("/").status_code == 200
        for file in filter(Path.is_file, FILES.rglob("*")):
            address = f"/static/{file.relative_to(FILES).as_posix()}"
            assert client.get(address).status_code == 200, address
        for closed in ("/overview", "/jobs", "/static", "/static/", "/static/a/b"):
            answer = client.get(closed)
            assert answer.status_code == (404 if closed == "/static/" else 401), closed


def test_the_overview_counts_what_the_caller_sees(api: httpx.Client, own_store: Store) -> None:
    assert set(api.get("/overview").json()["jobs"].values()) == {0}
    first, _ = post(api).json()["id"], post(api)
    assert own_store.request_cancel(first) is not None
    seen = api.get("/overview").json()
    assert (seen["owner"], seen["admin"]) == ("local", True)
    assert (seen["jobs"]["queued"], seen["jobs"]["cancelled"]) == (1, 1)


def test_the_list_without_keys(api: httpx.Client, base_url: str, browser: Browser) -> None:
    visit = Visit(browser, base_url, viewport={"width": 1280, "height": 800})
    page = visit.open()
    expect(page.get_by_text("No jobs yet")).to_be_visible()
    expect(page.get_by_role("status").get_by_text("ready")).to_be_visible()

    ids = [post(api, metadata={"number": str(n)}).json()["id"] for n in range(27)]
    api.post(f"/jobs/{ids[0]}/cancel")
    rows = page.get_by_role("table", name="Jobs").get_by_role("row")
    expect(rows).to_have_count(26)  # found by itself; the head counts as well
    expect(rows.nth(1)).to_contain_text("number=26")
    page.get_by_role("button", name="Next page").click()
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="Previous page").click()
    expect(rows).to_have_count(26)

    page.get_by_role("button", name="cancelled").click()
    expect(rows).to_have_count(2)
    expect(page.get_by_role("combobox", name="Status")).to_have_value("cancelled")
    page.get_by_label("Search").fill("local:none")
    expect(page.get_by_text("No job is like that.")).to_be_visible()
    visit.close()


def test_a_narrow_dark_screen_shows_it_all(
    api: httpx.Client, base_url: str, browser: Browser
) -> None:
    job_id = post(api, metadata={"a": "word-that-is-long" * 20}).json()["id"]
    assert BODY["model"] == "local:tiny"
    visit = Visit(browser, base_url, viewport={"width": 360, "height": 700}, color_scheme="dark")
    for place in ("", f"jobs/{job_id}", "new"):
        page = visit.open(place)
        expect(page.get_by_text("local:tiny").or_(page.get_by_label("Model")).first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, place
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, select, textarea')].filter(field => "
        "!field.labels.length && !field.ariaLabel).map(field => field.name)"
    )
    assert unnamed == []
    visit.close()


def test_a_job_that_is_not_there_is_said(base_url: str, browser: Browser) -> None:
    visit = Visit(browser, base_url)
    expect(visit.open("jobs/job_none").get_by_role("heading")).to_have_text("There is no such job")
    visit.close()


def test_a_sweep_is_a_row_of_ranges_and_a_cancelled_stage_is_not_red(
    api: httpx.Client, base_url: str, own_store: Store, browser: Browser
) -> None:
    """Seen: the smallest model's size beside the first one's perplexity."""
    finished(own_store, sweep())
    stopped = post(api).json()["id"]
    claim = own_store.claim(stopped, "tester")
    assert claim is not None
    assert own_store.stage(stopped, claim.epoch, "prune")
    api.post(f"/jobs/{stopped}/cancel")
    assert own_store.cancelled(stopped, claim.epoch)
    visit = Visit(browser, base_url, viewport={"width": 1440, "height": 900})
    page = visit.open()
    row = page.get_by_role("row").filter(has_text="succeeded")
    expect(row).to_contain_text("260K → 208K…130K")
    expect(row).to_contain_text("−20.0%…50.0%")
    expect(row).to_contain_text("4.56 → 8.23…37.6")
    page = visit.open(f"jobs/{stopped}")
    stage = page.get_by_role("list", name="Stages").get_by_text("prune")
    expect(stage).to_contain_text("(cancelled here)")
    expect(page.locator(".steps .stopped")).to_have_count(0)
    visit.close()

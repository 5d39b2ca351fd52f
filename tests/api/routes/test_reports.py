"""`GET /jobs/{id}/report.html`: the page of a job's files, locked up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser

from slimgpt.report import folder
from tests.api.conftest import BODY, PublishJob
from tests.browser import Visit, open_browser
from tests.slimgpt.report.sample import HOSTILE, report, write


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A checkpoint's folder with a report about a model of a hostile name."""
    told = write(tmp_path_factory.mktemp("job") / "checkpoint", report(4, HOSTILE))
    folder.write(told)
    return told


@pytest.fixture
def job(publish_job: PublishJob, files: Any) -> str:
    """The id of a succeeded job with these files."""
    return publish_job(files, report(4))


def test_the_page_comes_as_it_was_published_and_may_do_nothing(
    api: httpx.Client, job: str, files: Any
) -> None:
    content = (files / "report.html").read_bytes()
    answer = api.get(f"/jobs/{job}/report.html")
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["Content-Type"].partition(";")[0] == "text/html"
    assert answer.headers["Content-Disposition"].startswith("inline")
    assert answer.headers["X-Frame-Options"] == "DENY"
    policy = {part.strip() for part in answer.headers["Content-Security-Policy"].split(";")}
    assert {"default-src 'none'", "sandbox", "frame-ancestors 'none'"} <= policy
    assert not [part for part in policy if part.startswith("script-src")]


def test_it_is_not_sent_again_to_who_has_it(api: httpx.Client, job: str, files: Any) -> None:
    digest = hashlib.sha256((files / "report.html").read_bytes()).hexdigest()
    head = api.head(f"/jobs/{job}/report.html")
    assert (head.headers["ETag"], head.content) == (f'"{digest}"', b"")
    headers = {"If-None-Match": head.headers["ETag"]}
    again = api.get(f"/jobs/{job}/report.html", headers=headers)
    assert (again.status_code, again.content) == (304, b"")


def test_where_there_is_no_page_the_problem_says_why(
    api: httpx.Client, finished: dict[str, Any]
) -> None:
    waiting = api.post("/jobs", json=BODY).json()["id"]
    for job_id, status, kind in (
        (waiting, 409, "job-not-finished"),
        (finished["id"], 404, "artifact-not-found"),  # of a job before there were pages
        ("job_0000", 404, "job-not-found"),
    ):
        answer = api.get(f"/jobs/{job_id}/report.html")
        assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_and_blocks_nothing_of_it(
    base_url: str, job: str, browser: Browser, scheme: str
) -> None:
    visit = Visit(browser, base_url, color_scheme=scheme)
    visit.page.goto(f"{base_url}/v1/jobs/{job}/report.html")
    paper = "rgb(255, 255, 255)" if scheme == "light" else "rgb(18, 21, 26)"
    told = "element => getComputedStyle(element).backgroundColor"
    assert visit.page.locator("body").evaluate(told) == paper
    assert visit.page.locator("svg").count() == 9
    assert visit.page.locator("h1").inner_text().startswith('</title><script>alert("1")</script>')
    visit.close()


def test_the_dashboard_leads_to_it(base_url: str, job: str, browser: Browser) -> None:
    visit = Visit(browser, base_url)
    page = visit.open(f"jobs/{job}")
    with visit.context.expect_page() as opened:
        page.get_by_role("link", name="Report as a page").click()
    opened.value.wait_for_load_state()
    assert opened.value.url == f"{base_url}/v1/jobs/{job}/report.html"
    assert opened.value.locator("svg").count() == 9
    visit.close()


def test_with_a_key_the_dashboard_saves_it(
    base_url: str, job: str, browser: Browser, files: Any
) -> None:
    visit = Visit(browser, base_url)
    visit.context.add_init_script("sessionStorage.setItem('slimgpt.key', 'slim_any')")
    page = visit.open(f"jobs/{job}")
    with page.expect_download() as saving:
        page.get_by_role("button", name="Report as a page").click()
    assert saving.value.suggested_filename == f"{job}-report.html"
    assert saving.value.path().read_bytes() == (files / "report.html").read_bytes()
    visit.close()

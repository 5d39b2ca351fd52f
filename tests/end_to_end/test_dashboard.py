"""The dashboard over the whole service with keys: what an engineer does at night, in Chromium."""

from __future__ import annotations

import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import Visit, open_browser
from tests.servers import wait_until
from tests.up import Up, script_engine

MARKUP = "<img src=x onerror=document.title='owned'>"
HOSTILE = f"markup {MARKUP}"
PEPPER = "a pepper of the tests, long enough to be one"


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which a file with a job's id lets its engine go on."""
    return tmp_path_factory.mktemp("gates")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, gates: Path) -> Iterator[Up]:
    home = tmp_path_factory.mktemp("dashboard") / "home"
    for model in ("good", "fail", HOSTILE):
        (home / "models" / model).mkdir(parents=True)
        (home / "models" / model / "config.json").write_text("{}")
    (home / "texts").mkdir()
    (home / "texts" / MARKUP).write_text("Once upon a time.\n" * 32_768)
    keys = {"SLIMGPT_AUTH": "keys", "SLIMGPT_KEY_PEPPER": PEPPER}
    keys["SLIMGPT_REQUESTS_PER_MINUTE"] = "100000"
    service = Up(home, settings=keys | script_engine("as-named", str(gates)))
    service.start()
    yield service
    assert service.end(signal.SIGTERM) == 0
    service.close()
    assert service.left() == []


@pytest.fixture(scope="module")
def secret(up: Up) -> str:
    """An API key of ada's."""
    up.env["SLIMGPT_DATABASE_URL"] = f"sqlite:///{up.home / 'slimgpt.db'}"
    made = up.run("keys", "create", "--owner", "ada")
    found = re.search(r"slim_\w+", made.stdout)
    assert found, made.stderr
    up.http.headers["Authorization"] = f"Bearer {found[0]}"
    return found[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def visit(up: Up, secret: str, browser: Browser) -> Iterator[Visit]:
    """A tab that has signed in."""
    made = Visit(browser, up.url)
    page = made.open()
    page.get_by_label("API key").fill(secret)
    page.get_by_label("API key").press("Enter")
    expect(page.get_by_text("ada", exact=True)).to_be_visible()
    yield made
    made.close()
    for job in up.get("/jobs?status=queued&status=running")["items"]:
        up.http.post(f"/jobs/{job['id']}/cancel")  # the only worker must not wait at a gate


def fill(page: Page, model: str) -> None:
    page.get_by_role("link", name="New job").click()
    page.get_by_role("textbox", name="Model").fill(model)
    page.get_by_label("Source").select_option("c4")


def start(page: Page) -> str:
    """Post what the form says; the job's id."""
    page.get_by_role("button", name="Start job").click()
    expect(page).to_have_url(re.compile(r"#/jobs/job_\w+$"))
    return page.url.rpartition("/")[2]


def post(up: Up, model: str = "local:good", **more: Any) -> str:
    answer = up.post({"model": model, "ratio": 0.5, **more})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def badge(page: Page) -> Any:
    return page.locator(".title .badge")


def test_a_key_is_asked_for_and_kept_in_this_tab_alone(
    up: Up, secret: str, browser: Browser
) -> None:
    visit = Visit(browser, up.url)
    page = visit.open("new")
    field = page.get_by_label("API key")
    expect(field).to_be_focused()
    field.fill("slim_" + "0" * 59)
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    field.fill(secret)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="New job")).to_be_visible()
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    assert not any(secret in url for url in visit.requests)
    page.reload()
    expect(page.get_by_role("heading", name="New job")).to_be_visible()
    other = visit.context.new_page()
    other.goto(f"{up.url}/")
    expect(other.get_by_label("API key")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(field).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    visit.close()


def test_a_job_is_planned_posted_and_followed_to_its_files(
    up: Up, gates: Path, visit: Visit, tmp_path: Path
) -> None:
    page = visit.page
    fill(page, "local:good")
    page.get_by_label("Percent to remove").fill("150")
    page.get_by_role("button", name="Plan").click()
    expect(page.get_by_text("Input should be less than 1")).to_be_visible()
    expect(page.get_by_label("Percent to remove")).to_be_focused()
    page.get_by_label("Percent to remove").fill("50")
    page.get_by_role("button", name="Plan").click()
    expect(page.get_by_role("region", name="Plan")).to_contain_text("9K → 4.5K")
    page.get_by_text("More: method").click()
    page.get_by_label("Labels").fill("team=search\nfrom=browser")
    job_id = start(page)

    expect(badge(page)).to_have_text("running")
    expect(page.get_by_text("1 of 3 layers")).to_be_visible()
    stages = page.get_by_role("list", name="Stages").get_by_role("listitem")
    expect(stages.filter(has_text="prune")).to_contain_text("under way")
    expect(page.get_by_role("img", name=re.compile("kept in each of 1 layers"))).to_be_visible()
    expect(page.get_by_role("log")).to_contain_text("layer 0 (1 of 3): heads 4 → 2")
    page.evaluate("window.sameDocument = true")
    (gates / job_id).touch()
    expect(badge(page)).to_have_text("succeeded")
    assert page.evaluate("window.sameDocument")  # it came by the stream, nothing was loaded anew
    expect(page.get_by_role("img", name=re.compile("kept in each of 3 layers"))).to_be_visible()
    expect(page.get_by_text("50.0% removed")).to_be_visible()
    expect(page.get_by_text("team=search")).to_be_visible()

    with page.expect_download() as download:
        page.get_by_role("button", name="Download model.safetensors").click()
    download.value.save_as(tmp_path / "got")
    stored = up.http.get(f"/jobs/{job_id}/artifacts/model.safetensors").content
    assert (tmp_path / "got").read_bytes() == stored
    page.get_by_role("link", name="Use as template").click()
    expect(page.get_by_role("textbox", name="Model")).to_have_value("local:good")
    expect(page.get_by_label("Percent to remove")).to_have_value("50")


def test_a_running_job_is_cancelled_retried_and_deleted(up: Up, visit: Visit) -> None:
    page = visit.page
    job_id = post(up)
    up.await_status(job_id, done=1)
    page.get_by_role("row").filter(has_text="running").get_by_role("link").click()
    page.get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog", name="Cancel this job?")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert up.get(f"/jobs/{job_id}/status")["status"] == "running"
    page.get_by_role("button", name="Cancel").click()
    dialog.get_by_role("button", name="Cancel the job").click()
    expect(badge(page)).to_have_text("cancelled")

    page.get_by_role("button", name="Retry").click()
    expect(badge(page)).to_have_text("running")
    expect(page.get_by_text("1 of 3 layers")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    dialog.get_by_role("button", name="Cancel the job").click()
    expect(badge(page)).to_have_text("cancelled")

    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete the job").click()
    expect(page).to_have_url(re.compile("#/$"))
    assert up.http.get(f"/jobs/{job_id}").status_code == 404


def test_a_text_of_ones_own_is_uploaded_with_the_job(up: Up, visit: Visit) -> None:
    page = visit.page
    fill(page, "local:good")
    page.get_by_label("Source").select_option("a file of mine")
    page.get_by_role("button", name="Start job").click()
    expect(page.get_by_text("choose a file")).to_be_visible()
    rows = "".join(f'{{"text": "Once upon a time {n}."}}\n' for n in range(9))
    notes = {"name": "notes.jsonl", "mimeType": "", "buffer": rows.encode()}
    page.get_by_label("File").set_input_files(notes)  # type: ignore[arg-type]
    page.get_by_label("Sequences", exact=True).fill("1")
    page.get_by_label("Tokens in each").fill("8")
    job_id = start(page)
    source = up.get(f"/jobs/{job_id}")["spec"]["calibration"]["source"]
    (kept,) = up.get("/calibration-sets")["items"]
    assert (source, kept["name"], kept["documents"]) == (f"upload:{kept['id']}", "notes.jsonl", 9)


def test_what_strangers_wrote_is_text(up: Up, gates: Path, visit: Visit) -> None:
    """Every field that a client can set, and what an engine says, holds markup with a script."""
    page = visit.page
    calibration = {"source": f"local:{MARKUP}", "split": MARKUP[:64], "config": MARKUP}
    job_id = post(
        up,
        f"local:{HOSTILE}",
        name=f"called {MARKUP}",
        metadata={"note": MARKUP},
        calibration=calibration | {"text_field": MARKUP},
        evaluation={"texts": [f"local:{MARKUP}"]},
    )
    (gates / job_id).touch()
    up.await_status(job_id)
    expect(page.get_by_role("row").filter(has_text="failed")).to_contain_text(f"failed {MARKUP}")
    page.get_by_role("link", name=f"called {MARKUP}").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"called {MARKUP}")
    expect(page.get_by_text(f"local:{HOSTILE}").first).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text(f"failed {MARKUP}")
    expect(page.get_by_role("alert")).to_contain_text(f"What to do: hint {MARKUP}")
    expect(page.get_by_role("log")).to_contain_text(f"warned {MARKUP}")
    expect(page.locator(".warnings")).to_contain_text(f"warned {MARKUP}")
    page.get_by_text("As JSON").click()
    expect(page.locator("pre")).to_contain_text(f'"note": "{MARKUP}"')
    page.get_by_role("link", name="Use as template").click()
    expect(page.get_by_label("Text", exact=True)).to_have_value(f"local:{MARKUP}")
    expect(page).to_have_title("New job – SlimGPT Service")  # not what the script would set
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("script").count() == 1


def test_a_job_of_another_version_is_shown_as_it_was_posted(up: Up, visit: Visit) -> None:
    page = visit.page
    job_id = post(up, metadata={"from": "another version"})
    up.http.post(f"/jobs/{job_id}/cancel")
    up.await_status(job_id)
    with closing(sqlite3.connect(up.home / "slimgpt.db")) as database, database:
        database.execute("UPDATE jobs SET spec = ? WHERE id = ?", ('{"quantise": 4}', job_id))
    row = page.get_by_role("row").filter(has_text="from=another version")
    row.get_by_role("link", name="good, ratio 0.5").click()
    expect(badge(page)).to_have_text("cancelled")
    page.get_by_text("As JSON").click()
    expect(page.locator("pre")).to_contain_text('"quantise": 4')


def test_a_key_that_is_revoked_ends_the_visit(up: Up, browser: Browser) -> None:
    made = up.run("keys", "create", "--owner", "eve").stdout
    found = re.search(r"slim_\w+", made)
    assert found
    visit = Visit(browser, up.url)
    page = visit.open()
    page.get_by_label("API key").fill(found[0])
    page.get_by_label("API key").press("Enter")
    expect(page.get_by_text("No jobs yet")).to_be_visible()
    key_id = "key_" + found[0].split("_")[1]
    assert up.run("keys", "revoke", key_id).returncode == 0
    expect(page.get_by_label("API key")).to_be_visible()
    expect(page.get_by_text("revoked").first).to_be_visible()
    wait_until(lambda: page.evaluate("sessionStorage.length") == 0, "the key is forgotten")
    visit.close()

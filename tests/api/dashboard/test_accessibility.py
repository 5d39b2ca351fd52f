"""axe-core finds nothing serious on any page, and the keyboard reaches all of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from jobs.settings import Settings
from jobs.store.store import Store
from slimgpt.report import folder
from tests.api.conftest import PublishJob
from tests.api.dashboard.conftest import DESKTOP, PHONE, MakeJob, measured
from tests.api.routes.test_jobs import post, run_two_of_four_layers
from tests.browser import Visit
from tests.slimgpt.report.sample import report, write

ERROR = {"code": "numerical-error", "message": "layer 2: not finite", "hint": "raise damping"}
SCREENS = [{**DESKTOP, "color_scheme": "light"}, {**PHONE, "color_scheme": "dark"}]


NAMED = (
    "table|button|link|progressbar|img|checkbox|combobox|textbox|searchbox|spinbutton|radio|"
    "region|navigation|dialog|log"
)
"""Roles that say nothing to a screen reader without a name."""


def found(page: Page) -> list[tuple[str, str, Any]]:
    """What axe-core calls serious or critical, with the first place of each."""
    for fold in page.locator("details").all():
        fold.evaluate("fold => { fold.open = true; }")
    violations = Axe().run(page).response["violations"]
    bad = [one for one in violations if one["impact"] in ("serious", "critical")]
    named = page.locator("body").aria_snapshot()
    nameless = re.findall(rf"^ *- (?:{NAMED})(?: \[.*)?:?$", named, re.MULTILINE)
    return [(page.url, one["id"], one["nodes"][0]["target"]) for one in bad] + [
        (page.url, "no name", line) for line in nameless
    ]


@pytest.fixture
def places(
    api: httpx.Client, own_store: Store, settings: Settings, make_job: MakeJob
) -> dict[str, str]:
    """The dashboard's views, each with a heading that shows once it is there."""
    sweep = [measured(value, "t", point) for point, value in enumerate((11.0, 14.0))]
    done = make_job([measured(12, "t"), measured(14, "u", text="other")], name="done")
    swept = make_job(sweep, (80, 60), ((0.1, 0.2), (0.3, 0.6)), name="swept")
    running, failed, queued = (post(api, name=name).json()["id"] for name in "rfq")
    run_two_of_four_layers(own_store, settings, running)
    assert own_store.fail(failed, run_two_of_four_layers(own_store, settings, failed), ERROR)
    jobs = {"done": done, "swept": swept, "r": running, "f": failed, "q": queued}
    return {
        "": "Jobs",
        "?search=nothing": "Jobs",
        "new": "New job",
        "jobs/none": "There is no such job",
        f"compare?jobs={done},{swept},{queued}": "Errors of the layers, on one axis",
        **{f"jobs/{job_id}": name for name, job_id in jobs.items()},
    }


@pytest.mark.parametrize("screen", SCREENS, ids=["light", "dark-phone"])
def test_axe_finds_nothing_serious_in_the_dashboard(
    base_url: str, browser: Browser, places: dict[str, str], screen: dict[str, Any]
) -> None:
    visit = Visit(browser, base_url, **screen)
    faults, seen = [], set[str]()
    for place, heading in places.items():
        page = visit.open(place)
        expect(page.get_by_role("heading", name=heading, exact=True).first).to_be_attached()
        if place == "":
            page.get_by_label("Choose done").check()
            page.get_by_label("Choose swept").check()
        faults += found(page)
        copies = page.locator("button", has_text="Copy").evaluate_all(
            "all => all.map(one => one.ariaLabel)"
        )
        assert len(copies) == len({*copies}), place  # each says what it copies
        seen |= {*copies}
    assert faults == []
    assert "Copy: the job's id" in seen
    visit.close()


@pytest.mark.parametrize("screen", SCREENS, ids=["light", "dark-phone"])
def test_axe_finds_nothing_serious_in_a_report(
    api: httpx.Client,
    base_url: str,
    browser: Browser,
    publish_job: PublishJob,
    tmp_path: Path,
    screen: dict[str, Any],
) -> None:
    made = write(tmp_path / "made", report(layers=8))
    folder.write(made)
    job_id = publish_job(made, {})
    visit = Visit(browser, base_url, bypass_csp=True, **screen)  # the page itself allows no script
    visit.page.goto(f"{base_url}/jobs/{job_id}/report.html")
    assert found(visit.page) == []
    visit.close()


def tab_to(page: Page, target: Locator, keys: int = 60) -> None:
    """Press Tab until something has the focus, as a visitor without a mouse does."""
    for _ in range(keys):
        page.keyboard.press("Tab")
        if target.evaluate("node => node === document.activeElement"):
            return
    raise AssertionError(f"{target} is not reached by {keys} tabs")


def test_jobs_are_compared_by_keyboard(visit: Visit, make_job: MakeJob) -> None:
    for name, pruned in (("one", 12.0), ("two", 15.0)):
        make_job([measured(pruned, "t")], name=name)
    page = visit.open()
    expect(page.get_by_role("row")).to_have_count(3)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    sort = page.get_by_role("columnheader", name="Perplexity").get_by_role("button")
    tab_to(page, sort)
    page.keyboard.press("Enter")
    expect(page.locator("td.name a")).to_have_text(["two", "one"])
    expect(sort).to_be_focused()  # so the next press turns the order round
    page.keyboard.press("Enter")
    expect(page.locator("td.name a")).to_have_text(["one", "two"])
    for name in ("one", "two"):
        tab_to(page, page.get_by_label(f"Choose {name}"))
        page.keyboard.press("Space")
        expect(page.get_by_label(f"Choose {name}")).to_be_focused()
    tab_to(page, page.get_by_role("link", name="Compare"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Comparison")).to_be_visible()
    expect(page.locator("main")).to_be_focused()
    tab_to(page, page.get_by_role("link", name="two"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("two")


def test_a_job_is_read_and_cancelled_by_keyboard(
    visit: Visit, api: httpx.Client, own_store: Store, settings: Settings
) -> None:
    job_id = post(api).json()["id"]
    epoch = run_two_of_four_layers(own_store, settings, job_id)
    page = visit.open(f"jobs/{job_id}")
    expect(page.get_by_text("2 of 4 layers")).to_be_visible()
    cancel = page.get_by_role("button", name="Cancel", exact=True)
    tab_to(page, cancel)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(cancel).to_be_focused()
    fold = page.locator("details").filter(has=page.get_by_text("The numbers"))
    tab_to(page, fold.locator("summary"))
    page.keyboard.press("Enter")
    expect(fold.get_by_role("table")).to_be_visible()
    page.keyboard.press("Tab")
    expect(fold.locator(".scroll")).to_be_focused()
    tab_to(page, page.get_by_role("log"))
    page.keyboard.press("Home")
    cancel.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".title .badge")).to_have_text("cancelling")
    assert own_store.cancelled(job_id, epoch)
    expect(page.locator("main")).to_be_focused()  # the button is gone

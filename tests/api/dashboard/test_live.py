"""A page that changes by itself changes what is new, and says when it does not know any more."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from jobs.messages.progress import Progress
from jobs.settings import Settings
from jobs.store.store import Store
from slimgpt.events import LayerFinished
from tests.api.dashboard.conftest import MakeJob, measured
from tests.api.routes.test_jobs import layer, post, run_two_of_four_layers
from tests.browser import Visit

NOT_ANSWERED = "The service has not answered since"


@pytest.fixture
def running(api: httpx.Client, own_store: Store, settings: Settings) -> tuple[str, int]:
    """A job that has pruned two of four layers, and its epoch."""
    job_id = post(api, name="for the phone").json()["id"]
    return job_id, run_two_of_four_layers(own_store, settings, job_id)


def finish_layer(store: Store, settings: Settings, job: tuple[str, int], number: int) -> None:
    """What a worker writes once a layer is done."""
    event: LayerFinished = layer(number)
    store.layer_done(*job, event)
    progress = Progress.connect(settings.redis_url.get_secret_value())
    progress.record(job[0], event)
    progress.close()


def is_open(page: Page, words: str) -> bool:
    fold = page.locator("details").filter(has=page.get_by_text(words, exact=True))
    return bool(fold.evaluate("fold => fold.open"))


def test_folds_selection_and_focus_survive_a_redraw(
    visit: Visit, running: tuple[str, int], own_store: Store, settings: Settings
) -> None:
    page = visit.open(f"jobs/{running[0]}")
    expect(page.get_by_text("2 of 4 layers")).to_be_visible()
    page.get_by_text("As JSON").click()
    page.get_by_text("As JSON").focus()
    page.evaluate(
        "getSelection().selectAllChildren(document.querySelector('.id code'));"
        "window.kept = [...document.querySelectorAll('main *')]"
        "  .filter(node => !node.closest('.at-steps, .at-layers'))"
    )
    for number in (2, 3):
        finish_layer(own_store, settings, running, number)
        expect(page.get_by_text(f"{number + 1} of 4 layers")).to_be_visible()
        charts = page.get_by_role("img", name=f"kept in each of {number + 1} layers")
        expect(charts).to_be_visible()
        assert is_open(page, "As JSON")
        assert not is_open(page, "The numbers")  # which opened with the next layer
        assert page.evaluate("document.activeElement.textContent") == "As JSON"
        assert page.evaluate("String(getSelection())") == running[0]
    assert page.evaluate("window.kept.every(node => node.isConnected)")
    page.get_by_text("The numbers").click()
    page.get_by_text("As JSON").click()
    own_store.request_cancel(running[0])
    expect(page.locator(".title .badge")).to_have_text("cancelling")
    assert (is_open(page, "As JSON"), is_open(page, "The numbers")) == (False, True)


def test_progress_is_announced_politely_and_not_on_every_redraw(
    visit: Visit, running: tuple[str, int], own_store: Store, settings: Settings
) -> None:
    page = visit.open(f"jobs/{running[0]}")
    told = page.locator("main > [role=status]")
    expect(told).to_have_text(re.compile(r"^The job is running, stage prune"))
    expect(page.locator("main")).to_match_aria_snapshot("- status: /The job is running, stage/")
    before = told.text_content()
    told.evaluate(
        "node => { window.told = []; new MutationObserver(() => told.push(node.textContent))"
        ".observe(node, { childList: true, characterData: true, subtree: true }); }"
    )
    finish_layer(own_store, settings, running, 2)
    expect(page.get_by_text("3 of 4 layers")).to_be_visible()
    own_store.request_cancel(running[0])
    expect(told).to_have_text(re.compile(r"^The job is cancelling, stage prune"))
    said = [before, *page.evaluate("told")]
    assert len(said) == len(set(said))  # what is still so is not said again


def test_buttons_work_after_a_redraw(
    visit: Visit, running: tuple[str, int], own_store: Store, settings: Settings
) -> None:
    page = visit.open(f"jobs/{running[0]}")
    expect(page.get_by_text("2 of 4 layers")).to_be_visible()
    finish_layer(own_store, settings, running, 2)
    expect(page.get_by_text("3 of 4 layers")).to_be_visible()
    page.get_by_role("button", name="Copy: the job's id", exact=True).click()
    expect(page.get_by_text(r"Copied").or_(page.get_by_text("Select and copy it"))).to_be_visible()


def opacity(page: Page, selector: str) -> float:
    return float(page.locator(selector).evaluate("node => getComputedStyle(node).opacity"))


def test_a_list_that_is_out_of_date_says_so_and_dims_what_may_have_changed(
    visit: Visit, running: tuple[str, int], make_job: MakeJob
) -> None:
    done = make_job([measured(12, "a")])
    page = visit.open()
    expect(page.get_by_role("row")).to_have_count(3)
    expect(page.get_by_text(NOT_ANSWERED)).to_have_count(0)
    visit.context.set_offline(True)
    expect(page.get_by_text(NOT_ANSWERED)).to_be_visible()
    top = page.locator("#stale").bounding_box()
    assert top is not None
    assert top["width"] == 1440
    assert opacity(page, f"tr[data-id={running[0]}] td.progress") < 1
    assert opacity(page, f"tr[data-id={done}] td.progress") == 1
    assert opacity(page, ".counts") < 1
    visit.context.set_offline(False)
    expect(page.get_by_text(NOT_ANSWERED)).to_have_count(0)
    assert opacity(page, ".counts") == 1
    assert all("ERR_INTERNET_DISCONNECTED" in fault for fault in visit.faults)
    visit.faults.clear()


def test_a_job_whose_service_only_has_errors_is_asked_for_until_it_answers(
    visit: Visit, running: tuple[str, int]
) -> None:
    page = visit.page
    broken = False

    def answer(route: Route) -> None:
        if broken:
            route.fulfill(status=503, json={"title": "The database is away"})
        else:
            route.continue_()

    page.route(re.compile(r"/(v1/|readyz)"), answer)
    visit.open(f"jobs/{running[0]}")
    expect(page.get_by_text("2 of 4 layers")).to_be_visible()
    broken = True
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the job").click()  # its own fault is a notice
    expect(page.locator(".notice").get_by_text("The database is away")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="This did not work")).to_be_visible()
    expect(page.get_by_text(NOT_ANSWERED)).to_be_visible()
    broken = False
    expect(page.get_by_text("2 of 4 layers")).to_be_visible()
    expect(page.get_by_text(NOT_ANSWERED)).to_have_count(0)
    expect(page.get_by_role("heading", name="This did not work")).to_have_count(0)
    page.goto("about:blank")  # it asks no more
    assert all("503" in fault for fault in visit.faults)
    visit.faults.clear()

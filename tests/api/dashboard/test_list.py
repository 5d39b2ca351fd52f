"""The list: search, order, filters and pages, all of them in the address."""

from __future__ import annotations

import re

import httpx
from playwright.sync_api import Locator, Page, expect

from tests.api.dashboard.conftest import MakeJob, measured
from tests.api.routes.test_jobs import post
from tests.browser import Visit


def names(page: Page) -> Locator:
    return page.locator("td.name a")


def head(page: Page, name: str) -> Locator:
    return page.get_by_role("columnheader", name=name)


def test_search_and_filters_are_in_the_address(visit: Visit, api: httpx.Client) -> None:
    for name, team in (("first try", "search"), ("second try", "ads"), ("third", "search")):
        post(api, name=name, metadata={"team": team})
    page = visit.open()
    expect(names(page)).to_have_text(["third", "second try", "first try"])
    page.get_by_role("searchbox", name="Search").press_sequentially("TRY")
    expect(names(page)).to_have_text(["second try", "first try"])
    expect(page.get_by_role("searchbox", name="Search")).to_be_focused()
    page.get_by_role("combobox", name="Status").select_option("queued")
    expect(page).to_have_url(re.compile(r"#/\?status=queued&search=TRY$"))
    other = visit.context.new_page()
    other.goto(page.url)
    expect(names(other)).to_have_text(["second try", "first try"])
    expect(other.get_by_role("searchbox", name="Search")).to_have_value("TRY")
    expect(other.get_by_role("combobox", name="Status")).to_have_value("queued")
    other.get_by_role("searchbox", name="Search").fill("team=ads")
    expect(names(other)).to_have_text(["second try"])
    page.get_by_role("combobox", name="Status").select_option("failed")
    expect(page.get_by_text("No job is like that.")).to_be_visible()
    page.go_back()
    expect(names(page)).to_have_text(["second try", "first try"])


def test_every_column_sorts_both_ways(visit: Visit, api: httpx.Client, make_job: MakeJob) -> None:
    for name, size, pruned in (("b", 75, 12.0), ("c", 50, 30.0), ("a", 60, 20.0)):
        make_job([measured(pruned, "t")], (size,), name=name)
    page = visit.open()
    expect(head(page, "Posted")).to_have_attribute("aria-sort", "descending")
    wanted = {
        "Name": ("a, b, c", "ascending", "sort=name"),
        "Parameters": ("b, a, c", "descending", "sort=-parameters"),
        "Perplexity": ("c, a, b", "descending", "sort=-perplexity"),
        "Target": ("c, a, b", "descending", "sort=-ratio"),
        "Posted": ("a, c, b", "descending", ""),
    }
    for column, (order, direction, address) in wanted.items():
        head(page, column).get_by_role("button").click()
        expect(names(page)).to_have_text(order.split(", "))
        expect(head(page, column)).to_have_attribute("aria-sort", direction)
        expect(page).to_have_url(re.compile(re.escape(address) + "$"))
        assert page.locator("[aria-sort]").count() == 1
        head(page, column).get_by_role("button").click()
        expect(names(page)).to_have_text(order.split(", ")[::-1])
    expect(page).to_have_url(re.compile("sort=created_at$"))


def test_a_page_has_an_address(visit: Visit, api: httpx.Client) -> None:
    for number in range(60):
        post(api, name=f"job {number:02}")
    page = visit.open("?sort=name")
    expect(names(page)).to_have_count(25)
    page.get_by_role("button", name="Next page").click()
    expect(names(page).first).to_have_text("job 25")
    expect(page.get_by_text("Page 2")).to_be_visible()
    link = page.url
    page.get_by_role("button", name="Next page").click()
    expect(names(page)).to_have_count(10)
    page.get_by_role("button", name="Previous page").click()
    expect(names(page).first).to_have_text("job 25")
    expect(page).to_have_url(link)
    other = visit.context.new_page()
    other.goto(link)
    expect(names(other).first).to_have_text("job 25")
    other.get_by_role("button", name="First page").click()  # it does not know what was before
    expect(names(other).first).to_have_text("job 00")
    names(page).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("job 25")
    page.go_back()
    expect(names(page).first).to_have_text("job 25")
    expect(page.get_by_role("button", name="Previous page")).to_be_visible()


def test_a_name_is_given_in_the_form(visit: Visit, api: httpx.Client) -> None:
    page = visit.open("new")
    page.get_by_label("Name").fill("for the phone")
    page.get_by_role("textbox", name="Model").fill("local:tiny")
    page.get_by_label("Source").select_option("c4")
    page.get_by_role("button", name="Start job").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("for the phone")
    assert [job["name"] for job in api.get("/jobs").json()["items"]] == ["for the phone"]


def test_a_sweep_of_long_numbers_stays_within_the_column(visit: Visit, make_job: MakeJob) -> None:
    texts = [measured(value, "t", point, dense=51.12) for point, value in enumerate((53.01, 63.23))]
    points = [
        {"ratio": ratio, "folder": "", "parameters_after": left, "ratio_achieved": ratio}
        | {"verdict": "", "perplexity": texts[point], "published": "pruned"}
        for point, (ratio, left) in enumerate(((0.2, 1_610_000), (0.4, 1_210_000)))
    ]
    found = {"points": points, "parameters_before": 2_010_000, "parameters_after": 1_210_000}
    make_job(texts, (80, 60), found=found, name="model, ratios 0.2, 0.4")
    page = visit.open()
    expect(page.locator("td.parameters")).to_contain_text("2.01M → 1.61M…1.21M −19.9%…39.8%")
    right = page.evaluate(
        "['.jobs', '.counts'].map(one => document.querySelector(one).getBoundingClientRect().right)"
    )
    assert right[0] <= right[1] + 0.5

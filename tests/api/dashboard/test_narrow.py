"""The pages on a phone: all of it to be seen, in reading size, without scrolling sideways."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from jobs.settings import Settings
from tests.api.dashboard.conftest import DESKTOP, PHONE, SHARDS, MakeJob, measured
from tests.browser import PATIENCE, Visit

WIDTH = 390
SMALLEST = 10.5  # pixels, of text in a drawing
DEMO = Path(__file__).resolve().parents[3] / "examples" / "model"


@pytest.fixture
def phone(base_url: str, browser: Browser) -> Iterator[Visit]:
    made = Visit(browser, base_url, **PHONE)
    yield made
    made.close()


def box(place: Locator) -> Any:
    """Where it is on the screen: `x`, `y`, `width`, `height` in pixels."""
    found = place.bounding_box()
    assert found is not None
    return found


def test_a_job_of_many_files_and_layers(phone: Visit, make_job: MakeJob) -> None:
    errors = [0.01 * number for number in range(1, 31)]
    job_id = make_job([measured(12, "t")], errors=[errors])
    page = phone.open(f"jobs/{job_id}")
    files = page.get_by_role("table", name="Files")
    expect(files.get_by_role("row")).to_have_count(5)  # the head, three files, and the weights
    assert page.evaluate("document.documentElement.scrollWidth") == WIDTH
    assert page.evaluate("document.documentElement.scrollHeight") < 4500
    for name in ("Pruned", "Change", "Dense"):
        value = page.get_by_role("table", name="Perplexity").locator(f"td[data-label^={name}]")
        value.scroll_into_view_if_needed()
        place = box(value)
        assert place["x"] >= 0
        assert place["x"] + place["width"] <= WIDTH
    assert box(files.get_by_text("config.json", exact=True))["width"] > 200
    sizes = page.locator("figure svg text").evaluate_all(
        "texts => texts.map(text =>"
        "  parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a)"
    )
    assert min(sizes) >= SMALLEST
    apart = page.locator("figure svg").first.evaluate(
        "svg => [...svg.querySelectorAll('[text-anchor=middle]')]"
        "  .map(text => text.getBoundingClientRect())"
        "  .every((box, i, boxes) => i === 0 || box.left > boxes[i - 1].right)"
    )
    assert apart
    weights = files.get_by_role("row").filter(has_text=f"-of-{SHARDS:05d}")
    expect(weights).to_contain_text("30 KiB")
    expect(weights).to_contain_text(f"{SHARDS} shards")
    weights.locator("summary").click()
    expect(weights.get_by_role("listitem")).to_have_count(SHARDS)
    expect(
        weights.get_by_role("button", name="Download model-00007-of-00030.safetensors")
    ).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == WIDTH


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_plan_stands_next_to_the_button_that_asked_for_it(
    base_url: str, browser: Browser, settings: Settings, size: dict[str, dict[str, int]]
) -> None:
    shutil.copytree(DEMO, settings.models_root / "demo")
    visit = Visit(browser, base_url, **size)
    page = visit.open("new")
    page.get_by_role("textbox", name="Model").fill("local:demo")
    page.get_by_label("Source").select_option("c4")
    page.get_by_label("Tokens in each").fill("256")
    page.locator(".more > summary").click()
    page.get_by_role("button", name="Plan").click()
    plan = page.get_by_role("region", name="Plan", exact=True)
    expect(plan).to_contain_text("2.01M", timeout=PATIENCE)
    top = box(page.get_by_role("heading", name="Plan"))["y"]
    assert 0 <= top < size["viewport"]["height"]
    visit.close()

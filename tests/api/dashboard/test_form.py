"""The form says what it asks for: recipe, model, percent; its plan marks what it estimates."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from jobs.settings import Settings
from slimgpt.spec.recipe import completed
from tests.api.dashboard.conftest import DESKTOP, PHONE
from tests.api.routes.test_jobs import post
from tests.browser import PATIENCE, Visit

MODEL = Path(__file__).resolve().parents[3] / "examples" / "model"
METHODS = ("slimgpt", "wanda-sp", "flap", "magnitude")


@pytest.fixture
def usable(base_url: str, settings: Settings) -> str:
    """The only model that can be pruned; by its name it comes after the one that cannot."""
    assert base_url
    (settings.models_root / "tiny" / "model.safetensors").unlink()
    shutil.copytree(MODEL, settings.models_root / "zeta")
    return "local:zeta"


def sizes(page: Page) -> Locator:
    return page.get_by_label("Recipe or schedule")


def fold_out(page: Page) -> None:
    page.get_by_text("More: method").click()


def plan(page: Page) -> Locator:
    return page.get_by_role("region", name="Plan", exact=True)


def test_the_default_is_named_as_the_engine_has_it(visit: Visit) -> None:
    page = visit.open("new")
    fold_out(page)
    for method in METHODS:
        page.get_by_label("Method").select_option(method)
        for uniform in (False, True):
            page.get_by_label(re.compile("^uniform")).set_checked(uniform)
            spec = completed({"method": method, "formats": ["uniform"] * uniform})
            standard = spec.get("recipe") or spec["schedule"]["shape"]
            chosen = sizes(page).locator("option:checked")
            expect(chosen).to_have_text(re.compile(rf"\b{standard}\b.*default\)$"))
            group = chosen.locator("xpath=..")
            expect(group).to_have_attribute("label", "Recipes" if "recipe" in spec else "Schedules")
    # Told apart from the format of the same name.
    sizes(page).select_option("equal ratios (uniform)")
    page.get_by_label("Method").select_option("flap")
    expect(sizes(page)).to_have_value("uniform")


def test_a_template_with_the_default_recipe_takes_the_default_of_format_uniform(
    visit: Visit, api: httpx.Client, usable: str
) -> None:
    """Seen: the earlier job's recipe was sent with the format, which has no recipe."""
    calibration = {"source": "c4", "sequence_length": 256}
    job_id = post(api, model=usable, calibration=calibration).json()["id"]
    page = visit.open(f"new?like={job_id}")
    fold_out(page)
    expect(sizes(page).locator("option:checked")).to_have_text("measured (default)")
    page.get_by_label(re.compile("^uniform")).check()
    page.get_by_role("button", name="Start job").click()
    expect(page).to_have_url(re.compile(r"#/jobs/job_\w+$"), timeout=PATIENCE)
    spec = api.get(f"/jobs/{page.url.rpartition('/')[2]}").json()["spec"]
    assert (spec["recipe"], spec["schedule"]["shape"]) == (None, "uniform")


@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_only_usable_model_is_chosen_and_what_is_estimated_is_marked(
    base_url: str, browser: Browser, usable: str, screen: dict[str, dict[str, int]]
) -> None:
    visit = Visit(browser, base_url, **screen)
    page = visit.open("new")
    picker = page.get_by_role("combobox", name="Models of this service")
    expect(picker).to_have_value(usable)
    expect(page.get_by_role("textbox", name="Model")).to_have_value(usable)
    expect(picker.locator("option")).to_have_text(
        [re.compile("Models of"), re.compile("zeta"), re.compile("tiny – cannot")]
    )
    expect(plan(page)).to_contain_text("2.01M → ≈ 1.51M", timeout=PATIENCE)
    expect(plan(page)).to_contain_text("≈ marks estimates")
    expect(plan(page)).to_contain_text("5 KiB → ≈ 5 KiBno less than before")
    expect(plan(page)).not_to_contain_text("more tokens fit")
    if screen is DESKTOP:
        tops = page.locator(".columns.new .card").evaluate_all(
            "cards => cards.map(card => card.getBoundingClientRect().top)"
        )
        assert len(tops) == 2
        assert tops[0] == pytest.approx(tops[1], abs=1)
    fold_out(page)
    sizes(page).select_option("uniform")
    expect(plan(page)).to_contain_text("37.5% less; 60.0% more tokens fit", timeout=PATIENCE)
    expect(plan(page)).not_to_contain_text("marks estimates")
    expect(plan(page)).to_contain_text("2.01M → 1.51M")
    visit.close()


def test_a_ratio_in_the_field_of_percents_is_doubted_and_a_refusal_says_percents(
    visit: Visit, usable: str
) -> None:
    page = visit.open("new")
    expect(page.get_by_role("textbox", name="Model")).to_have_value(usable)
    field, doubt = page.get_by_label("Percent to remove"), page.locator(".doubt")
    note = page.locator(".plan-note")
    for value, asked in {
        "0.3": "0.3% or 30%? As it stands, 0.3% is removed.",
        "0.3%": "",
        "0,25": "0.25% or 25%? As it stands, 0.25% is removed.",
        "20, 0.5": "0.5% or 50%? As it stands, 0.5% is removed.",
        "1": "",
        "0": "",
        "30": "",
    }.items():
        field.fill(value)
        expect(doubt).to_have_text(asked)
    field.fill("0.3")
    page.get_by_label("Parameters to leave").check()
    expect(doubt).to_have_text("")
    page.get_by_label("Share to remove").check()
    field.fill("120")
    expect(note).to_contain_text("less than 1, which is 100%", timeout=PATIENCE)
    page.get_by_role("button", name="Plan").click()
    expect(page.locator("#e-amount")).to_have_text("Input should be less than 1, which is 100%")
    expect(field).to_have_attribute("aria-invalid", "true")
    field.fill("95")
    expect(page.locator("#e-amount")).to_have_text("")
    expect(field).not_to_have_attribute("aria-invalid", "true")
    expect(note).to_contain_text("cannot be met", timeout=PATIENCE)
    words = r"removes 0\.(\d\d)(\d\d).*In percent, as this form has it: (\S+)\.$"
    said = re.search(words, note.text_content() or "")
    assert said is not None
    assert float(said[3]) == float(f"{said[1]}.{said[2]}")
    field.fill(said[3])
    expect(note).to_have_text("", timeout=PATIENCE)
    expect(plan(page)).to_contain_text(f"{float(said[3]):.1f}% removed")

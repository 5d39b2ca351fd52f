"""Pickers, the living plan, a finished job's cards and the further pages, in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from redis import Redis

from jobs.messages.workers import WorkerFacts, announce
from jobs.settings import Settings
from jobs.store.engine_logs import EngineEnd, EngineLogs
from jobs.store.store import Store
from tests.api.conftest import BODY, PublishJob
from tests.browser import Visit, open_browser

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120_000  # milliseconds, for a process that plans, on a busy machine
MARKUP = "<img src=x onerror=document.title='owned'>"
COSTS = {
    "cache_bytes_before": 4096,
    "cache_bytes_after": 3072,
    "operations_before": 8_000_000,
    "operations_after": 6_000_000,
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def visit(base_url: str, browser: Browser) -> Iterator[Visit]:
    made = Visit(browser, base_url)
    yield made
    made.close()


def test_the_form_offers_what_there_is_and_plans_while_one_types(
    api: httpx.Client, settings: Settings, visit: Visit
) -> None:
    shutil.copytree(ROOT / "examples" / "model", settings.models_root / "shipped")
    (settings.models_root / "tiny" / "model.safetensors").unlink()
    page = visit.open("new")
    picker = page.get_by_role("combobox", name="Models of this service")
    expect(picker.get_by_role("option", name=re.compile("tiny"))).to_be_disabled()
    picker.select_option("local:shipped")
    expect(page.get_by_role("textbox", name="Model")).to_have_value("local:shipped")
    expect(page.get_by_text(re.compile("llama, .* parameters, .* layers"))).to_be_visible()
    # A text of the service's own works without a network.
    expect(page.get_by_label("Text", exact=True)).to_have_value("local:notes.txt")
    expect(page.get_by_label("Tokens in each")).to_have_value("512")  # the model's positions

    plan = page.get_by_role("region", name="Plan", exact=True)
    expect(plan).to_contain_text("25.0% removed", timeout=PATIENCE)  # nothing was pressed
    expect(plan).to_contain_text("no job has finished here yet")
    expect(plan).to_contain_text("KV cache a token")
    page.get_by_label("Percent to remove").fill("20, 33, 50")
    table = page.get_by_role("table", name="Every model of the sweep")
    expect(table.get_by_role("row")).to_have_count(4, timeout=PATIENCE)
    expect(table).to_contain_text("33.0%")
    page.get_by_label("Percent to remove").fill("99")
    expect(page.locator(".plan-note")).to_contain_text("cannot be met", timeout=PATIENCE)
    assert api.get("/jobs").json()["items"] == []

    page.get_by_label("Percent to remove").fill("30")
    page.get_by_text("More: method").click()
    page.get_by_label(re.compile("^gguf")).check()
    page.get_by_label("Precision of GGUF").select_option("q8_0")
    page.get_by_label(re.compile("^arc_easy")).check()
    page.get_by_label("Other tasks").fill("openbookqa")
    page.get_by_label("Questions of each").fill("20")
    page.get_by_label(re.compile("^Train the pruned model")).check()
    page.get_by_label("Rows").fill("100")
    page.get_by_label(re.compile("^Generation time")).check()
    page.get_by_label("Sequences at once").fill("1, 4")
    page.get_by_role("button", name="Start job").click()
    expect(page).to_have_url(re.compile(r"#/jobs/job_\w+$"))
    spec = spec_of(api, page)
    assert spec["calibration"]["source"] == "local:notes.txt"
    assert (spec["formats"], spec["gguf_type"]) == (["gguf"], "q8_0")
    tasks = [(task["name"], task["limit"]) for task in spec["evaluation"]["tasks"]]
    assert tasks == [("arc_easy", 20), ("openbookqa", 20)]
    assert (spec["recovery"]["source"], spec["recovery"]["samples"]) == ("alpaca", 100)
    assert spec["evaluation"]["inference"]["batch_sizes"] == [1, 4]
    assert spec["evaluation"]["samples"]["prompts"] == 3
    _use_as_template(api, page, spec)


def spec_of(api: httpx.Client, page: Page) -> dict[str, Any]:
    """The specification of the job that the page shows."""
    spec: dict[str, Any] = api.get(f"/jobs/{page.url.rpartition('/')[2]}").json()["spec"]
    return spec


def _use_as_template(api: httpx.Client, page: Page, spec: dict[str, Any]) -> None:
    """The form knows what another job asked for, and what is unticked is asked for no more."""
    page.get_by_role("link", name="Use as template").click()
    page.get_by_text("More: method").click()
    expect(page.get_by_label(re.compile("^gguf"))).to_be_checked()
    expect(page.get_by_label("Other tasks")).to_have_value("openbookqa")
    expect(page.get_by_label("Rows")).to_have_value("100")
    page.get_by_label(re.compile("^gguf")).uncheck()
    page.get_by_label(re.compile("^Train the pruned model")).uncheck()
    page.get_by_role("button", name="Start job").click()
    expect(page).to_have_url(re.compile(r"#/jobs/job_\w+$"))
    again = spec_of(api, page)
    assert (again["formats"], again["gguf_type"], again["recovery"]) == ([], None, None)
    assert again["evaluation"] == spec["evaluation"]


def test_a_finished_job_says_how_to_use_it_and_shows_what_it_writes(
    api: httpx.Client, publish_job: PublishJob, visit: Visit, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    (folder / "gguf").mkdir(parents=True)
    for name in ("config.json", "modeling_slimgpt.py", "gguf/m.gguf"):
        (folder / name).write_text("{}")
    texts = [{"prompt": f"Once {MARKUP}", "dense": f"upon {MARKUP}", "pruned": "a time"}]
    samples = {"source": "held-out", "seed": 7, "temperature": 0.8, "texts": texts}
    job = publish_job(folder, {"samples": samples, "token_costs": COSTS})
    page = visit.open(f"jobs/{job}")
    card = page.get_by_role("region", name="Use it")
    expect(card).to_contain_text("4 KiB → 3 KiB")
    expect(card).to_contain_text("8M → 6M")
    for snippet in api.get(f"/jobs/{job}/usage").json()["items"]:
        code = snippet["code"].rstrip()
        if snippet["tool"] == "curl":
            assert code.count("curl ") == 3
        name = f"use-{snippet['tool']}-{snippet['folder']}-{snippet['format']}"
        assert (card.locator(f'[data-key="{name}"] pre').text_content() or "").rstrip() == code
    expect(card.get_by_text("trust_remote_code=True")).to_be_visible()
    side = page.get_by_role("region", name="Sample texts")
    expect(side).to_contain_text("seed 7")
    expect(side).to_contain_text(f"upon {MARKUP}")
    expect(side).to_contain_text("a time")
    assert page.locator("img[src=x]").count() == 0


def test_a_failed_job_shows_its_engines_last_lines(
    api: httpx.Client, own_store: Store, visit: Visit
) -> None:
    job = api.post("/jobs", json=BODY).json()["id"]
    claim = own_store.claim(job, "w")
    assert claim is not None
    end = EngineEnd(1, "2026-11-30T10:00:00+00:00", "stage prune", -9, 7 << 30, 8 << 30, 1 << 20,
                    ["first", f"last {MARKUP}"])  # fmt: skip
    assert EngineLogs(own_store.engine).put(job, claim.epoch, end)
    assert own_store.fail(job, claim.epoch, {"code": "engine-killed", "message": "m", "hint": ""})
    page = visit.open(f"jobs/{job}")
    card = page.get_by_role("region", name="The engine's last lines")
    expect(card).to_contain_text("was ended by signal 9 during stage prune")
    expect(card).to_contain_text("7 GiB a moment before its end, 8 GiB at its peak")
    expect(card.locator("pre")).to_have_text(f"first\nlast {MARKUP}")
    assert page.locator("img[src=x]").count() == 0


def test_a_queued_job_tells_its_place(api: httpx.Client, own_store: Store, visit: Visit) -> None:
    _, second = (api.post("/jobs", json=BODY).json()["id"] for _ in range(2))
    page = visit.open(f"jobs/{second}")
    expect(page.get_by_text("number 2 in the queue, after 1 other job")).to_be_visible()
    assert own_store.claim_next("w")
    expect(page.get_by_text("next in the queue")).to_be_visible()


def test_workers_are_shown_with_their_device_and_job(
    api: httpx.Client, own_store: Store, settings: Settings, visit: Visit
) -> None:
    job = api.post("/jobs", json=BODY).json()["id"]
    assert own_store.claim(job, "w")
    page = visit.open("workers")
    expect(page.get_by_text("No worker was heard")).to_be_visible()
    url = settings.redis_url.get_secret_value()
    redis = Redis.from_url(url, decode_responses=True)
    announce(redis, WorkerFacts("a", "rack-7", 9, MARKUP, "1.0", time.time(), job), 1.0)
    announce(redis, WorkerFacts("b", "rack-8", 9, "CPU", "1.0", time.time()), 3600.0)
    redis.close()
    busy, silent = (page.get_by_role("listitem").filter(has_text=word) for word in ("busy", "CPU"))
    expect(busy).to_contain_text(MARKUP)
    expect(busy).to_contain_text("rack-7, process 9")
    expect(silent).to_contain_text("silent")
    busy.get_by_role("link", name="Its job").click()
    expect(page).to_have_url(re.compile(f"#/jobs/{job}$"))


def test_texts_are_uploaded_and_deleted(api: httpx.Client, visit: Visit) -> None:
    page = visit.open("texts")
    expect(page.get_by_text("No texts yet")).to_be_visible()
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("alert")).to_have_text("choose a file")

    def give(name: str, content: str) -> None:
        file: Any = {"name": name, "mimeType": "", "buffer": content.encode()}
        page.get_by_label("Text file").set_input_files(file)
        page.get_by_role("button", name="Upload").click()

    give("bad.jsonl", "{not json\n")
    expect(page.get_by_role("alert")).to_contain_text("line 1")
    give(f"{MARKUP}.txt", "Once upon a time.")
    item = page.get_by_role("listitem").filter(has_text=MARKUP)
    expect(item).to_be_visible()
    (kept,) = api.get("/calibration-sets").json()["items"]
    expect(item).to_contain_text(kept["source"])
    item.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete the text").click()
    expect(page.get_by_text("No texts yet")).to_be_visible()
    assert api.get("/calibration-sets").json()["items"] == []


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Webhooks need a secret to sign with."""
    return Settings(**{**settings.model_dump(), "key_pepper": "p" * 40})


def test_a_webhook_is_added_tested_and_deleted(api: httpx.Client, visit: Visit) -> None:
    page = visit.open("webhooks")
    page.get_by_label("URL").fill("http://93.184.215.14/hook")
    page.get_by_role("button", name="Add webhook").click()
    expect(page.get_by_role("alert")).to_contain_text("https")
    page.get_by_label("URL").fill("https://93.184.215.14/hook")
    page.get_by_label("job.cancelled").uncheck()
    page.get_by_role("button", name="Add webhook").click()
    expect(page.get_by_role("status", name="The webhook's secret")).to_contain_text("whsec_")
    (hook,) = api.get("/webhooks").json()["items"]
    assert hook["events"] == ["job.failed", "job.succeeded"]
    page.get_by_role("button", name="Send a test").click()
    expect(page.get_by_role("listitem").filter(has_text="webhook.test").first).to_contain_text(
        "pending"
    )
    page.get_by_role("button", name="Disable").click()
    expect(page.get_by_role("button", name="Enable")).to_be_visible()
    page.get_by_role("button", name=re.compile("^Delete")).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete the webhook").click()
    expect(page.get_by_text("No webhooks yet")).to_be_visible()
    assert json.dumps(api.get("/webhooks").json()["items"]) == "[]"

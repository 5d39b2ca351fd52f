"""A job's page: whose numbers it shows, how its parts stand, and what a retry begins with."""

from __future__ import annotations

import httpx
from playwright.sync_api import Locator, expect

from jobs.messages.progress import Progress
from jobs.settings import Settings
from jobs.store.store import Store
from slimgpt.events import Planned
from slimgpt.spec.planned_sizes import PlannedPoint
from tests.api.dashboard.conftest import MakeJob, measured
from tests.api.dashboard.test_accessibility import ERROR
from tests.api.dashboard.test_live import finish_layer
from tests.api.routes.test_jobs import post
from tests.browser import Visit

COSTS = {
    "cache_bytes_before": 4096,
    "cache_bytes_after": 3072,
    "operations_before": 8_000_000,
    "operations_after": 6_000_000,
}
ASSESSMENT = {
    "meaning": "×1.24, a noticeable loss",
    "evidence": ["Evaluated on 16,256 tokens.", "Calibrated on 8,192 tokens."],
    "advice": ["Recover: `recovery` in a job or `slimgpt recover`."],
}
PROOFS = [
    {"format": "exact", "loader": "transformers 5.24.0, AutoModel", "max_difference": 0.0},
    {"format": "gguf", "loader": "llama.cpp (xllamacpp 1), f32", "max_difference": 2.62e-5},
    {"format": "gguf", "loader": "llama.cpp (xllamacpp 1), f32", "max_difference": 2.08e-5},
]


def sweep(make_job: MakeJob) -> str:
    """A job whose first model is its smallest one."""
    points = [
        {"report": {"token_costs": COSTS | {"cache_bytes_after": left}}, "ratio": ratio}
        for ratio, left in ((0.4, 2048), (0.2, 3072))
    ]
    texts = [measured(value, "t", point) for point, value in enumerate((14.0, 11.0))]
    found = {"assessment": ASSESSMENT, "verified": PROOFS}
    return make_job(texts, (60, 80), found=found, report={"points": points})


def test_numbers_of_one_model_of_a_sweep_say_whose_they_are(
    visit: Visit, make_job: MakeJob
) -> None:
    page = visit.open(f"jobs/{sweep(make_job)}")
    names = page.locator(".assessed dt")
    expect(names).to_have_text([f"{n}, ratio 0.4" for n in ("Meaning", "Evidence", "What to do")])
    tiles = page.locator(".tile > span:first-child")
    for name in ("Parameters", "KV cache a token", "Operations a token"):
        expect(tiles.filter(has_text=name)).to_have_text(f"{name}, ratio 0.4")
    expect(page.get_by_role("region", name="Use it")).to_contain_text("4 KiB → 2 KiB")
    expect(page.get_by_text("logits differ by at most")).to_have_text(
        "logits differ by at most 0 in transformers 5.24.0, 2.62e-5 in llama.cpp"
    )
    expect(page.locator(".assessed code")).to_have_text(["recovery", "slimgpt recover"])


def test_numbers_of_the_only_model_need_no_name(visit: Visit, make_job: MakeJob) -> None:
    found = {"assessment": ASSESSMENT, "verified": PROOFS[:1]}
    job_id = make_job([measured(12, "t")], found=found, report={"token_costs": COSTS})
    page = visit.open(f"jobs/{job_id}")
    expect(page.locator(".assessed dt")).to_have_text(["Meaning", "Evidence", "What to do"])
    expect(page.get_by_text("KV cache a token", exact=True)).to_be_visible()
    expect(page.get_by_text("logits differ by at most 0", exact=True)).to_be_visible()
    expect(page.get_by_text("25.0% less; 33.3% more tokens fit")).to_be_visible()
    places = page.locator(".assessed dd").evaluate_all(
        "parts => parts.map(part => part.getBoundingClientRect()).map(box => [box.left, box.top])"
    )
    assert len({left for left, _ in places}) == 1  # one below the other
    assert [top for _, top in places] == sorted({top for _, top in places})


def planned_model(ratio: float, left: int) -> PlannedPoint:
    return PlannedPoint(
        ratio=ratio,
        parameters_after=left,
        bytes_after=left,
        ratio_achieved=ratio,
        channel_multiple=8,
    )


def record(settings: Settings, job_id: str, event: Planned) -> None:
    progress = Progress.connect(settings.redis_url.get_secret_value())
    progress.record(job_id, event)
    progress.close()


def test_the_layers_of_a_sweep_are_counted_model_by_model(
    visit: Visit, api: httpx.Client, own_store: Store, settings: Settings
) -> None:
    job_id = post(api, ratio=None, ratios=[0.2, 0.4]).json()["id"]
    claim = own_store.claim(job_id, "tester")
    assert claim is not None
    planned = Planned(
        parameters_before=100,
        parameters_after=60,
        ratio_achieved=0.4,
        layers=16,
        channel_multiple=8,
        points=[planned_model(0.2, 80), planned_model(0.4, 60)],
    )
    own_store.planned(job_id, claim.epoch, planned)
    record(settings, job_id, planned)
    page = visit.open(f"jobs/{job_id}")
    log = page.get_by_role("log", name="Events")
    expect(log).to_contain_text("100 → 80, 60 parameters in 2 models × 8 layers")
    expect(page.locator(".far")).to_contain_text("0 of 2 models × 8 layers")


def width(place: Locator) -> float:
    found = place.bounding_box()
    assert found is not None
    return found["width"]


def test_a_page_with_nothing_on_its_left_has_one_column(
    visit: Visit, api: httpx.Client, own_store: Store, settings: Settings
) -> None:
    job_id, failed = (post(api, name=name).json()["id"] for name in ("running", "failed"))
    claims = [own_store.claim(one, "tester") for one in (job_id, failed)]
    assert claims[0] is not None
    assert claims[1] is not None
    error = {**ERROR, "hint": "convert it with `save_pretrained`"}
    assert own_store.fail(failed, claims[1].epoch, error)
    page = visit.open(f"jobs/{failed}")
    expect(page.locator(".hint code")).to_have_text("save_pretrained")
    assert width(page.locator(".at-spec")) == width(page.locator(".at-failure"))
    page = visit.open(f"jobs/{job_id}")
    spec = page.locator(".at-spec")
    expect(spec).to_contain_text("What was asked")
    assert width(spec) == width(page.locator(".at-steps"))
    finish_layer(own_store, settings, (job_id, claims[0].epoch), 0)
    expect(page.get_by_role("heading", name="Layers")).to_be_visible()
    assert width(spec) < width(page.locator(".at-layers")) < width(page.locator(".at-steps"))


def test_a_cancelled_job_says_that_a_retry_begins_anew(
    visit: Visit, api: httpx.Client, own_store: Store
) -> None:
    job_id, failed = (post(api, name=name).json()["id"] for name in ("cancelled", "failed"))
    api.post(f"/jobs/{job_id}/cancel")
    claim = own_store.claim(failed, "tester")
    assert claim is not None
    assert own_store.fail(failed, claim.epoch, ERROR)
    page = visit.open(f"jobs/{job_id}")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    expect(page.locator(".at-head .actions")).to_contain_text("from the first layer")
    page = visit.open(f"jobs/{failed}")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    expect(page.locator(".at-head .actions")).not_to_contain_text("from the first layer")


def test_a_text_with_a_long_name_leaves_its_numbers_in_the_card(
    visit: Visit, make_job: MakeJob
) -> None:
    row = measured(622.7, "t", text="local:a-folder/evaluation-of-the-model.jsonl")
    row |= {"tokens": 612_255, "begins_with": "<s>", "pruned_ratio_interval": [0.9256, 0.9361]}
    page = visit.open(f"jobs/{make_job([row])}")
    table = page.get_by_role("table", name="Perplexity")
    expect(table).to_contain_text("×0.926…×0.936")
    assert table.evaluate("node => node.scrollWidth <= node.parentElement.clientWidth")
    head, steps = (page.locator(f".at-{name}").bounding_box() for name in ("head", "steps"))
    assert head is not None
    assert steps is not None
    assert steps["y"] - head["y"] - head["height"] >= 10  # parts stand apart

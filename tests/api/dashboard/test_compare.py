"""Jobs side by side: what may share an axis does, the rest is a multiple of its dense model's."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Page, expect

from jobs.store.store import Store
from slimgpt.spec.prune import PruneSpec
from slimgpt.spec.recipe import in_words
from tests.api.dashboard.conftest import MakeJob, layers_of, measured
from tests.browser import Visit


def compared(visit: Visit, *ids: str) -> Page:
    page = visit.open(f"compare?jobs={','.join(ids)}")
    expect(page.locator(f"td a[href='#/jobs/{ids[-1]}']").first).to_be_visible()
    return page


def y_of(page: Page, selector: str) -> list[float]:
    """Heights of marks, in units of the drawing."""
    return [
        float(value)
        for value in page.locator(f".curve > svg {selector}").evaluate_all(
            "marks => marks.map(mark => mark.getBBox().y + mark.getBBox().height / 2)"
        )
    ]


def test_jobs_are_ticked_and_compared(visit: Visit, make_job: MakeJob) -> None:
    sweep = [measured(value, "t", point) for point, value in enumerate((11.0, 14.0, 30.0))]
    make_job(sweep, (80, 67, 50), ((0.1,), (0.2,), (0.4,)), name="sweep")
    make_job([measured(20, "t")], (75,), ((0.3, 0.8),), name="other", method="magnitude")
    page = visit.open()
    page.get_by_label("Choose sweep").check()
    page.get_by_label("Choose other").check()
    expect(page.get_by_role("region", name="Chosen jobs")).to_contain_text("2 jobs are chosen")
    page.get_by_role("link", name="Compare").click()
    expect(page.get_by_role("heading", name="Comparison")).to_be_visible()
    expect(page.locator(".curve > svg path.line")).to_have_count(2)  # one a method
    expect(page.locator(".curve figcaption")).to_contain_text(
        re.compile("magnitude.*slimgpt|slimgpt.*magnitude")
    )
    expect(page.locator(".curve > svg .mark")).to_have_count(4)
    expect(page.locator(".curve > svg .dense")).to_have_count(1)  # the same dense model
    expect(page.get_by_text("cannot be compared")).to_have_count(0)
    rows = page.get_by_role("table", name="Models").get_by_role("row")
    expect(rows.filter(has_text="other")).to_contain_text("10 → 20")
    expect(rows.filter(has_text="20.0% removed")).to_contain_text("×1.1")
    styles = page.locator(".curve > svg path.line").evaluate_all(
        "lines => lines.map(getComputedStyle).map(style => [style.stroke, style.strokeDasharray])"
    )
    assert styles[0][0] != styles[1][0]
    assert styles[0][1] != styles[1][1]  # told apart without colour, too
    axes = page.locator(".charts figure svg").evaluate_all(
        "charts => charts.map(chart =>"
        "  [...chart.querySelectorAll('[text-anchor=end]')].map(tick => tick.textContent).join())"
    )
    assert axes == ["0,0.4,0.8"] * 4  # of the sweep's three models and the other's one
    page.go_back()
    expect(page.get_by_label("Choose sweep")).to_be_checked()
    page.get_by_role("button", name="Choose none").click()
    expect(page.get_by_label("Choose sweep")).not_to_be_checked()


def test_what_was_measured_on_other_windows_is_a_multiple_of_its_own_dense(
    visit: Visit, make_job: MakeJob
) -> None:
    ids = [make_job([measured(2 * dense, f"windows {dense}", dense=dense)]) for dense in (10, 40)]
    page = compared(visit, *ids)
    expect(page.get_by_text("cannot be compared")).to_be_visible()
    first, second = y_of(page, ".mark")
    assert first == second  # twice the dense one's, both
    assert len(set(y_of(page, ".dense"))) == 1
    unknown = [make_job([measured(20, "")]) for _ in range(2)]
    expect(compared(visit, *unknown).get_by_text("cannot be compared")).to_be_visible()
    same = [make_job([measured(value, "same")]) for value in (20, 40)]
    page = compared(visit, *same)
    expect(page.locator(".curve > svg .mark")).to_have_count(2)
    expect(page.get_by_text("cannot be compared")).to_have_count(0)
    high, low = sorted(y_of(page, ".mark"))
    assert high < low


def test_recipes_and_schedules_are_lines_of_their_own_named_as_in_a_report(
    visit: Visit, make_job: MakeJob, own_store: Store
) -> None:
    asked: list[dict[str, Any]] = [
        {"recipe": "paper"}, {"recipe": "measured"}, {"schedule": {"shape": "log"}},
        {"schedule": {"shape": "uniform"}}, {"method": "flap"}, {"method": "magnitude"},
        {"method": "flap", "schedule": {"shape": "uniform"}},
    ]  # fmt: skip
    ids = [make_job([measured(20 + n, "t")], **body) for n, body in enumerate(asked)]
    page = compared(visit, *ids)
    table = page.get_by_role("table", name="Models")
    legend = page.locator(".curve figcaption")
    for job_id in ids:
        job = own_store.get(job_id)
        assert job is not None
        assert isinstance(job.spec, PruneSpec)
        words = in_words(job.spec.model_dump(mode="json"))
        expect(table.get_by_text(words, exact=True)).to_have_count(1)
        expect(legend.get_by_text(words, exact=True)).to_have_count(1)


def test_a_sweep_shows_its_curve_and_its_charts_share_one_axis(
    visit: Visit, make_job: MakeJob
) -> None:
    assert layers_of(0, [0.1])[0].ffn_error == 0.1
    sweep = [measured(value, "t", point) for point, value in enumerate((11.0, 14.0))]
    job_id = make_job(sweep, (80, 60), ((0.1, 0.2), (0.3, 0.6)))
    page = visit.open(f"jobs/{job_id}")
    expect(page.locator(".curve > svg .mark")).to_have_count(2)
    charts = page.get_by_role("img", name=re.compile("Relative error"))
    expect(charts).to_have_count(2)
    for number in (0, 1):
        expect(charts.nth(number).locator("[text-anchor=end]")).to_have_text(["0", "0.3", "0.6"])


def test_jobs_without_a_result_and_jobs_that_are_gone_are_said(
    visit: Visit, make_job: MakeJob
) -> None:
    job_id = make_job([measured(12, "t")], name="done")
    page = visit.open(f"compare?jobs={job_id},job_gone")
    expect(page.get_by_text("not there any more")).to_be_visible()
    expect(page.get_by_role("link", name="done").first).to_be_visible()
    expect(visit.open("compare").get_by_text("Choose jobs by their tick boxes")).to_be_visible()

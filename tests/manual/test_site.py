"""The built site: nothing is missing, every link leads somewhere, a strict policy stops nothing."""

from __future__ import annotations

import os
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from playwright.sync_api import Browser, expect

from manual import archive, policy
from manual.pages import GENERATED
from tests.browser import Visit, open_browser

ROOT = Path(__file__).resolve().parent.parent.parent
SEEN = ("", "getting-started/", "reference/settings/", "explanation/method/", "how-to/choose/")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def test_every_page_of_the_documentation_is_in_the_site(built: tuple[Path, Path]) -> None:
    """The build is strict: a link or an anchor that leads nowhere has failed it."""
    names = set(zipfile.ZipFile(built[0]).namelist())
    written = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    wanted = {str(path.with_suffix("")) + "/index.html" for path in written} | {"index.html"}
    wanted |= {name.removesuffix(".md") + "/index.html" for name in GENERATED}
    assert wanted - {"index/index.html"} <= names


def test_every_page_stands_in_the_nav_or_under_one_that_does() -> None:
    nav = (ROOT / "manual" / "zensical.toml").read_text(encoding="utf-8")
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    shown = {page for page in pages if not page.startswith("decisions/")} | set(GENERATED)
    assert sorted(page for page in shown if f'"{page}"' not in nav) == []


def test_every_alert_links_to_its_runbook(url: str) -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    page = httpx.get(f"{url}/help/runbooks/", trust_env=False).text
    every = [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    assert len({group["name"] for group in rules["groups"]}) > 1
    for rule in every:
        link = rule["annotations"]["runbook_url"]
        address, anchor = link.split("#")
        assert address == "{{ $externalLabels.slimgpt_url }}/help/runbooks/"
        assert f'id="{anchor}"' in page, rule["alert"]


def test_equations_are_drawn_and_lead_to_functions(url: str) -> None:
    page = httpx.get(f"{url}/help/explanation/method/", trust_env=False).text
    assert page.count("<math") > 20
    assert "```math" not in page
    assert "$`" not in page
    links = set(re.findall(r'href="(\.\./\.\./source/[\w/.]+/)#(\w+)"', page))
    assert {"remove_", "refit", "grouped_cholesky", "correction"} <= {name for _, name in links}
    for address, name in links:
        source = httpx.get(f"{url}/help/explanation/method/{address}", trust_env=False)
        assert f'id="{name}"' in source.text, (address, name)


def test_addresses_are_answered_as_files_are(url: str) -> None:
    with httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/help").headers["Location"] == "help/"
        assert client.get("/help/calibration").headers["Location"] == "calibration/"
        first = client.get("/help/")
        assert first.status_code == 200
        assert "unsafe" not in first.headers["Content-Security-Policy"]
        again = client.get("/help/", headers={"If-None-Match": first.headers["ETag"]})
        assert again.status_code == 304
        assert client.head("/help/").status_code == 200
        for missing in ("none/", "content-security-policy", "..%2fapp.py", "%2e%2e/app.py"):
            assert client.get(f"/help/{missing}").status_code == 404, missing
        picture = client.get("/help/explanation/life-of-a-job.svg")
        assert picture.headers["Content-Type"] == "image/svg+xml"
        (style,) = policy.STYLE.findall(picture.text)
        digest = (
            policy.of([f"<style>{style}</style>"], []).split("style-src 'self' ")[1].split(";")[0]
        )
        assert digest in picture.headers["Content-Security-Policy"]


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_policy_stops_nothing_and_nothing_is_wider_than_the_screen(
    url: str, browser: Browser, width: int, scheme: str
) -> None:
    visit = Visit(browser, url, viewport={"width": width, "height": 900}, color_scheme=scheme)
    for place in SEEN:
        visit.page.goto(f"{url}/help/{place}")
        expect(visit.page.get_by_role("heading", level=1)).to_be_visible()
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width, place
        ground = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        dark = sum(map(int, re.findall(r"\d+", ground)[:3])) < 128
        assert dark == (scheme == "dark"), ground
        home = visit.page.get_by_role("link", name="Dashboard", exact=True).first
        expect(home).to_be_visible()
        assert home.evaluate("link => link.href") == f"{url}/", place
    visit.close()


def test_the_search_finds_an_error_code(url: str, browser: Browser) -> None:
    visit = Visit(browser, url, viewport={"width": 1440, "height": 900})
    visit.page.goto(f"{url}/help/")
    visit.page.get_by_role("button", name="Search").click()
    visit.page.locator("input[role=combobox]").fill("engine-killed")
    first = visit.page.locator("[role=option]").first
    expect(first).to_contain_text("engine-killed")
    first.click()
    visit.page.wait_for_url("**/reference/errors/**#engine-killed")
    visit.close()


def test_the_same_files_make_the_same_archive(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "a").mkdir(parents=True)
    (site / "a" / "index.html").write_text("<script>go()</script>")
    (site / "404.html").write_text("<script>another()</script>")
    (site / "code.js").write_text("x")
    archive.write(site, tmp_path / "one.zip")
    os.utime(site / "code.js", (10**9, 10**9))
    archive.write(site, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as opened:
        assert opened.namelist() == ["a/index.html", "code.js", archive.POLICY]


def test_the_policy_names_what_is_inline_and_no_data() -> None:
    page = "<script>go()</script><script src='a.js'></script><style>p{color:red}</style>"
    data = '<script type="application/json">{"a": 1}</script>'
    made = policy.of([page + data], [])
    assert made.count("sha256-") == 2
    assert made == policy.of([page], [])
    assert "unsafe" not in made


def test_set_up_builds_the_manual_when_its_sources_have_changed() -> None:
    asked = ["make", "-n", "-W", "docs/index.md", "setup"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "python -m manual" in done.stdout

"""`slimgpt report` and `compare`: a real run's report, files of reports, jobs of a service."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.api.conftest import PublishJob, api, base_url, own_store, publish_job
from tests.cli.conftest import Slimgpt
from tests.slimgpt.report.sample import HOSTILE, report, write

__all__ = ["api", "base_url", "own_store", "publish_job"]


@pytest.fixture(scope="module")
def pruned(
    slimgpt: Slimgpt, tiny_model: Path, prose: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A checkpoint as a job publishes it."""
    out = tmp_path_factory.mktemp("pruned") / "out"
    done = slimgpt(
        *("prune", tiny_model, out, "--ratio", 0.2, "--calibration", prose, "--samples", 8),
        *("--seq-len", 32, "--device", "cpu", "--eval-seq-len", 32, "--max-tokens", 512),
    )
    assert done.returncode == 0, done.stderr
    return out


def test_a_run_publishes_page_and_card_and_its_report_is_shown(
    slimgpt: Slimgpt, pruned: Path, tmp_path: Path
) -> None:
    content = json.loads((pruned / "report.json").read_text())
    done = slimgpt("report", pruned, "--html", tmp_path / "again.html")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    published = (pruned / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == published
    assert content["verdict"] in published
    assert (pruned / "README.md").read_text(encoding="utf-8").startswith("---\n")
    shown = slimgpt("report", pruned).stdout
    assert content["verdict"] in shown
    assert f"{content['model']['parameters_after']:,}" in shown
    assert f"{content['perplexity'][0]['pruned']:.4g}" in shown
    assert "\x1b" not in shown
    assert json.loads(slimgpt("report", pruned, "--json").stdout) == content


def test_reports_stand_side_by_side_the_least_pruned_first(
    slimgpt: Slimgpt, tmp_path: Path
) -> None:
    places = [write(tmp_path / f"at-{ratio}", report(2, ratio=ratio)) for ratio in (0.5, 0.2)]
    done = slimgpt("compare", *places, "--json", "--html", tmp_path / "both.html")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [Path(row["name"]).name for row in rows] == ["at-0.2", "at-0.5"]
    assert "Perplexity on org/model-7b, 128 tokens" in (tmp_path / "both.html").read_text()
    lines = slimgpt("compare", *places).stdout.splitlines()
    assert [Path(name).name for name in lines[0].split()[1:]] == ["at-0.2", "at-0.5"]
    shown = {" ".join(line.split()[:-2]): line.split()[-2:] for line in lines}
    assert shown["Perplexity on org/model-7b, 128 tokens: dense"] == ["12.63", "12.63"]
    assert shown["Removed"] == ["20.0%", "50.0%"]


def test_strangers_words_do_nothing_to_a_terminal(slimgpt: Slimgpt, tmp_path: Path) -> None:
    folder = write(tmp_path / "job", report(1, f"{HOSTILE}\x1b[31m[red]x[/red]"))
    for command in ("report", "compare"):
        done = slimgpt(command, folder)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout
        assert "[red]x[/red]" in done.stdout


def test_what_is_no_report_is_one_line(slimgpt: Slimgpt, tmp_path: Path) -> None:
    done = slimgpt("report", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {tmp_path} contains no report.json; name a published")
    nowhere = slimgpt("compare", tmp_path / "none.json")
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    write(tmp_path, report(1))
    full = slimgpt("report", tmp_path, "--html", tmp_path / "absent" / "page.html")
    assert (full.returncode, len(full.stderr.splitlines())) == (1, 1)


def test_jobs_of_a_service_are_named_by_their_ids(
    slimgpt: Slimgpt, base_url: str, publish_job: PublishJob, tmp_path: Path
) -> None:
    content = report(2)
    folder = write(tmp_path / "checkpoint", content)
    job_id = publish_job(folder, content)
    shown = slimgpt("report", job_id, "--url", base_url)
    assert content["verdict"] in shown.stdout, shown.stderr
    rows = slimgpt("compare", job_id, folder, "--url", base_url, "--json").stdout
    assert [row["name"] for row in json.loads(rows)["rows"]] == [job_id, str(folder)]
    unknown = slimgpt("report", "job_0000", "--url", base_url)
    assert (unknown.returncode, unknown.stderr) == (1, "error: there is no job 'job_0000'\n")


def test_a_comparison_fits_a_terminal_of_80_columns(slimgpt: Slimgpt, tmp_path: Path) -> None:
    ratios = (0.2, 0.25, 0.3, 0.4, 0.5)
    long = "a-folder-whose-name-is-as-long-as-those-that-people-give/at"
    places = [write(tmp_path / f"{long}-{ratio}", report(2, ratio=ratio)) for ratio in ratios]
    terminal = {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "80"}
    wide = slimgpt("compare", *places).stdout
    done = slimgpt("compare", *places, **terminal)
    narrow = re.sub(r"\x1b\[[\d;]*m", "", done.stdout)
    named, *blocks = narrow.split("\n\n")
    assert named.splitlines() == [f"{n}  {place}" for n, place in enumerate(places, 1)]
    assert len(blocks) > 1
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 80
    assert "…" not in narrow
    parameters = re.search("^Parameters +(.*)", wide, re.MULTILINE)
    assert parameters is not None
    shown = " ".join(re.findall("^Parameters +(.*)", narrow, re.MULTILINE)).split()
    assert shown == parameters[1].split()
    assert set(wide.split()) - set(map(str, places)) <= set(narrow.split())  # no word is broken

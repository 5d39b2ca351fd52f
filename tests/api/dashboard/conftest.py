"""A browser, and jobs that have measured something, for tests of the dashboard's pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser

from jobs.files.artifacts import Artifacts
from jobs.settings import Settings
from jobs.store.store import Store
from slimgpt.events import LayerFinished
from tests.api.routes.test_jobs import layer, post
from tests.browser import Visit, open_browser

SHARDS = 30
MakeJob = Callable[..., str]
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")  # a process has one Playwright at a time
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def visit(base_url: str, browser: Browser) -> Iterator[Visit]:
    """A tab as wide as a desk's screen."""
    made = Visit(browser, base_url, **DESKTOP)
    yield made
    made.close()


def measured(
    pruned: float, tokens: str, point: int = 0, dense: float = 10.0, text: str = "held-out"
) -> dict[str, Any]:
    """A row of perplexity, as the engine writes it."""
    row = {"text": text, "sequence_length": 128, "begins_with": "", "tokens": 4096, "point": point}
    return row | {"dense": dense, "pruned": pruned, "recovered": None, "sha256": tokens}


def layers_of(point: int, errors: Sequence[float]) -> list[LayerFinished]:
    """A layer of each error, of one model of a sweep."""
    total = len(errors)
    return [
        layer(number, total).model_copy(update={"point": point, "ffn_error": error})
        for number, error in enumerate(errors)
    ]


@pytest.fixture
def make_job(api: httpx.Client, own_store: Store, settings: Settings, tmp_path: Path) -> MakeJob:
    """Makes a succeeded job: `sizes` are the parameters of its models, several of a sweep.

    `found` replaces parts of its result.
    """

    def make(
        perplexity: list[dict[str, Any]],
        sizes: Sequence[int] = (75,),
        errors: Sequence[Sequence[float]] = ((0.1, 0.2),),
        found: Mapping[str, Any] | None = None,
        report: Mapping[str, Any] | None = None,
        **body: Any,
    ) -> str:
        if len(sizes) > 1:
            body = {"ratio": None, "ratios": [1 - size / 100 for size in sizes]} | body
        job_id: str = post(api, **body).json()["id"]
        claim = own_store.claim(job_id, "tester")
        assert claim is not None
        for point, values in enumerate(errors):
            for done in layers_of(point, values):
                assert own_store.layer_done(job_id, claim.epoch, done)
        points = [
            {"ratio": 1 - size / 100, "folder": f"ratio-{1 - size / 100:g}"}
            | {"parameters_after": size, "ratio_achieved": 1 - size / 100, "verdict": ""}
            for size in sizes
        ]
        result = {
            "parameters_before": 100,
            "parameters_after": min(sizes),
            "ratio_achieved": 1 - min(sizes) / 100,
            "seconds": 12.5,
            "peak_memory_bytes": 10**9,
            "perplexity": perplexity,
            "verified": [{"loader": "transformers 5", "max_difference": 1e-6}],
            "points": points if len(sizes) > 1 else [],
            **(found or {}),
        }
        folder = tmp_path / job_id
        folder.mkdir()
        for name in ("config.json", "report.html", "a-name-that-is-quite-long-and-goes-on.json"):
            (folder / name).write_text("{}")
        for number in range(1, SHARDS + 1):
            shard = folder / f"model-{number:05d}-of-{SHARDS:05d}.safetensors"
            shard.write_bytes(bytes(1024))
        prefix = f"jobs/{job_id}/{claim.epoch}"
        Artifacts(settings.artifacts_url).put(prefix, folder)
        finished = own_store.finish(
            job_id, claim.epoch, prefix=prefix, result=result, report=dict(report or {})
        )
        assert finished
        return job_id

    return make

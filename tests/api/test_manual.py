"""The manual in the service: open to everybody, and a page that says how to build it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from api import manual
from api.app import create_app
from api.dashboard import FILES
from jobs.settings import Settings


def test_without_a_build_it_says_how_to_make_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(manual, "ARCHIVE", tmp_path / "none.zip")
    keyed = settings.model_copy(
        update={"auth": "keys", "key_pepper": SecretStr("p" * 40), "loopback_only": False}
    )
    with TestClient(create_app(keyed)) as client:
        for path in ("/help", "/help/", "/help/reference/api/"):
            answer = client.get(path)
            assert answer.status_code == 404, path
            assert "make manual" in answer.text
            assert answer.headers["Content-Security-Policy"] == "default-src 'none'"
            assert answer.headers["X-Frame-Options"] == "DENY"
        assert client.get("/helpless").status_code == 401


def test_the_dashboard_links_to_it() -> None:
    assert '<a href="help/">' in (FILES / "index.html").read_text(encoding="utf-8")

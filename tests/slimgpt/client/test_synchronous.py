"""The synchronous client is the asynchronous one, without the waiting."""

from __future__ import annotations

from pathlib import Path

from tests.slimgpt.client.synchronous import CLIENT, generate


def test_it_is_generated(tmp_path: Path) -> None:
    made = generate(tmp_path)
    here = {file.name: file.read_text(encoding="utf-8") for file in CLIENT.glob("_sync/*.py")}
    assert here == made, "run python -m tests.slimgpt.client.synchronous"

"""`slimgpt calibration` and files given to `submit`, against a real API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.store.store import Store
from tests.api.conftest import api, base_url, own_store
from tests.cli.client.test_commands import client, refused

__all__ = ["api", "base_url", "client", "own_store"]
LINES = '{"text": "one"}\n{"text": "two"}\n'
SHORT = ("--samples", "1", "--seq-len", "8", "--eval-seq-len", "8")
"""What a few words are enough for."""


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.jsonl"
    path.write_text(LINES)
    return path


def test_a_file_is_uploaded_listed_shown_and_deleted(
    client: Any, api: httpx.Client, notes: Path
) -> None:
    assert "upload one: slimgpt calibration upload FILE" in client("calibration", "list").stdout
    outcome = client("calibration", "upload", str(notes))
    assert outcome.exit_code == 0, outcome.stderr
    source = outcome.stdout.strip()
    assert outcome.stderr == "2 documents, 32 bytes\n"
    listed = client("calibration", "list").stdout
    assert source in listed
    assert "notes.jsonl" in listed
    (item,) = json.loads(client("calibration", "list", "--json").stdout)["items"]
    assert (item["source"], item["name"]) == (source, "notes.jsonl")
    assert api.get(item["links"]["content"]).text == LINES
    for name in (source, item["id"]):
        assert json.loads(client("calibration", "show", name, "--json").stdout) == item
    assert item["sha256"] in client("calibration", "show", source).stdout
    again = client("calibration", "upload", str(notes), "--name", "again", "--json")
    assert json.loads(again.stdout) == item
    assert client("calibration", "delete", source).stdout == f"{item['id']} deleted\n"
    assert "there is no calibration set" in refused(client("calibration", "show", source))
    assert "there is no calibration set" in refused(client("calibration", "delete", "cal_1"))


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("a.txt", '{"text": "x"}', "jsonl"),
        ("a.txt", "id,text\n1,x\n", "csv"),
        ("a.csv", "text\nx\n", "csv"),
        ("a.txt", "words", "text"),
        ("a.md", "# Words", "text"),
        ("a.ndjson", '"x"', "jsonl"),
        ("a", '\ufeff\n {"text": "x"}', "jsonl"),
        ("a.log", "words", "text"),
    ],
)
def test_what_a_file_is_is_told_by_name_or_content(
    client: Any, tmp_path: Path, name: str, content: str, form: str
) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    outcome = client("calibration", "upload", str(tmp_path / name), "--json")
    assert json.loads(outcome.stdout)["format"] == form


def test_options_say_otherwise(client: Any, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text('{"body": "x"}\n{"body": "y"}')
    arguments = ("calibration", "upload", str(tmp_path / "a.log"), "--json")
    assert "is JSON lines: declare it" in refused(client(*arguments, "--format", "text"))
    assert "no field is known to contain text" in refused(client(*arguments))
    made = json.loads(client(*arguments, "--text-field", "body", "--name", "logs").stdout)
    assert (made["documents"], made["name"]) == (2, "logs")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'"x"\n{"text": ]', "line 2 is not JSON"),
        ("a.txt", b"", "the file contains no text"),
        ("a.txt", b"\x1f\x8b\x08packed", "is compressed; decompress it first"),
        ("a.json", b'[{"text": "x"}]', "is a JSON array; write one row per line"),
        ("a.parquet", b"PAR1\x15\x04", "is a Parquet file; upload its rows as JSON lines"),
        ("a.csv", b"id,body\n1,x\n", "no field is known to contain text; the fields are: id, body"),
        ("a.txt", "text".encode("utf-16"), "the file is UTF-16, not UTF-8: save it as UTF-8"),
        ("a.txt", b"%PDF-1.7", "the file is a PDF, not text"),
    ],
)
def test_a_bad_file_is_named_before_it_is_sent(
    client: Any, api: httpx.Client, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    said = refused(client("calibration", "upload", str(tmp_path / name)))
    assert words in said
    assert str(tmp_path / name) in said
    assert api.get("/calibration-sets").json()["items"] == []


def test_submit_uploads_files_of_this_machine(
    client: Any, own_store: Store, api: httpx.Client, notes: Path, tmp_path: Path
) -> None:
    (tmp_path / "exam.txt").write_text("Some prose.")
    arguments = ("--calibration", str(notes), "--eval-text", str(tmp_path / "exam.txt"))
    more = ("--eval-text", "held-out", "--eval-text", str(notes), "--max-tokens", "64", *SHORT)
    outcome = client("submit", "--model", "local:tiny", "--ratio", "0.25", *arguments, *more)
    assert outcome.exit_code == 0, outcome.stderr
    job = own_store.get(outcome.stdout.strip())
    assert job is not None
    sets = {item["name"]: item["source"] for item in api.get("/calibration-sets").json()["items"]}
    spec = job.spec
    assert spec.calibration.source == sets["notes.jsonl"]  # type: ignore[union-attr]
    texts = (sets["exam.txt"], "held-out", sets["notes.jsonl"])
    assert spec.evaluation.texts == texts  # type: ignore[union-attr]
    assert spec.evaluation.max_tokens == 64  # type: ignore[union-attr]
    assert f"{notes} is uploaded as {sets['notes.jsonl']}: 2 documents" in outcome.stderr


def test_submit_uploads_what_recovery_learns(client: Any, own_store: Store, tmp_path: Path) -> None:
    lessons, spec = tmp_path / "lessons.jsonl", tmp_path / "job.json"
    lessons.write_text('{"instruction": "Say hello.", "output": "Hello."}')
    spec.write_text('{"model": "local:tiny", "ratio": 0.25, "recovery": {"rank": 4}}')
    outcome = client("submit", "--spec", str(spec), "--recover", str(lessons))
    assert outcome.exit_code == 0, outcome.stderr
    job = own_store.get(outcome.stdout.strip())
    assert job is not None
    recovery = job.spec.recovery  # type: ignore[union-attr]
    assert recovery is not None
    assert recovery.rank == 4
    assert f"{lessons} is uploaded as {recovery.source}: 1 document\n" in outcome.stderr


def test_submit_names_the_field_of_rows(client: Any, own_store: Store, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"body": "Once upon a time."}')
    arguments = ("submit", "--model", "local:tiny", "--ratio", "0.25", *SHORT, "--calibration")
    said = refused(client(*arguments, str(tmp_path / "rows.jsonl")))
    assert "no field is known to contain text" in said
    outcome = client(*arguments, str(tmp_path / "rows.jsonl"), "--text-field", "body")
    job = own_store.get(outcome.stdout.strip())
    assert job is not None
    assert job.spec.calibration.text_field == "body"  # type: ignore[union-attr]


def test_what_is_no_file_and_no_name_the_service_explains(client: Any, tmp_path: Path) -> None:
    arguments = ("submit", "--model", "local:tiny", "--ratio", "0.25", "--calibration")
    assert "unknown text source" in refused(client(*arguments, str(tmp_path / "none.jsonl")))
    assert "no text file" in refused(client(*arguments, "local:none.txt"))
    gone = f"upload:cal_{'0' * 26}"
    assert "there is no calibration set" in refused(client(*arguments, gone))

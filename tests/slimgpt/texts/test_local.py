"""Users' own files, good and bad."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

import pytest

from slimgpt.errors import CalibrationError, StorageError
from slimgpt.texts import local as local_texts
from slimgpt.texts.rows import text_of

ROWS = [{"text": "Eins, zwei."}, {"text": "grün 🌱\nund gelb"}, {"text": "drei"}]
TEXTS = [row["text"] for row in ROWS]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)


def read(folder: Path, name: str, content: str | bytes, field: str | None = None) -> list[str]:
    """The documents of a file with this content, read one by one and backwards."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    documents = local_texts.read(path, f"local:{name}", field)
    backwards = [documents[index] for index in reversed(range(len(documents)))]
    assert list(documents) == backwards[::-1]
    return list(documents)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("a.jsonl", LINES + "\n"),
        ("a.jsonl", LINES.replace("\n", "\r\n\r\n") + "\n\n"),
        ("a.jsonl", "\ufeff" + LINES),
        ("a.ndjson", LINES),
        ("a.json", LINES),
        ("a", LINES),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("a.jsonl", gzip.compress(LINES.encode(), mtime=0)),
        ("a.json", json.dumps(ROWS)),
        ("a.json", json.dumps(ROWS, indent=2)),
        ("a.json", "\ufeff" + json.dumps(ROWS, indent=2)),
        ("a", json.dumps(ROWS, indent=2)),
        ("a", json.dumps(ROWS)),
        ("a.json.gz", gzip.compress(json.dumps(ROWS).encode(), mtime=0)),
        ("a.jsonl", '{"text": " "}\n' + LINES),
        ("a.json", json.dumps(TEXTS)),
        ("a.txt", "<|endoftext|>".join(TEXTS)),
        ("a.txt", "\ufeff" + "\n<|endoftext|>\n".join([*TEXTS, ""])),
        ("a.txt", "\n\n".join(TEXTS)),
        ("a", "\n \t\r\n\n\n".join(TEXTS)),
        ("a.txt.gz", gzip.compress("\n\n".join(TEXTS).encode(), mtime=0)),
    ],
)
def test_every_form_gives_the_same_documents(tmp_path: Path, name: str, content: str) -> None:
    assert read(tmp_path, name, content) == TEXTS


def test_text_that_looks_like_json_stays_text(tmp_path: Path) -> None:
    assert read(tmp_path, "a.txt", '{"text": "x"}') == ['{"text": "x"}']
    assert read(tmp_path, "a", "[1] A footnote.\n\n[2] Another.") == [
        "[1] A footnote.",
        "[2] Another.",
    ]


def test_a_file_is_read_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_texts, "_CHUNK", 3)
    assert read(tmp_path, "a.txt", "\n\n".join(TEXTS)) == TEXTS
    with pytest.raises(CalibrationError, match="line 3 is not UTF-8"):
        read(tmp_path, "a.txt", b"eins\nzwei\ndr\xe4i\n")


def test_real_files(shared: Path) -> None:
    c4 = shared / "data/c4/c4-en-1300.jsonl"
    documents = local_texts.read(c4, "local:c4", None)
    lines = c4.read_text("utf-8").splitlines()
    assert list(documents) == [json.loads(line)["text"] for line in lines]
    alpaca = shared / "data/alpaca/alpaca_data_1k.json"
    rows = json.loads(alpaca.read_text("utf-8"))
    assert list(local_texts.read(alpaca, "local:a", None)) == [text_of(row, None) for row in rows]
    stories = shared / "data/tinystories/stories-1MiB.txt"
    parts = stories.read_text("utf-8").split("<|endoftext|>")
    assert list(local_texts.read(stories, "local:s", None)) == [
        part.strip() for part in parts if part.strip()
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "local:a.txt: the file is empty"),
        ("a.txt", b" \n\n ", "local:a.txt: the file holds no text"),
        ("a.json", b"[]", "local:a.json: the file holds no text"),
        ("a.jsonl", b'{"text": ""}\n', "local:a.jsonl: the file holds no text"),
        ("a.txt", b"\x89PNG\r\n\x1a\n\0\0", "local:a.txt: line 3 holds a NUL"),
        ("a.txt", "grün".encode("utf-16"), "local:a.txt: line 1 (holds a NUL|is not UTF-8)"),
        ("a.txt", b"eins\nzwei\nfa\xe7ade", "local:a.txt: line 3 is not UTF-8"),
        ("a.txt", "grün".encode()[:3], "local:a.txt: line 1 is not UTF-8"),
        ("a.jsonl", b'{"text": "x"}\n\n{"text": "y"\n', "line 3 is not JSON .* at column 13"),
        ("a.jsonl", b'{"text": "x"}\n{"body": "y"}', "a.jsonl: line 2: no field .* are: body"),
        ("a.jsonl", b'{"text": "x"}\n17', "a.jsonl: line 2: a int, not an object"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl: line 1: the JSON is nested too deeply"),
        ("a.jsonl", b'{"text": "\\ud83d"}', "a.jsonl: line 1: the text holds half of a character"),
        ("a.jsonl", b"9" * 5_000, "a.jsonl: line 1: a number in the JSON has too many digits"),
        ("a.json", b'[{"text": "x"},\n{"text": }]', "a.json: line 2 is not JSON"),
        ("a.json", b'[{"text": "x"}, {"body": "y"}]', "a.json: row 2: no field .* are: body"),
        ("a.json", b'{\n "text": "x"\n}', "a.json: line 1 is not JSON"),
        ("a.gz", gzip.compress(b"x" * 999, mtime=0)[:-9], "local:a.gz: the gzip file is damaged"),
        ("a.gz", b"\x1f\x8b nonsense", "local:a.gz: the gzip file is damaged"),
        ("a.gz", gzip.compress(b"", mtime=0), "local:a.gz: the file is empty"),
    ],
)
def test_bad_files_are_named_with_their_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(CalibrationError, match=message) as e:
        read(tmp_path, name, content)
    assert str(tmp_path) not in str(e.value)
    assert e.value.hint


def test_a_field_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    assert read(tmp_path, "a.jsonl", '{"title": "T", "body": "B"}', "body") == ["B"]
    with pytest.raises(CalibrationError, match=r"line 1: no field 'txt'; .* are: title, body"):
        read(tmp_path, "a.jsonl", '{"title": "T", "body": "B"}', "txt")


def test_a_small_gzip_file_cannot_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_texts, "UNPACKED_LIMIT", 1 << 20)
    with pytest.raises(CalibrationError, match="unpacks to more than"):
        read(tmp_path, "a.gz", gzip.compress(b"x" * (2 << 20)))


def test_no_room_to_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full, a disk that is always full")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full.open("r+b", buffering=0))
    with pytest.raises(StorageError, match="no room to unpack it"):
        read(tmp_path, "a.gz", gzip.compress(b"text"))


def test_the_whole_file_for_evaluation(tmp_path: Path) -> None:
    def whole(name: str, content: str) -> str:
        (tmp_path / name).write_text(content, "utf-8")
        return local_texts.whole(tmp_path / name, name, None)

    assert whole("a.txt", "\ufeffeins\n\n\n zwei \n") == "eins\n\n\n zwei \n"
    assert whole("b.txt", "eins<|endoftext|>zwei\n<|endoftext|>") == "eins\n\nzwei"
    assert whole("c.jsonl", LINES) == "\n\n".join(TEXTS)

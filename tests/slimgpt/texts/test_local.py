"""Users' own files, good and bad."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from slimgpt.errors import CalibrationError, StorageError
from slimgpt.texts import local as local_texts
from slimgpt.texts.files import parquet as parquet_files
from slimgpt.texts.files import reading
from slimgpt.texts.rows import text_of

ROWS = [{"text": "Eins, zwei."}, {"text": "grün 🌱\nund gelb"}, {"text": "drei"}]
TEXTS = [row["text"] for row in ROWS]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)


CSV = "id,text,label\n" + "".join(f'{n},"{text}",x\n' for n, text in enumerate(TEXTS))


def parquet(rows: list[dict[str, Any]]) -> bytes:
    """The rows as a Parquet file."""
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer, row_group_size=2)
    return buffer.getvalue()


PARQUET = parquet([*({"id": 1, **row} for row in ROWS), {"id": 1, "text": None}])


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
        ("a.txt", "\r\n \r\n".join(text.replace("\n", "\r\n") for text in TEXTS)),
        ("a.txt.gz", gzip.compress("\n\n".join(TEXTS).encode(), mtime=0)),
        # What a file is, its content says, whatever its name.
        ("a.txt", LINES),
        ("a.csv", LINES),
        ("a.txt", json.dumps(ROWS, indent=2)),
        ("a.jsonl", json.dumps(ROWS)),
        ("a.jsonl", json.dumps(ROWS, indent=2)),
        ("a.csv", CSV),
        ("a.csv", "\ufeff" + CSV.replace("\n", "\r\n")),
        ("a.csv", CSV.replace(",", ";").replace("Eins;", "Eins,")),
        ("a.tsv", CSV.replace(",", "\t").replace("Eins\t", "Eins,")),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("a.txt", CSV),
        ("a", CSV),
        ("a.csv", ",text\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(TEXTS))),
        ("a.csv", "text\n" + "".join(f'"{text}"\n\n' for text in TEXTS)),
        ("a.parquet", PARQUET),
        ("a.txt", PARQUET),
        ("a", PARQUET),
    ],
)
def test_every_form_gives_the_same_documents(tmp_path: Path, name: str, content: str) -> None:
    assert read(tmp_path, name, content) == TEXTS


@pytest.mark.parametrize("name", ["a", "a.txt", "a.md", "a.log"])
@pytest.mark.parametrize(
    "text",
    [
        "[1] A footnote.",
        "[see below] and so on",
        "{curly} begins a line",
        '{"quoted"} is no JSON',
        '"So," he said, "it is."',
        "Apples, pears, and plums.\nRed, green, and blue.\nOne, two, and three.",
        "Dear reader,\nthis, as it were,\nis a letter.",
        "roses,violets\nred\nblue, too",
        "Title\nThe first line, then.\nThe second; and last.",
        "text",
        "a\tb\nc",
    ],
)
def test_prose_that_looks_like_another_form_stays_prose(
    tmp_path: Path, name: str, text: str
) -> None:
    assert read(tmp_path, name, f"{text}\n\nMore of it.") == [text, "More of it."]


def test_tables_have_the_forms_of_rows(tmp_path: Path) -> None:
    chat = json.dumps([{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}])
    expected = ["user: Why?\n\nassistant: So."]
    quoted = chat.replace('"', '""')
    assert read(tmp_path, "a.csv", f'id,conversations\n7,"{quoted}"\n') == expected
    rows = [{"conversations": json.loads(chat)}]
    assert read(tmp_path, "a.parquet", parquet(rows)) == expected
    assert read(tmp_path, "a.csv", "prompt,completion\nWhy?,So.\n") == ["Why?\nSo."]
    assert read(tmp_path, "a.csv", "n,body\n1,eins\n2,\n3,drei\n", "body") == ["eins", "drei"]
    assert read(tmp_path, "a.txt", "n,body\n1,eins\n2,zwei\n", "body") == ["eins", "zwei"]
    words = 'text\n"He said ""so"", twice: ""so""."\n5" pipes\n'
    assert read(tmp_path, "a.csv", words) == ['He said "so", twice: "so".', '5" pipes']


def test_a_file_is_read_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_CHUNK", 3)
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
        ("a.txt", b" \n\n ", "local:a.txt: the file contains no text"),
        ("a.json", b"[]", "local:a.json: the file contains no text"),
        ("a.jsonl", b'{"text": ""}\n', "local:a.jsonl: the file contains no text"),
        ("a.txt", b"eins\nzwei\n\0\0", "local:a.txt: line 3 contains NUL"),
        ("a.txt", b"\x89PNG\r\n\x1a\n\0\0", "local:a.txt: the file is an image"),
        ("a.txt", "grün".encode("utf-16"), "local:a.txt: the file is UTF-16, not UTF-8"),
        ("a.txt", "grün".encode("utf-16-le"), "local:a.txt: the file is UTF-16, not UTF-8"),
        ("a.txt", "grün".encode("utf-16-be"), "local:a.txt: the file is UTF-16, not UTF-8"),
        ("a.jsonl", LINES.encode("utf-16"), "local:a.jsonl: the file is UTF-16, not UTF-8"),
        ("a.csv", CSV.encode("utf-32"), "local:a.csv: the file is UTF-32, not UTF-8"),
        ("a.txt", b"%PDF-1.7\n%\xe2\xe3", "local:a.txt: the file is a PDF"),
        ("a.csv", b"PK\x03\x04\x14\0", "a.csv: the file is a ZIP archive or an Office document"),
        ("a.jsonl", b"\x28\xb5\x2f\xfd\0", "a.jsonl: the file is compressed with zstd"),
        ("a", b"{\\rtf1 text}", "local:a: the file is an RTF document"),
        ("a.html", b"<!DOCTYPE html><p>text", "local:a.html: the file is an HTML page"),
        ("a.xml", b"<?xml version='1.0'?><p>text</p>", "local:a.xml: the file is an XML document"),
        ("a.csv", b"id,text\n1,a\n2,b,c\n", "a.csv: line 3 has 3 fields, and the header 2"),
        (
            "a.csv",
            b'id,text\n1,"a\nb\n\n',
            "a.csv: line 2 has an opening quote without a closing quote",
        ),
        ("a.csv", b'id,text\n1,"a\nb"c\n', "a.csv: line 2 is not a valid CSV record"),
        ("a.csv", b"text,text\n1,a\n", "a.csv: line 1 has the column 'text' twice"),
        ("a.csv", b"id,body\n1,a\n", "a.csv: line 2: no field is known .* are: id, body"),
        ("a.csv", b"id,text\n", "local:a.csv: the file contains no text"),
        ("a.csv", b"id,text\r1,a\r", "a.csv: line 1 is not a valid CSV record"),
        ("a.csv", b"id,messages\n1,\"[{'role': 'user'}]\"\n", "line 2: .*'messages' .* not JSON"),
        ("a.txt", b"n,m\n" + b"1,2\n" * 5, "a.txt: line 2: no field is known .* are: n, m"),
        ("a.parquet", PARQUET[:-9], "local:a.parquet: the Parquet file cannot be read"),
        ("a.parquet", b"PAR1", "local:a.parquet: the Parquet file cannot be read"),
        ("a.parquet", parquet([{"n": 1}]), "a.parquet: row 1: no field is known .* are: n"),
        ("a.parquet", parquet([{"text": 1}]), "a.parquet: row 1: field 'text' is of type int"),
        ("a.gz", gzip.compress(PARQUET), "local:a.gz: the file is a Parquet file"),
        ("a.txt", b"eins\nzwei\nfa\xe7ade", "local:a.txt: line 3 is not UTF-8"),
        ("a.txt", "grün".encode()[:3], "local:a.txt: line 1 is not UTF-8"),
        ("a.jsonl", b'{"text": "x"}\n\n{"text": "y"\n', "line 3 is not JSON .* at column 13"),
        ("a.jsonl", b'{"text": "x"}\n{"body": "y"}', "a.jsonl: line 2: no field .* are: body"),
        ("a.jsonl", b'{"text": "x"}\n17', "a.jsonl: line 2: a int, not an object"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl: line 1: the JSON is nested too deeply"),
        ("a.jsonl", b'{"text": "\\ud83d"}', "a.jsonl: line 1: the text contains a lone surrogate"),
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
    monkeypatch.setattr(reading, "UNPACKED_LIMIT", 1 << 20)
    with pytest.raises(CalibrationError, match="decompresses to more than"):
        read(tmp_path, "a.gz", gzip.compress(b"x" * (2 << 20)))


def test_no_room_to_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full, a disk that is always full")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full.open("r+b", buffering=0))
    with pytest.raises(StorageError, match="too little disk space to decompress it"):
        read(tmp_path, "a.gz", gzip.compress(b"text"))


def test_the_whole_file_for_evaluation(tmp_path: Path) -> None:
    def whole(name: str, content: str) -> str:
        (tmp_path / name).write_text(content, "utf-8")
        return local_texts.whole(tmp_path / name, name)

    assert whole("a.txt", "\ufeffeins\n\n\n zwei \n") == "eins\n\n\n zwei \n"
    assert whole("b.txt", "eins<|endoftext|>zwei\n<|endoftext|>") == "eins\n\nzwei"
    assert whole("c.jsonl", LINES) == "\n\n".join(TEXTS)
    assert whole("d.csv", CSV) == "\n\n".join(TEXTS)
    (tmp_path / "e.txt").write_bytes(b"eins\r\n\r\nzwei\r\n")
    assert local_texts.whole(tmp_path / "e.txt", "e.txt") == "eins\n\nzwei\n"
    (tmp_path / "f.parquet").write_bytes(PARQUET)
    assert local_texts.whole(tmp_path / "f.parquet", "f") == "\n\n".join(TEXTS)


def test_a_small_parquet_file_cannot_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_files, "LARGEST", 1 << 20)
    with pytest.raises(CalibrationError, match="decompresses to more than"):
        read(tmp_path, "a.parquet", parquet([{"text": f"{n}" * 99} for n in range(20_000)]))

"""What passes the check of a stream, the engine reads; what it refuses, the engine refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimgpt.errors import CalibrationError
from slimgpt.texts import local, upload_checks
from slimgpt.texts.files.detection import detect_format
from slimgpt.texts.upload_checks import BadText, Format, check_of

NAMES: dict[Format, str] = {"jsonl": "a.jsonl", "csv": "a.csv", "text": "a.txt"}


def checked(form: Format, content: bytes, cuts: tuple[int, ...] = ()) -> int:
    """The documents, the content fed in pieces that end at the cuts."""
    check = check_of(form)
    ends = [*sorted(cut for cut in cuts if cut < len(content)), len(content)]
    for start, end in zip([0, *ends], ends, strict=False):
        check.feed(content[start:end])
    return check.finish()


def engines_word(form: Format, content: bytes) -> int | str:
    """How many documents the engine finds, or why it refuses the file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / NAMES[form]
        path.write_bytes(content)
        try:
            return len(local.read(path, "local:a", None))
        except CalibrationError as error:
            return error.message


PROSE = st.lists(
    st.sampled_from([b"a", b"b c", b"\n", b"\n\n", b" ", b"\t", b"\r\n", b"\x0b", b"\x0c\n",
                     b"<|endoftext|>", b"<|endof", b"text|>", "grün".encode(), b"\xef\xbb\xbf",
                     b"\xe2\x82", b"\xac", b"\0"]),
    max_size=24,
).map(b"".join)  # fmt: skip
ROWS = st.lists(
    st.sampled_from([b'{"text": "x"}', b'"y"', b'{"text": " "}', b"", b" \t", b"\r", b"7", b"{",
                     b'{"body": 1}', b'{"text": 1}', b'{"text": "\\ud83d"}', b'{"text": NaN}',
                     b"[" * 2000, b'{"text": "x", "n": ' + b"9" * 5000 + b"}", b"\xef\xbb\xbf",
                     b'{"text": "\xe4"}', b'{"messages": [{"content": "m"}]}', b"\x0b",
                     b'{"text": "x", "text": "y"}', b"nul\0", '{"text": "grün"}'.encode()]),
    max_size=6,
).map(b"\n".join)  # fmt: skip
TABLES = st.lists(
    st.sampled_from([b"text", b"id", b",", b";", b"\t", b'"', b'""', b"\n", b"\r\n", b" ", b"a",
                     b"\xef\xbb\xbf", "grün".encode(), b'"a\nb"', b"text,id\n", b"\r", b"\n\n",
                     b"\xff", b"[{'role':"]),
    max_size=20,
).map(b"".join)  # fmt: skip
CUTS = st.lists(st.integers(1, 60), max_size=8).map(tuple)


@settings(max_examples=150, deadline=None)
@given(content=PROSE, cuts=CUTS)
def test_prose_has_as_many_documents_as_the_engine_finds(
    content: bytes, cuts: tuple[int, ...]
) -> None:
    agree("text", content, cuts)


@settings(max_examples=150, deadline=None)
@given(content=ROWS, cuts=CUTS)
def test_lines_are_judged_as_the_engine_judges_them(content: bytes, cuts: tuple[int, ...]) -> None:
    agree("jsonl", content, cuts)


@settings(max_examples=150, deadline=None)
@given(content=TABLES, cuts=CUTS)
def test_tables_are_judged_as_the_engine_judges_them(content: bytes, cuts: tuple[int, ...]) -> None:
    agree("csv", content, cuts)
    agree("text", content, cuts)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=80), cuts=CUTS)
def test_any_bytes(content: bytes, cuts: tuple[int, ...]) -> None:
    for form in NAMES:
        agree(form, content, cuts)


def agree(form: Format, content: bytes, cuts: tuple[int, ...]) -> None:
    word = engines_word(form, content)
    if isinstance(word, int):
        if detect_format(content, NAMES[form]) == FORMS[form]:
            assert checked(form, content, cuts) == word
            return
        with pytest.raises(BadText):  # the engine goes by content, and the sender was wrong
            checked(form, content, cuts)
        return
    with pytest.raises(BadText) as e:
        checked(form, content, cuts)
    assert str(e.value).isprintable()
    # The engine looks at all of the file, and what form it has, before it looks at rows.
    said = "is not UTF-8" not in word and "NUL" not in word and "the file" not in word
    if said and e.value.line is not None:
        assert f"line {e.value.line}" in word


FORMS = {"jsonl": "lines", "csv": "csv", "text": "plain"}


@pytest.mark.parametrize(
    ("form", "content", "words"),
    [
        ("text", b'{"text": "x"}\n', "is JSON lines: declare it as application/x-ndjson"),
        ("text", b'[{"text": "x"}]', "is a JSON array: write a row a line"),
        ("text", b"id,text\n1,x\n", "is a table: declare it as text/csv"),
        ("text", b"PAR1\0", "is a Parquet file"),
        ("text", b"%PDF-1.7\n", "is a PDF, not text"),
        ("jsonl", "x".encode("utf-16"), "is UTF-16, not UTF-8: save it as UTF-8"),
        ("text", "x".encode("utf-16-le") * 9, "is UTF-16, not UTF-8: save it as UTF-8"),
        ("jsonl", b"id,text\n1,x\n", "line 1 is not JSON"),
        ("csv", b"id,body\n1,x\n", "line 2 cannot be used: no field is known to contain text"),
        ("csv", b'id,text\n1,"x\n\n', "line 2 has an opening quote without a closing quote"),
        ("csv", b"id,text\n1\n", "line 2 has 1 fields, and the header 2"),
        ("csv", b"id,text\n", "the file contains no text"),
    ],
)
def test_a_file_of_another_form_says_how_to_send_it(
    form: Format, content: bytes, words: str
) -> None:
    with pytest.raises(BadText) as e:
        checked(form, content)
    assert words in str(e.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file contains no text"),
        (b'\n\n{"text": " "}\n', "the file contains no text"),
        (b'{"text": "x"}\r\n\r\n{"text": "y"\r\n', "line 3 is not JSON (Expecting ',' delimiter"),
        (
            b'{"text": "x"}\n{"body": "y"}',
            "line 2 cannot be used: no field is known to contain text",
        ),
        (b'{"text": "x"}\n\x1f\x8b\x08', "line 2 is not UTF-8"),
        (b'{"text": "x"}\n"a\0b"', "line 2 contains NUL"),
        (b'{"text": "' + "é".encode()[:1], "line 1 is not UTF-8"),
        (b'{"text":' * 5_000, "line 1 cannot be used: the JSON is nested too deeply"),
        (b'{"text":' * 100_000, "line 1 is nested more than 64 deep"),
        (b'{"a": %s}' % (b"9" * 5000), "line 1 cannot be used: a number in the JSON has too many"),
        (b'{"a\\u001b[31m\\ud800": 1}', r"the fields are: a\x1b[31m\ud800"),
        (b'{"%s": 1}' % (b"a" * 1000), "the fields are: aaaaaaaaaa"),
    ],
)
def test_a_bad_line_is_named(content: bytes, words: str) -> None:
    with pytest.raises(BadText) as e:
        checked("jsonl", content)
    assert words in str(e.value)
    assert str(e.value).isprintable()
    assert len(str(e.value)) < 300


def test_the_field_asked_for_is_looked_for() -> None:
    check = check_of("jsonl", "body")
    check.feed(b'{"body": "x"}\n')
    with pytest.raises(BadText, match=r"line 2 cannot be used: no field 'body'; .* are: text"):
        check.feed(b'{"text": "x"}\n')


def test_nothing_is_without_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_checks, "MAX_LINES", 3)
    assert checked("jsonl", b'"a"\n"b"\n"c"') == 3
    with pytest.raises(BadText, match="the file has more than 3 lines"):
        checked("jsonl", b'"a"\n\n\n"d"')
    with pytest.raises(BadText, match="the file has more than 3 documents"):
        checked("text", b"a\n\nb\n\nc\n\nd")
    line = json.dumps("x" * upload_checks.MAX_LINE_BYTES).encode()
    with pytest.raises(BadText, match="line 2 is longer than 8 MiB"):
        checked("jsonl", b'"a"\n' + line)
    record = b'text\n"' + b"x\n" * (upload_checks.MAX_LINE_BYTES // 2)
    monkeypatch.setattr(upload_checks, "MAX_LINES", 1 << 30)
    with pytest.raises(BadText, match="line 2 begins a record of more than 8 MiB"):
        checked("csv", record, tuple(range(1, len(record), 1 << 20)))
    check = check_of("jsonl")
    for _ in range(8):
        check.feed(b" " * (1 << 20))
    with pytest.raises(BadText, match="line 1 is longer than 8 MiB"):  # before its end has come
        check.feed(b" ")


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("1", "line 2 has more than 50,000 values"),
        ("[]", "line 2 has more than 50,000 values"),
        ('{"a":1}', "line 2 has more than 20,000 keys"),
        ('"a"', "line 2 has more than 50,000 values"),
        ("3" * 200, "line 2 is not JSON, or has a number of more than 128 characters"),
        ("[" * 100 + "]" * 100, "line 2 is nested more than 64 deep"),
    ],
)
def test_a_long_line_is_one_long_text(part: str, words: str) -> None:
    """A line is parsed in one go; a million small things in it would hold up everybody."""
    row = '{{"text": "it", "more": [{}]}}'.format(",".join([part] * (200_000 // len(part))))
    with pytest.raises(BadText, match=words):
        checked("jsonl", b'"a"\n' + row.encode())


@pytest.mark.parametrize("piece", ["a", "é", "🦙", "\\", '"', "\n", "{[,:"])
def test_a_long_text_is_taken_whatever_it_is(piece: str) -> None:
    for ascii_only in (True, False):
        written = json.dumps({"text": f"{piece}."}, ensure_ascii=ascii_only).encode()
        times = (upload_checks.MAX_LINE_BYTES - 100) // len(written)
        row = json.dumps({"text": f"{piece}." * times}, ensure_ascii=ascii_only).encode()
        assert checked("jsonl", row, cuts=(1 << 18, 1 << 20, (1 << 20) + 1)) == 1


def test_the_whole_of_a_long_text_is_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blank, unmarked, without an end of line: nothing of it is kept but what a cut may hide."""
    for form, piece in (
        ("text", b" "),
        ("text", b"a"),
        ("text", b"\n"),
        ("jsonl", b"\n"),
        ("csv", b"\n"),
    ):
        check = check_of(form)  # type: ignore[arg-type]
        for _ in range(64):
            check.feed(piece * 4096)
        assert held(check) < 20_000, (form, piece)


def held(thing: object) -> int:
    """Bytes that an object and what it is made of hold."""
    if isinstance(thing, bytes):
        return sys.getsizeof(thing)
    if isinstance(thing, list):
        return sum(held(one) for one in thing)
    return sum(held(one) for one in getattr(thing, "__dict__", {}).values())

"""Tables line by line, held against the csv module of Python on whole tables."""

from __future__ import annotations

import csv
import io
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slimgpt.texts.files.delimited import TableParser, delimiter_of, quote_is_open

FIELDS = st.text(st.sampled_from("ab ,;\t\"\n'é"), max_size=8)


def rows(content: str) -> list[dict[str, str]]:
    """The rows of a table that is taken line by line."""
    table = TableParser()
    found = [table.take(line) for line in content.encode().split(b"\n")]
    table.end()
    return [row for row in found if row is not None]


@settings(max_examples=300, deadline=None)
@given(
    records=st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=6),
    delimiter=st.sampled_from(",;\t"),
    quoting=st.sampled_from([0, 1]),
    end=st.sampled_from(["\n", "\r\n"]),
)
@example(records=[("", " ")], delimiter="\t", quoting=0, end="\n")
def test_what_a_writer_writes_is_read(
    records: list[tuple[str, str]], delimiter: str, quoting: Literal[0, 1], end: str
) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerow(["one", "two"])
    writer.writerows(records)
    expected = [
        {"one": a.replace("\r\n", "\n"), "two": b.replace("\r\n", "\n")} for a, b in records
    ]
    found = rows(file.getvalue())
    assert [*filter(_says_something, found)] == [*filter(_says_something, expected)]


def _says_something(row: dict[str, str]) -> bool:
    """A line of blanks is no record, and a tab between two fields is a blank too."""
    return any(value.strip() for value in row.values())


def test_a_quote_within_an_unquoted_field_is_only_a_letter() -> None:
    assert not quote_is_open(b'5" pipe, 6" pipe', False, b",")
    assert quote_is_open(b'5," pipe', False, b",")
    assert not quote_is_open(b'pipe ""so"" and", 7', True, b",")
    assert quote_is_open(b'a,"b ""', False, b",")


def test_what_parts_the_fields_is_told_by_the_header() -> None:
    assert delimiter_of("text") == ","
    assert delimiter_of("a;b,c;d") == ";"
    assert delimiter_of("a\tb") == "\t"
    assert delimiter_of('"a;b;c",d,e') == ","


def test_a_record_of_many_lines_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once a line, which a stranger's file could make endless."""
    parsed: list[int] = []
    reader = csv.reader

    def counted(lines: list[str], **options: Any) -> Any:
        parsed.append(len(lines[0]))
        return reader(lines, **options)

    monkeypatch.setattr(csv, "reader", counted)
    [row] = rows('text\n"' + "a\n" * 5_000 + '"\n')
    assert row["text"] == "a\n" * 5_000
    assert sum(parsed) < 11_000

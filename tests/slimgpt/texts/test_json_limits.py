"""The count of a JSON text is that of its value, wherever its bytes are cut."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimgpt.texts import json_limits
from slimgpt.texts.json_limits import JsonCount, JsonLimits, TooMuchJson, require_within

AMPLE = JsonLimits(values=10**6, keys=10**6, depth=10**6, string_bytes=10**6)
TRICKY = st.text(st.sampled_from('\\"[]{},: é🦙\n') | st.characters(codec="utf-8"))
SCALARS = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | TRICKY
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inside: st.lists(inside) | st.dictionaries(TRICKY, inside), max_leaves=12
)


def held(value: Any, *, ascii_only: bool) -> JsonLimits:
    """What a value holds, by looking at the value."""
    if isinstance(value, str):
        size = len(json.dumps(value, ensure_ascii=ascii_only).encode()) - 2
        return JsonLimits(values=0, keys=0, depth=0, string_bytes=size)
    if not isinstance(value, list | dict):
        return JsonLimits(values=0, keys=0, depth=0, string_bytes=0)
    parts = list(value) + (list(value.values()) if isinstance(value, dict) else [])
    inside = [held(part, ascii_only=ascii_only) for part in parts]
    return JsonLimits(
        values=max(1, len(value)) + sum(part.values for part in inside),
        keys=sum(part.keys for part in inside) + (len(value) if isinstance(value, dict) else 0),
        depth=1 + max((part.depth for part in inside), default=0),
        string_bytes=max((part.string_bytes for part in inside), default=0),
    )


@given(VALUES, st.booleans(), st.sampled_from([None, 1]), st.integers(1, 40))
def test_counted_is_what_is_there(
    value: Any, ascii_only: bool, indent: int | None, piece: int
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    exact = held(value, ascii_only=ascii_only)

    def counted(limits: JsonLimits) -> None:
        count = JsonCount(limits)
        for start in range(0, len(text), piece):
            count.feed(text[start : start + piece])

    counted(exact)
    for name in ("values", "keys", "depth", "string_bytes"):
        if most := getattr(exact, name):
            with pytest.raises(TooMuchJson):
                counted(replace(exact, **{name: most - 1}))


@given(st.binary())
def test_anything_can_be_counted(content: bytes) -> None:
    for limits in (AMPLE, JsonLimits(values=3, keys=1, depth=1, string_bytes=2, number_bytes=2)):
        try:
            require_within(content, limits)
        except TooMuchJson as error:
            assert str(error).startswith(("holds ", "is ", "has "))  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "words", "odd"),
    [
        ("[" * 9, "is nested more than 8 deep", True),
        ('{"a":' * 9, "is nested more than 8 deep", True),
        ("9" * 65, "a number of more than 64 characters", True),
        ("[" + "1," * 100, "has more than 20 values", False),
        ('"","' * 100, "has more than 20 values", False),
        (json.dumps({str(n): n for n in range(6)}), "has more than 5 keys", False),
        ('{"a":1' + ',"a":1' * 5, "has more than 5 keys", False),  # the same one, again
        (json.dumps("x" * 11), "has a string of more than 10 bytes", False),
        (json.dumps({"x" * 11: 1}), "has a string of more than 10 bytes", False),
        ('"' + r"\"" * 6, "has a string of more than 10 bytes", False),
        ('"' + r"\\" * 6, "has a string of more than 10 bytes", False),
    ],
)
def test_what_is_too_much_is_said(text: str, words: str, odd: bool) -> None:
    limits = JsonLimits(values=20, keys=5, depth=8, string_bytes=10)
    with pytest.raises(TooMuchJson, match=words) as caught:
        require_within(text.encode(), limits)
    assert caught.value.odd is odd


def test_a_large_text_is_counted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_limits, "PIECE_BYTES", 7)
    text = json.dumps({"name": 'a "quoted" \\ name', "rows": [[1, 2], [3, {}]]}).encode()
    exact = JsonLimits(values=9, keys=2, depth=4, string_bytes=20)
    require_within(text, exact)
    with pytest.raises(TooMuchJson):
        require_within(text, replace(exact, values=8))

"""Sizes as people say them."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from slimgpt.spec.sizes import Count, Size, short_count, short_size

COUNT: TypeAdapter[int] = TypeAdapter(Count)
SIZE: TypeAdapter[int] = TypeAdapter(Size)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("5.4B", 5_400_000_000),
        ("3400M", 3_400_000_000),
        ("3.4 b", 3_400_000_000),
        ("750k", 750_000),
        ("1T", 10**12),
        ("12345", 12_345),
        (12_345, 12_345),
    ],
)
def test_counts(said: object, meant: int) -> None:
    assert COUNT.validate_python(said) == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [("10GiB", 10 * 2**30), ("1.5 gb", 1_500_000_000), ("512", 512), ("1MiB", 2**20), (7, 7)],
)
def test_sizes(said: object, meant: int) -> None:
    assert SIZE.validate_python(said) == meant


@pytest.mark.parametrize("kind", [COUNT, SIZE])
@pytest.mark.parametrize(
    "said",
    ["", "B5", "5.4X", "-1B", "1e9", "9" * 400, "9" * 16 + "T", "٥B", "0", 0, -5, 2.5, None, [1]],
)
def test_what_is_no_size_is_refused(kind: TypeAdapter[int], said: object) -> None:
    with pytest.raises(ValidationError):
        kind.validate_python(said)


def test_what_is_shown_is_short_and_can_be_said_again() -> None:
    for number in (5_400_000_000, 3_400_000, 12_000, 7, 10**12):
        assert COUNT.validate_python(short_count(number)) == number
    for number in (10 * 2**30, 2**20, 512, 1, 3 * 2**39):
        assert SIZE.validate_python(short_size(number)) == number
    assert short_count(6_738_415_616) == "6.738B"
    assert (short_size(1), short_size(10)) == ("1 byte", "10 bytes")  # 10B would be a count

"""Parsing and formatting of sizes: `5.4B` parameters, `10GiB` of weights; the most devices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

MAX_DEVICES = 64
COUNTS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
SIZES = {
    **{"": 1, "byte": 1, "bytes": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12},
    **{"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40},
}
NUMBER = re.compile(r"(\d{1,16}(?:\.\d{1,9})?) ?([A-Za-z]*)", re.ASCII)


def _read(value: Any, units: Mapping[str, int], example: str) -> Any:
    if not isinstance(value, str):
        return value
    known = {unit.lower(): size for unit, size in units.items()}
    found = NUMBER.fullmatch(value.strip())
    if found is None or found[2].lower() not in known:
        names = ", ".join(unit for unit in units if unit and unit[0].isupper())
        raise ValueError(f"{value[:32]!r} is not a number with one of {names}, such as {example}")
    return round(float(found[1]) * known[found[2].lower()])


_Text = Annotated[str, Field(max_length=40)]
_Count = Annotated[int, Field(ge=1, le=10**15)]
_Size = Annotated[int, Field(ge=1, le=2**60)]


def _reader(units: Mapping[str, int], example: str, bounded: Any) -> BeforeValidator:
    return BeforeValidator(
        lambda value: _read(value, units, example), json_schema_input_type=bounded | _Text
    )


Count = Annotated[_Count, _reader(COUNTS, "5.4B", _Count)]
Size = Annotated[_Size, _reader(SIZES, "10GiB", _Size)]


def short_count(value: int) -> str:
    """A count in four digits: `5.4B`."""
    return _short(value, {"T": 10**12, "B": 10**9, "M": 10**6, "K": 10**3})


def short_size(value: int) -> str:
    """Bytes in four digits: `10GiB`; below 1 KiB in words, because `10B` is ten billion."""
    if value < SIZES["KiB"]:
        return counted(value, "byte")
    return _short(value, {name: SIZES[name] for name in ("TiB", "GiB", "MiB", "KiB")})


def counted(count: int, noun: str) -> str:
    """`1 document`, `1,200 documents`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _short(value: int, units: Mapping[str, int]) -> str:
    for unit, size in units.items():
        if value >= size:
            return f"{value / size:.4g}{unit}"
    return str(value)


def target_in_words(
    ratio: float | None,
    ratios: Sequence[float] | None,
    parameters: int | None,
    memory: int | None,
) -> str:
    """The target as text; exactly one of the arguments is given."""
    if parameters is not None:
        return f"{short_count(parameters)} parameters"
    if memory is not None:
        return f"{short_size(memory)} of weights"
    if ratios is not None:
        return f"ratios {', '.join(f'{one:g}' for one in ratios)}"
    return f"ratio {ratio:g}"

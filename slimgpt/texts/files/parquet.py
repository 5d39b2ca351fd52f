"""A Parquet file as rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from slimgpt.errors import CalibrationError
from slimgpt.texts.documents import Documents

T = TypeVar("T")
LARGEST = 1 << 30  # bytes, unpacked; a small file can hold gigabytes of one letter


def rows(
    path: Path, source: str, text_field: str | None, parse: Callable[[object, str | None], T]
) -> Documents[T]:
    """The rows through `parse`, those left out of which it says nothing.

    Args:
        source: what to call the file in errors and in the report.

    Raises:
        CalibrationError: the file is damaged or too large, or a row of it is bad.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        parts = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
        if sum(part.total_byte_size for part in parts) > LARGEST:
            raise CalibrationError(
                f"{source}: unpacks to more than {LARGEST >> 30} GiB",
                hint="calibration needs a few megabytes of text: give a part of it",
            )
        table = file.read()
    except (pyarrow.ArrowException, OSError) as error:
        raise CalibrationError(
            f"{source}: the Parquet file cannot be read ({type(error).__name__})",
            hint="write it again, or give its rows as JSON lines",
        ) from error
    full = [
        index for index in range(len(table)) if _parsed(table, index, source, text_field, parse)
    ]
    return Documents(
        len(full),
        lambda index: _parsed(table, full[index], source, text_field, parse),
        f"{source}, {len(full):,} documents of a Parquet file",
    )


def _parsed(
    table: Any,
    index: int,
    source: str,
    text_field: str | None,
    parse: Callable[[object, str | None], T],
) -> T:
    [row] = table.slice(index, 1).to_pylist()
    try:
        return parse(row, text_field)
    except ValueError as error:
        raise CalibrationError(
            f"{source}: row {index + 1}: {error}",
            hint="name the field that holds the text (text_field)",
        ) from error

"""Reads the rows of a Parquet file."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from slimgpt.errors import CalibrationError
from slimgpt.texts.documents import Documents, Parse, parsed_row

T = TypeVar("T")
LARGEST = 1 << 30  # bytes, decompressed; a small file can decompress to gigabytes


def rows(path: Path, source: str, text_field: str | None, parse: Parse[T]) -> Documents[T]:
    """The rows of a file, parsed by `parse`; rows with a false result are omitted.

    Args:
        source: name of the file for errors and the report.

    Raises:
        CalibrationError: the file is damaged or too large, or a row is invalid.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        parts = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
        if sum(part.total_byte_size for part in parts) > LARGEST:
            raise CalibrationError(
                f"{source}: decompresses to more than {LARGEST >> 30} GiB",
                hint="calibration needs a few megabytes of text: use a part of the file",
            )
        table = file.read()
    except (pyarrow.ArrowException, OSError) as error:
        raise CalibrationError(
            f"{source}: the Parquet file cannot be read ({type(error).__name__})",
            hint="write the file again, or convert it to JSON lines",
        ) from error

    def read_row(index: int) -> T:
        [row] = table.slice(index, 1).to_pylist()
        return parsed_row(parse, row, text_field, f"{source}: row {index + 1}")

    full = [index for index in range(len(table)) if read_row(index)]
    return Documents(
        len(full),
        lambda index: read_row(full[index]),
        f"{source}, {len(full):,} documents of a Parquet file",
    )

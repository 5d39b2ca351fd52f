"""Clients of one service: those that post, and one that looks how long others wait meanwhile."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import chain
from multiprocessing.synchronize import Event
from typing import NamedTuple

PAUSE_SECONDS = 0.02
TIMEOUT_SECONDS = 120


class Body(NamedTuple):
    """What is posted, and where to."""

    address: str
    media_type: str
    content: bytes


class Answer(NamedTuple):
    """What came of it."""

    status: int
    seconds: float


def post(port: int, bodies: Sequence[Body], connections: int = 1) -> list[Answer]:
    """Post all bodies, over so many connections at once, each again and again over its own."""
    shares = [bodies[n::connections] for n in range(connections)]
    with ThreadPoolExecutor(connections) as pool:
        return list(chain.from_iterable(pool.map(lambda share: _post(port, share), shares)))


def _post(port: int, bodies: Sequence[Body]) -> list[Answer]:
    answers = []
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    for body in bodies:
        began = time.perf_counter()
        headers = {"Content-Type": body.media_type}
        connection.request("POST", body.address, body.content, headers)
        answer = connection.getresponse()
        answer.read()
        answers.append(Answer(answer.status, time.perf_counter() - began))
        if answer.will_close:
            connection.close()
    connection.close()
    return answers


@contextmanager
def watched(port: int) -> Iterator[list[float]]:
    """Ask `/healthz` in a process of its own all the while; the seconds of each answer, at the end.

    A wait that began before an answer and ended with it counts whole: asking stands still while an
    answer is waited for.
    """
    context = multiprocessing.get_context("spawn")
    ready, over = context.Event(), context.Event()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_watch, args=(port, ready, over, sender), daemon=True)
    process.start()
    sender.close()  # ours: without it the end of the process is seen below
    ready.wait(60)
    waits: list[float] = []
    try:
        yield waits
    finally:
        over.set()
        waits += receiver.recv()
        process.join()


def _watch(
    port: int, ready: Event, over: Event, sender: multiprocessing.connection.Connection
) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    waits = []
    while not over.is_set():
        began = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        waits.append(time.perf_counter() - began)
        ready.set()
        time.sleep(PAUSE_SECONDS)
    sender.send(waits[1:] or waits)

"""Both clients on a real API: the asynchronous one is called through an event loop of its own."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from slimgpt.client import AsyncClient, Client
from tests.api.conftest import api, base_url, finished, own_store, publish_job

__all__ = ["api", "base_url", "finished", "own_store", "publish_job"]


class Blocking:
    """An object whose coroutines and asynchronous iterators are called like others."""

    def __init__(self, portal: BlockingPortal, inner: Any) -> None:
        self._portal, self._inner = portal, inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name in ("jobs", "calibration_sets", "models", "texts", "webhooks", "keys"):
            return Blocking(self._portal, found)
        return self._called(found) if callable(found) else found

    def _called(self, function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            if inspect.isasyncgenfunction(function):
                return self._items(function(*arguments, **named))
            return self._portal.call(lambda: function(*arguments, **named))

        return call

    def _items(self, items: Any) -> Iterator[Any]:
        try:
            while True:
                yield self._portal.call(items.__anext__)
        except StopAsyncIteration:
            return


@pytest.fixture(params=["Client", "AsyncClient"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which of the two."""
    name: str = request.param
    return name


@pytest.fixture
def connect(kind: str) -> Iterator[Any]:
    """Makes a client; all are closed at the end."""
    with start_blocking_portal() as portal:
        opened: list[Any] = []

        def make(url: str, **settings: Any) -> Any:
            if kind == "Client":
                opened.append(Client(url, **settings))
                return opened[-1]
            made = portal.call(lambda: AsyncClient(url, **settings))
            opened.append(Blocking(portal, made))
            return opened[-1]

        yield make
        for client in opened:
            (client.close if kind == "Client" else client.aclose)()


@pytest.fixture
def client(base_url: str, connect: Any) -> Any:
    """A client of the running API."""
    return connect(base_url, retries=1)

"""A real Chromium for tests of the dashboard, which notes what a page must not do."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Error,
    Page,
    Request,
    expect,
    sync_playwright,
)

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PATIENCE = 60_000  # milliseconds: the machine may be busy
expect.set_options(timeout=15_000)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser without windows; skips where the machine has none."""
    binary = next(filter(None, map(shutil.which, NAMES)), None)
    if binary is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=binary, args=list(FLAGS), timeout=PATIENCE
        )
        yield browser
        browser.close()


class Visit:
    """A tab on the dashboard. Notes every request, error and message of the console.

    Args:
        browser: where the tab opens.
        url: address of the service.
        options: of the browser's context: `viewport`, `color_scheme`.
    """

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(PATIENCE)
        self.page: Page = self.context.new_page()
        self.requests: list[str] = []
        self.faults: list[str] = []
        self.page.on("request", self._request)
        self.page.on("pageerror", self._error)
        self.page.on("console", self._console)

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)

    def _error(self, error: Error) -> None:
        self.faults.append(str(error))

    def _console(self, message: ConsoleMessage) -> None:
        # Chromium itself notes every answer that is an error, also those the page deals with.
        expected = r"Failed to load resource: the server responded with a status of 4"
        if message.type in ("error", "warning") and not re.match(expected, message.text):
            self.faults.append(message.text)

    def open(self, place: str = "") -> Page:
        """Go to a view of the dashboard, as the address names it after `#`."""
        self.page.goto(f"{self.url}/#/{place}")
        return self.page

    def close(self) -> None:
        """Leave; nothing went wrong, and nobody else was asked for anything."""
        self.context.close()
        assert self.faults == []
        strangers = [url for url in self.requests if not url.startswith((self.url, "blob:"))]
        assert strangers == []

"""`Connection`: which service a command talks to, as options."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from cli.options.groups import option
from cli.terminal.exit_status import fail

if TYPE_CHECKING:
    from slimgpt.client import Client  # with httpx slow to import: imported where it is used

RETRIES = 1
"""Somebody waits: what does not answer is said at once. `watch` has a patience of its own."""


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Which service a command talks to, and with which key."""

    url: Annotated[
        str | None,
        option("--url", "Address of the service.", "http://127.0.0.1:8000", envvar="SLIMGPT_URL"),
    ] = None
    api_key: Annotated[
        str | None,
        option(
            "--api-key",
            "Key of a service that requires one; in the variable, it does not show in "
            "lists of processes.",
            envvar="SLIMGPT_API_KEY",
        ),
    ] = field(default=None, repr=False)

    @contextmanager
    def open(self) -> Iterator[Client]:
        """The client for the length of a command; its errors end the command with status 1."""
        from slimgpt.client import Client, ClientError, UnauthorizedError

        try:
            with Client(self.url, self.api_key, retries=RETRIES) as client:
                yield client
        except UnauthorizedError as error:
            fail(f"{error.problem.detail}; give a key with --api-key or SLIMGPT_API_KEY")
        except ClientError as error:
            fail(str(error))

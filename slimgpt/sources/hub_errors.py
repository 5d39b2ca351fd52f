"""Errors of the Hugging Face hub (gated, not found, offline, unreachable) as `SlimGPTError`.

Messages contain no paths, URLs or headers, because other users read them in reports.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from huggingface_hub import constants
from huggingface_hub import errors as hub_errors
from huggingface_hub.utils.tqdm import tqdm

from slimgpt.errors import HubUnreachableError, SlimGPTError, StorageError

# Raised by httpx (huggingface_hub 1) or httpx2 (huggingface_hub 2) when there is no answer.
TransportError: type[Exception] = next(
    base for base in hub_errors.HfHubHTTPError.__mro__ if base.__name__ == "HTTPError"
)


# Refusals of the hub: exception, predicate of the message, hint. The order matters: GatedRepoError
# is a subclass of RepositoryNotFoundError.
REFUSALS: tuple[tuple[type[Exception], str, str], ...] = (
    (
        hub_errors.GatedRepoError,
        "is gated on the hub",
        "accept its terms on its page and set HF_TOKEN to a token of that account",
    ),
    (
        hub_errors.RevisionNotFoundError,
        "has no such revision on the hub",
        "use an existing branch, tag or commit",
    ),
    (
        hub_errors.RepositoryNotFoundError,
        "does not exist on the hub, or is private",
        "check the spelling; for a private repository set HF_TOKEN",
    ),
    (hub_errors.HFValidationError, "is not a valid name on the hub", "check the spelling"),
    (hub_errors.DisabledRepoError, "is disabled on the hub", "choose another one"),
    (
        hub_errors.RemoteEntryNotFoundError,
        "lacks a required file on the hub",
        "choose another revision",
    ),
)


@dataclass(frozen=True)
class HubRequest:
    """A request to the hub, for messages.

    Attributes:
        what: the requested object, for example `model 'org/name'`.
        missing: the error to raise if the hub refuses it.
        instead: what to do without the hub.
    """

    what: str
    missing: type[SlimGPTError]
    instead: str = "use a local folder or file"


@contextmanager
def mapped_errors(wanted: HubRequest) -> Iterator[None]:
    """Turn exceptions of huggingface_hub and datasets into `SlimGPTError`.

    Raises:
        SlimGPTError: `wanted.missing` if the hub refuses the request, HubUnreachableError if it
            does not answer, StorageError if the disk is full.
    """
    try:
        yield
    except SlimGPTError:
        raise
    except Exception as error:
        for cause in _causes(error):
            said = _said(cause, wanted)
            if said is not None:
                raise said from error
        raise


class TerminalBar(tqdm):
    """The library's progress bar, shown only in a terminal."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["disable"] = kwargs.get("disable") or None  # None: tqdm disables it without one
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids requests, so that only the hub's cache is used."""
    return bool(constants.HF_HUB_OFFLINE)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes; libraries wrap the hub's errors in their own."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _said(error: BaseException, wanted: HubRequest) -> SlimGPTError | None:
    for kind, predicate, hint in REFUSALS:
        if isinstance(error, kind):
            return wanted.missing(f"{wanted.what} {predicate}", hint=hint)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return StorageError(f"{wanted.what}: the disk is full", hint="free space for the cache")
    return _unreachable(error, wanted)


def _unreachable(error: BaseException, wanted: HubRequest) -> SlimGPTError | None:
    what = wanted.what
    if isinstance(error, hub_errors.OfflineModeIsEnabled):
        return HubUnreachableError(
            f"{what} cannot be downloaded: HF_HUB_OFFLINE is set",
            hint=f"unset HF_HUB_OFFLINE, or {wanted.instead}",
        )
    if isinstance(error, hub_errors.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):  # the hub answers this for private and missing repositories
            return wanted.missing(
                f"{what} does not exist on the hub, or is private ({status})",
                hint="check the spelling; for a private repository set HF_TOKEN to a valid token",
            )
        return HubUnreachableError(
            f"{what}: the hub answered with status {status}",
            hint=f"try again later, or {wanted.instead}",
        )
    if isinstance(error, TransportError | ConnectionError | TimeoutError):
        return HubUnreachableError(
            f"{what}: the hub cannot be reached",
            hint=f"check the network and HF_ENDPOINT, or {wanted.instead}",
        )
    return None

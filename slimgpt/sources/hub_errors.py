"""Errors of the Hugging Face hub (gated, not found, offline, unreachable) as `SlimGPTError`.

No message carries a path, a URL or a header: they end in reports that others read.
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

# What httpx (huggingface_hub 1) or httpx2 (huggingface_hub 2) raises when nobody answers.
TransportError: type[Exception] = next(
    base for base in hub_errors.HfHubHTTPError.__mro__ if base.__name__ == "HTTPError"
)


# What the hub refuses: the error, what is said of the thing asked for, what to do. In this order,
# because a gated repository is also one that was not found.
REFUSALS: tuple[tuple[type[Exception], str, str], ...] = (
    (
        hub_errors.GatedRepoError,
        "is gated on the hub",
        "accept its terms on its page and set HF_TOKEN to a token of that account",
    ),
    (
        hub_errors.RevisionNotFoundError,
        "has no such revision on the hub",
        "use a branch, a tag or a commit that it has",
    ),
    (
        hub_errors.RepositoryNotFoundError,
        "does not exist on the hub, or is private",
        "check the spelling; for a private repository set HF_TOKEN",
    ),
    (hub_errors.HFValidationError, "is not a name that the hub allows", "check the spelling"),
    (hub_errors.DisabledRepoError, "is disabled on the hub", "choose another one"),
    (
        hub_errors.RemoteEntryNotFoundError,
        "lacks a file on the hub that it should have",
        "choose another revision",
    ),
)


@dataclass(frozen=True)
class HubRequest:
    """What is asked of the hub, for messages.

    Attributes:
        what: for example `model 'org/name'`.
        missing: the error to raise when the hub does not give it.
        instead: what to do where there is no hub.
    """

    what: str
    missing: type[SlimGPTError]
    instead: str = "use a local folder or file"


@contextmanager
def mapped_errors(wanted: HubRequest) -> Iterator[None]:
    """Turn what huggingface_hub and datasets raise into errors that a user can act on.

    Raises:
        SlimGPTError: `wanted.missing` when it is not there or may not be read,
            HubUnreachableError when the hub does not answer, StorageError when the disk is full.
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
    """The library's progress bar, drawn only where someone watches: in a terminal."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["disable"] = kwargs.get("disable") or None  # None: tqdm looks for a terminal
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids asking the hub, so that its cache has to do."""
    return bool(constants.HF_HUB_OFFLINE)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it: libraries wrap the hub's answer in errors of their own."""
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
            f"{what} cannot be had: the hub is switched off (HF_HUB_OFFLINE)",
            hint=f"unset HF_HUB_OFFLINE, or {wanted.instead}",
        )
    if isinstance(error, hub_errors.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):  # strangers are not told which of the two it is
            return wanted.missing(
                f"{what} does not exist on the hub, or is private ({status})",
                hint="check the spelling; for a private repository set HF_TOKEN to a valid token",
            )
        return HubUnreachableError(
            f"{what}: the hub answered {status}", hint="try again later, or use local data"
        )
    if isinstance(error, TransportError | ConnectionError | TimeoutError):
        return HubUnreachableError(
            f"{what}: the hub cannot be reached",
            hint=f"check the network and HF_ENDPOINT, or {wanted.instead}",
        )
    return None

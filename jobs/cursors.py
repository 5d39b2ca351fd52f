"""Opaque pagination cursors for lists ordered by id."""

from __future__ import annotations

import base64
import binascii


class InvalidCursor(ValueError):  # noqa: N818 - a state of the request, not of the program
    """The cursor does not belong to this list."""


def make_cursor(last_id: str) -> str:
    """The cursor of the page after this id."""
    return base64.urlsafe_b64encode(last_id.encode()).decode().rstrip("=")


def read_cursor(cursor: str, prefix: str) -> str:
    """The id that a cursor stands for.

    Args:
        prefix: of all ids in the list.

    Raises:
        InvalidCursor: the cursor does not belong to this list.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        last_id = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidCursor(f"cursor {cursor!r} is not a cursor of this list") from error
    # PostgreSQL takes no NUL in a text.
    if not (last_id.startswith(prefix) and last_id.isprintable()):
        raise InvalidCursor(f"cursor {cursor!r} is not a cursor of this list")
    return last_id

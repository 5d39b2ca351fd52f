"""Opaque pagination cursors: a position in a list, in base64."""

from __future__ import annotations

import base64
import binascii


class InvalidCursor(ValueError):  # noqa: N818 - a state of the request, not of the program
    """The cursor does not belong to this list."""


def encode(position: str) -> str:
    """The cursor of a position, as the list writes it."""
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def decode(cursor: str) -> str:
    """The position of a cursor.

    Raises:
        InvalidCursor: it is none.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidCursor(f"cursor {cursor!r} is not a cursor of this list") from error


def is_id(text: object, prefix: str) -> bool:
    """Whether this can be the id of an item of a list; PostgreSQL takes no NUL in a text."""
    return isinstance(text, str) and text.startswith(prefix) and text.isprintable()


def make_cursor(last_id: str) -> str:
    """The cursor of the page after this id, in a list ordered by id."""
    return encode(last_id)


def read_cursor(cursor: str, prefix: str) -> str:
    """The id that a cursor of a list ordered by id stands for.

    Args:
        prefix: of all ids in the list.

    Raises:
        InvalidCursor: the cursor does not belong to this list.
    """
    last_id = decode(cursor)
    if not is_id(last_id, prefix):
        raise InvalidCursor(f"cursor {cursor!r} is not a cursor of this list")
    return last_id

"""Conditional requests: `If-None-Match` (RFC 9110, section 13.1.2)."""

from __future__ import annotations


def not_modified(if_none_match: str | None, etag: str) -> bool:
    """Whether the answer is 304.

    Args:
        if_none_match: what the client has: entity tags with commas between them, weak ones too,
            or `*`, which is any at all; None: nothing.
        etag: of what would be sent, in its quotes.
    """
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag in if_none_match

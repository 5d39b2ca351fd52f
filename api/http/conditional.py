"""Conditional requests: `If-None-Match` (RFC 9110, section 13.1.2)."""

from __future__ import annotations


def not_modified(if_none_match: str | None, etag: str) -> bool:
    """Whether the response is 304.

    Args:
        if_none_match: the header: entity tags, also weak ones, separated by commas, or `*`.
        etag: of the current representation, with its quotes.
    """
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag in if_none_match

"""Checks untrusted JSON against limits before it is parsed.

Parsing and validation take time and memory for every value and key, in C code that blocks other
threads. The limits are checked on the bytes, in a few passes over each piece: a few milliseconds
per MiB for any input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PIECE_BYTES = 128 << 10
"""Bytes checked at a time; other threads can run between pieces."""
_BLANKS = b" \t\r\n"
_BRACKETS = b"[]{}"
_NO_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_WORDS = bytes.maketrans(b",:" + _BRACKETS, b" " * 6)


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """Limits of one JSON text.

    Attributes:
        values: members of all lists and objects; an empty list or object counts as one.
        keys: keys of all objects.
        depth: nesting of lists and objects.
        string_bytes: bytes of one string or key, with escapes.
        number_bytes: characters of one number.
    """

    values: int
    keys: int
    depth: int
    string_bytes: int
    number_bytes: int = 64


class TooMuchJson(ValueError):  # noqa: N818 - says what is the case
    """The JSON exceeds a limit; the message is a predicate: "has more than 512 keys".

    Attributes:
        odd: whether no ordinary program writes such JSON.
    """

    def __init__(self, predicate: str, *, odd: bool = False) -> None:
        super().__init__(predicate)
        self.odd = odd


class JsonCount:
    """Checks the bytes of one JSON text in order.

    For invalid JSON it counts at least what a parser reads before it fails.

    Args:
        limits: the limits of the text.
    """

    def __init__(self, limits: JsonLimits) -> None:
        self._limits = limits
        self._values = self._keys = self._depth = 0
        self._in_string = False
        self._string = 0
        self._escape = b""

    def feed(self, content: bytes) -> None:
        """Count the next bytes.

        Raises:
            TooMuchJson: a limit is exceeded.
        """
        for start in range(0, len(content), PIECE_BYTES):
            self._take(content[start : start + PIECE_BYTES])

    def _take(self, piece: bytes) -> None:
        # Without escaped backslashes and quotes, every quote begins or ends a string.
        plain = (self._escape + piece).replace(rb"\\", b"--").replace(rb"\"", b"--")
        self._escape = b"\\" if plain.endswith(b"\\") else b""
        if plain.count(b'"') > 2 * (self._limits.values + self._limits.keys + 1):
            raise self._too_many("values")
        parts = plain.removesuffix(self._escape).split(b'"')
        began_inside = self._in_string
        self._in_string = began_inside ^ (len(parts) % 2 == 0)
        self._take_strings(parts[not began_inside :: 2], began_inside)
        self._take_structure(b"".join(parts[began_inside::2]).translate(None, _BLANKS))

    def _take_strings(self, strings: list[bytes], went_on: bool) -> None:
        sizes = list(map(len, strings))
        if went_on:
            sizes[0] += self._string
        self._string = sizes[-1] if self._in_string else 0
        if max(sizes, default=0) > self._limits.string_bytes:
            raise TooMuchJson(f"has a string of more than {self._limits.string_bytes:,} bytes")

    def _take_structure(self, bare: bytes) -> None:
        limits = self._limits
        brackets = bare.translate(None, _NO_BRACKETS)
        self._take_brackets(brackets)
        self._keys += bare.count(b":")
        if self._keys > limits.keys:
            raise self._too_many("keys")
        self._values += bare.count(b",") + bare.count(b"[") + bare.count(b"{")
        if self._values > limits.values:
            raise self._too_many("values")
        longest = max(map(len, bare.translate(_WORDS).split()), default=0)
        if longest > limits.number_bytes:
            said = f"is not JSON, or has a number of more than {limits.number_bytes:,} characters"
            raise TooMuchJson(said, odd=True)

    def _too_many(self, what: Literal["values", "keys"]) -> TooMuchJson:
        return TooMuchJson(f"has more than {getattr(self._limits, what):,} {what}")

    def _take_brackets(self, brackets: bytes) -> None:
        most = self._limits.depth
        if self._depth + brackets.count(b"[") + brackets.count(b"{") <= most:
            self._depth += 2 * (brackets.count(b"[") + brackets.count(b"{")) - len(brackets)
            return
        for bracket in brackets:
            self._depth += 1 if bracket in b"[{" else -1
            if self._depth > most:
                raise TooMuchJson(f"is nested more than {most} deep", odd=True)


def require_within(content: bytes, limits: JsonLimits) -> None:
    """Check a whole JSON text.

    Raises:
        TooMuchJson: a limit is exceeded.
    """
    JsonCount(limits).feed(content)

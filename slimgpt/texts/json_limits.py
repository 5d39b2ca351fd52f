"""How much a stranger's JSON holds, counted before it is parsed.

Parsing and validating take time and memory for every value and every key, in C code that lets no
other thread run meanwhile. So both are for JSON of bounded size only, and the count is taken from
the bytes: a few passes over each piece, a few milliseconds for a MiB, whatever the bytes are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PIECE_BYTES = 128 << 10
"""Counted at a time: other threads run in between."""
_BLANKS = b" \t\r\n"
_BRACKETS = b"[]{}"
_NO_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_WORDS = bytes.maketrans(b",:" + _BRACKETS, b" " * 6)


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """What one JSON text may hold.

    Attributes:
        values: members of all lists and objects together; an empty one counts as a member.
        keys: of all objects together.
        depth: of lists and objects in each other.
        string_bytes: of one string as it is written, keys included.
        number_bytes: of one number as it is written.
    """

    values: int
    keys: int
    depth: int
    string_bytes: int
    number_bytes: int = 64


class TooMuchJson(ValueError):  # noqa: N818 - says what is the case
    """The JSON holds more than it may; the message is a predicate: "holds more than 512 keys".

    Attributes:
        odd: whether no program writes such JSON, however much it has to say.
    """

    def __init__(self, predicate: str, *, odd: bool = False) -> None:
        super().__init__(predicate)
        self.odd = odd


class JsonCount:
    """Takes the bytes of one JSON text in order.

    Of what is not JSON it counts what a parser reads of it before it finds out.

    Args:
        limits: what the text may hold.
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
            TooMuchJson: with them it is too much.
        """
        for start in range(0, len(content), PIECE_BYTES):
            self._take(content[start : start + PIECE_BYTES])

    def _take(self, piece: bytes) -> None:
        # With escaped backslashes and quotes out of the way, every quote begins or ends a string.
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
            raise TooMuchJson(f"holds a string of more than {self._limits.string_bytes:,} bytes")

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
            said = f"is not JSON, or holds a number of more than {limits.number_bytes:,} characters"
            raise TooMuchJson(said, odd=True)

    def _too_many(self, what: Literal["values", "keys"]) -> TooMuchJson:
        return TooMuchJson(f"holds more than {getattr(self._limits, what):,} {what}")

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
    """Count a whole JSON text.

    Raises:
        TooMuchJson: it holds more than it may.
    """
    JsonCount(limits).feed(content)

"""Redacts secrets, and paths of this machine, from log lines, events and errors.

The last line of defence: nothing should put a secret into a log line, an event or an error in the
first place. What is recognised: the secrets that this process was given, by value; and what looks
like one of a known kind, by shape. Logs keep paths, which their readers need (`redact`); what a
client is told keeps neither (`for_clients`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from pydantic import SecretStr

from jobs.logs.machine_paths import Paths, paths_of
from jobs.settings import Settings

MASK = "[redacted]"
SHORTEST = 12
"""Characters of the shortest secret that is recognised by value: a shorter one may be a word."""
LONGEST_TEXT = 1 << 20
"""Characters of the longest text that is searched by shape."""
_NAMED = re.compile(r"(SECRET|PASSWORD|PASSWD|TOKEN|PEPPER|CREDENTIALS?|_KEY|_KEY_ID)$")
# Each with words of which a text must hold one to be searched: most lines hold none.
_SHAPES: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    (("slim_",), re.compile(r"\bslim_[0-9A-Za-z]{4,}_[0-9A-Za-z]{8,}"), MASK),
    (("whsec_",), re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]{8,}"), MASK),
    (("hf_",), re.compile(r"\bhf_[A-Za-z0-9]{16,}"), MASK),
    (("AKIA", "ASIA"), re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), MASK),
    (
        ("earer ", "asic "),
        re.compile(r"\b([Bb]earer|[Bb]asic)( +)[A-Za-z0-9._~+/=-]{8,}"),
        rf"\1\2{MASK}",
    ),
    # A URL's password; before it there may be no user, as in Redis's.
    (("://",), re.compile(r"(?<=://)([^\s/:@\"'\\]*):[^\s/@\"'\\]+@"), rf"\1:{MASK}@"),
    (
        ("X-Amz-",),
        re.compile(r"\b(X-Amz-(?:Signature|Credential|Security-Token)=)[^\s&\"'\\]+"),
        rf"\1{MASK}",
    ),
    # A variable as a shell or Python shows it; a number is no secret.
    (
        ("SECRET", "PASSWORD", "TOKEN", "PEPPER", "_KEY"),
        re.compile(
            r"\b([A-Z0-9_]*(?:SECRET|PASSWORD|TOKEN|PEPPER|_KEY)['\"\\]*\s*[=:]\s*['\"\\]*)"
            r"(?!\d+\b)[^\s'\",;\\&]{6,}"
        ),
        rf"\1{MASK}",
    ),
)


class Redaction:
    """Knows some secrets by value, and all by shape.

    Args:
        secrets: values that must not be seen; too short ones are left to the shapes.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if len(secret) >= SHORTEST for form in _forms(secret)}
        longest_first = sorted(forms, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def text(self, text: str) -> str:
        """The text without secrets. JSON stays JSON: a mask stands within the string it is in."""
        if self._values is not None:
            text = self._values.sub(MASK, text)
        if len(text) <= LONGEST_TEXT:
            for words, shape, mask in _SHAPES:
                if any(word in text for word in words):
                    text = shape.sub(mask, text)
        return text


def _forms(secret: str) -> set[str]:
    """A secret as it may stand in a log: plain, within JSON, within a URL, in Python's quotes."""
    return {secret, json.dumps(secret)[1:-1], quote(secret, safe=""), repr(secret)[1:-1]}


def secrets_of(settings: Settings, environment: Mapping[str, str]) -> Iterator[str]:
    """The secrets that a process was given: its settings' and those of its environment."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            yield from _parts(value.get_secret_value())
    for name, text in environment.items():
        if _NAMED.search(name.upper()):
            yield from _parts(text)


def _parts(value: str) -> Iterator[str]:
    """What is secret about a value: of a URL its password."""
    if "://" not in value:
        yield value
        return
    try:
        password = urlsplit(value).password
    except ValueError:  # no URL after all
        yield value
        return
    if password:
        yield password
        yield unquote(password)


_known = Redaction()
_paths = Paths()


def configure_redaction(settings: Settings) -> None:
    """Recognise this process's secrets and folders by value from now on."""
    global _known, _paths  # noqa: PLW0603 - one set of each a process, as there is one log
    _known = Redaction(secrets_of(settings, os.environ))
    _paths = paths_of(settings)


def redact(text: str) -> str:
    """The text without what this process knows to be secret."""
    return _known.text(text)


def for_clients(said: Any) -> Any:
    """A text, or JSON with texts anywhere in it, without secrets and without this machine's paths.

    Keys stay: they are names of fields.
    """
    if isinstance(said, str):
        return _paths.text(redact(said))
    if isinstance(said, dict):
        return {key: for_clients(value) for key, value in said.items()}
    if isinstance(said, list | tuple):
        return [for_clients(value) for value in said]
    return said

"""Bodies of up to a MiB that nobody would send in good faith, drawn from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

MOST_BYTES = 1 << 20
JSON_TYPE = "application/json"
VALID: dict[str, dict[str, Any]] = {
    "/jobs": {
        "model": "org/name",
        "ratio": 0.25,
        "schedule": {"shape": "explicit", "ratios": [0.1, 0.2, 0.3]},
        "calibration": {"source": "c4", "samples": 8},
        "evaluation": {"texts": ["c4"], "tasks": ["mmlu", {"name": "arc_easy", "shots": 1}]},
        "recovery": {"samples": 5, "alpha": 8},
        "formats": ["gguf"],
        "metadata": {"team": "search"},
    },
    "/webhooks": {"url": "https://93.184.215.14/hook", "events": ["job.failed"]},
}
SCALARS: list[Any] = [
    *(None, True, 0, -1, 5, 2**63, 10**30, 1e308, float("inf"), float("nan"), "", "x", "\0"),
    *("\ud800", "uniform", "gguf", "1e400", "10GiB", "https://xn--a/", "local:..", [], {}),
]


def fuzzed(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """So many bodies, each with the address that it is posted to."""
    chance = random.Random(seed)
    ways = [_replaced, _swollen, _nested, _torn, _noise, _repeated]
    for _ in range(count):
        address = chance.choice(list(VALID))
        body = chance.choice(ways)(chance, VALID[address])
        yield address, body[:MOST_BYTES]


def _size(chance: random.Random) -> int:
    """Of all magnitudes: as often a few bytes as a MiB."""
    return int(2 ** chance.uniform(3, 20))


def _value(chance: random.Random, depth: int = 3) -> Any:
    if depth and chance.random() < 0.3:
        parts = [_value(chance, depth - 1) for _ in range(chance.randrange(5))]
        names = (str(chance.choice(SCALARS)) for _ in parts)
        return parts if chance.random() < 0.5 else dict(zip(names, parts, strict=True))
    return chance.choice(SCALARS)


def _replaced(chance: random.Random, valid: dict[str, Any]) -> bytes:
    """A valid body with anything in the place of one or two fields."""
    body = json.loads(json.dumps(valid))
    for _ in range(chance.randint(1, 2)):
        node, key = body, chance.choice(list(body))
        while isinstance(node[key], dict) and node[key] and chance.random() < 0.7:
            node = node[key]
            key = chance.choice(list(node))
        node[key] = _value(chance)
    return json.dumps(body).encode()


def _swollen(chance: random.Random, valid: dict[str, Any]) -> bytes:
    """One field that is a list, an object or a text of any size."""
    size = _size(chance)
    part = json.dumps(chance.choice(SCALARS))
    times = size // (len(part) + 12) + 1
    grown: list[Callable[[], str]] = [
        lambda: f"[{','.join([part] * times)}]",
        lambda: f"{{{','.join(f'{json.dumps(str(n))}:{part}' for n in range(times))}}}",
        lambda: json.dumps(chance.choice(["a", "é", "\\", "\u0001", "🦙"]) * (size // 6)),
        lambda: "9" * size,
        lambda: f"0.{'3' * size}",
        lambda: f"1e{'9' * min(size, 300)}",
    ]
    name = chance.choice(list(valid))
    rest = json.dumps({key: value for key, value in valid.items() if key != name})
    return f'{rest[:-1]},"{name}":{chance.choice(grown)()}}}'.encode()


def _nested(chance: random.Random, valid: dict[str, Any]) -> bytes:
    size = _size(chance)
    opened, closed = chance.choice([("[", "]"), ('{"a":', "}"), ("[[1],", "]")])
    times = size // (len(opened) + 1)
    return (opened * times + "1" + closed * times).encode()


def _torn(chance: random.Random, valid: dict[str, Any]) -> bytes:
    """A valid body with bytes changed, in UTF-8 or another encoding."""
    body = json.dumps(valid).encode(chance.choice(["utf-8", "utf-16", "utf-32", "utf-8-sig"]))
    torn = bytearray(body * (_size(chance) // len(body) + 1))
    for _ in range(chance.randrange(8)):
        torn[chance.randrange(len(torn))] = chance.randrange(256)
    return bytes(torn)


def _noise(chance: random.Random, valid: dict[str, Any]) -> bytes:
    letters = chance.choice([b'[]{}",:\\ ', b"0123456789.eE+-,", bytes(range(256)), b'"\\u00e9'])
    return bytes(chance.choices(letters, k=_size(chance)))


def _repeated(chance: random.Random, valid: dict[str, Any]) -> bytes:
    """One key again and again, or many that are unknown."""
    times = _size(chance) // 12 + 1
    name = chance.choice([*valid, "unknown"])
    keys = (name if chance.random() < 0.5 else f"{name}{n}" for n in range(times))
    return f"{{{','.join(f'{json.dumps(key)}:1' for key in keys)}}}".encode()

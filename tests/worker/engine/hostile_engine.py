"""An engine that a hostile model has taken over: what it could do to the worker that watches it.

python hostile_engine.py ATTACK run SPEC WORKDIR …
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

MIB = 1 << 20
SIZES = {"parameters_before": 9000, "parameters_after": 4500, "ratio_achieved": 0.5}


def say(kind: str, **values: object) -> None:
    os.write(1, json.dumps({"type": kind, **values}).encode() + b"\n")


def write(piece: bytes, times: int) -> None:
    with os.fdopen(os.dup(1), "wb") as out:
        for _ in range(times):
            out.write(piece)


def layer(**values: object) -> None:
    counts = {"heads_before": 4, "heads": 2, "kv_heads_before": 2, "kv_heads": 1}
    sizes = {"channels_before": 64, "channels": 32, "parameters_before": 900, "parameters": 450}
    facts = {"attention_error": 0.1, "ffn_error": 0.2, "seconds": 0.5}
    damping = {"attention_damping": 0.01, "ffn_damping": 0.01}
    place = {"layer": 0, "layers_total": 3}
    say("layer_finished", **(counts | sizes | facts | damping | place | values))


def result(**values: object) -> None:
    say("result", **(SIZES | {"seconds": 1.0, "peak_memory_bytes": 1} | values))


def long_events() -> None:
    for _ in range(40):
        say("warning", message="result" + "x" * 2 * MIB)
    result(perplexity=[{"text": "x" * 2 * MIB}])


def many_warnings() -> None:
    for number in range(600):
        say("warning", message=f"{number} " + "x" * 1000)


def report(checkpoint: Path, content: str = "{}") -> None:
    checkpoint.mkdir(exist_ok=True)
    (checkpoint / "report.json").write_text(content)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


ON_STDOUT: dict[str, Callable[[], None]] = {
    "no-line": lambda: write(b"x" * MIB, 200),
    "empty-lines": lambda: write(b"\n" * 100_000, 1),
    "brackets": lambda: write(b"[" * 100_000 + b"\n", 5),
    "deep-result": lambda: write(b'{"type": "result", "layers": ' + b"[" * 100_000 + b"\n", 2),
    "long-events": long_events,
    "many-warnings": many_warnings,
    "huge-numbers": lambda: layer(layers_total=10**30, parameters=10**40),
    "negative": lambda: layer(layer=-1, heads=-5, channels=-(2**70)),
    "no-numbers": lambda: layer(attention_error=float("nan"), seconds=float("inf")),
    "nul": lambda: say("warning", message="\0 \ud800 \x1b[2J"),
    "other-stage": lambda: say("stage_started", stage="succeeded"),
}


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def odd_names(checkpoint: Path) -> None:
    for name in ("a\nb", "-rf", "\u202egnp.exe", "x" * 255, "manifest.json", ".hidden", "%2e"):
        (checkpoint / name).write_text("x")


IN_THE_FOLDER: dict[str, Callable[[Path], object]] = {
    "report-pipe": lambda folder: pipe(folder / "report.json"),
    "report-link": lambda folder: link(folder / "report.json", "../../spec.json"),
    "report-sparse": lambda folder: sparse(folder / "report.json"),
    "report-deep": lambda folder: report(folder, '{"a":' * 100_000 + "1" + "}" * 100_000),
    "file-link": lambda folder: link(folder / "model.safetensors", "/etc/passwd"),
    "file-pipe": lambda folder: pipe(folder / "model.safetensors"),
    "file-sparse": lambda folder: sparse(folder / "model.safetensors"),
    "backslash": lambda folder: (folder / "..\\..\\up").touch(),
    "odd-names": odd_names,
}


def claim_success(attack: str, work: Path) -> None:
    """Leave something odd where the checkpoint is looked for."""
    checkpoint = work / "checkpoint"
    if attack == "folder-link":
        checkpoint.symlink_to("/etc")
    else:
        report(checkpoint)
        IN_THE_FOLDER[attack](checkpoint)
    result()


def main() -> None:
    attack = sys.argv[1]
    work = Path(sys.argv[sys.argv.index("run") + 2])
    say("stage_started", stage="prune")
    if attack in ON_STDOUT:
        ON_STDOUT[attack]()
        sys.exit(0)
    claim_success(attack, work)


if __name__ == "__main__":
    main()

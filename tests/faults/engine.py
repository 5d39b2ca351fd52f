"""An engine to hurt: as quick as a script, as stateful as the real one.

    python engine.py SECONDS run SPEC WORKDIR … [--resume]

Every layer takes SECONDS; its bytes depend on the specification and on all layers before it, so a
resumed run that went wrong anywhere ends with other bytes. Files lie as the real engine's do:
`layers/layer-NNNNN.safetensors`, then its record, in the end a checkpoint that is filled aside and
renamed. A specification of another model than `local:scripted` is given to the real engine.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

LAYERS = 6
LAYER_BYTES = 2 << 20
MODEL = "local:scripted"
CHILD_SECONDS = 0.2


def say(kind: str, **values: object) -> None:
    """Write an event."""
    sys.stdout.write(json.dumps({"type": kind, **values}) + "\n")
    sys.stdout.flush()


def tell_layer(number: int, seconds: float, *, resumed: bool) -> None:
    """Say that a layer is done."""
    counts = {"heads_before": 4, "heads": 2, "kv_heads_before": 2, "kv_heads": 1}
    sizes = {"channels_before": 64, "channels": 32, "parameters_before": 900, "parameters": 450}
    errors = {"attention_error": 0.1, "ffn_error": 0.2}
    damping = {"attention_damping": 0.01, "ffn_damping": 0.01}
    place = {"layer": number, "layers_total": LAYERS, "seconds": seconds, "resumed": resumed}
    say("layer_finished", **counts, **sizes, **errors, **damping, **place)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sealed(weights: Path) -> bool:
    """Whether the layer is whole: its record is there and names these bytes."""
    record = weights.with_suffix(".json")
    if not (record.exists() and weights.exists()):
        return False
    return bool(json.loads(record.read_text())["sha256"] == digest(weights))


def prune(spec: bytes, folder: Path, seconds: float) -> list[Path]:
    """Make the layers that are not there yet."""
    folder.mkdir(exist_ok=True)
    before, done = hashlib.sha256(spec).hexdigest(), []
    unbroken = True
    for number in range(LAYERS):
        weights = folder / f"layer-{number:05d}.safetensors"
        unbroken = unbroken and sealed(weights)
        if not unbroken:
            make_layer(weights, f"{before} {number}", seconds)
        tell_layer(number, seconds, resumed=unbroken)
        before = digest(weights)
        done.append(weights)
    return done


def make_layer(weights: Path, seed: str, seconds: float) -> None:
    """Half of the layer, time to be killed in, the other half, its record."""
    weights.with_suffix(".json").unlink(missing_ok=True)
    content = random.Random(seed).randbytes(LAYER_BYTES)
    with weights.open("wb") as file:
        file.write(content[: LAYER_BYTES // 2])
        file.flush()
        time.sleep(seconds)
        file.write(content[LAYER_BYTES // 2 :])
    aside = weights.with_suffix(".aside")
    aside.write_text(json.dumps({"sha256": hashlib.sha256(content).hexdigest()}))
    aside.rename(weights.with_suffix(".json"))


def write_checkpoint(layers: list[Path], checkpoint: Path) -> None:
    """Fill it aside, look at it in a process of its own, rename it."""
    aside = checkpoint.with_name(f".checkpoint.{os.getpid()}")
    aside.mkdir()
    for weights in layers:
        os.link(weights, aside / weights.name)
    (aside / "config.json").write_text('{"model_type": "llama"}')
    (aside / "report.json").write_text('{"verdict": "smaller"}')
    look = f"import time; time.sleep({CHILD_SECONDS})"
    subprocess.run([sys.executable, "-S", "-c", look], check=True)
    aside.rename(checkpoint)


def run(spec: Path, work: Path, seconds: float, *, resume: bool) -> None:
    """A job from its plan to its result."""
    checkpoint, layers = work / "checkpoint", work / "layers"
    if resume:
        shutil.rmtree(checkpoint, ignore_errors=True)
    elif checkpoint.exists() or layers.exists():
        raise SystemExit(f"{work} holds the work of an earlier run")
    say("stage_started", stage="plan")
    sizes = {"parameters_before": 9000, "parameters_after": 4500, "ratio_achieved": 0.5}
    say("planned", **sizes, layers=LAYERS, channel_multiple=32)
    say("stage_started", stage="prune")
    done = prune(spec.read_bytes(), layers, seconds)
    say("stage_finished", stage="prune", seconds=LAYERS * seconds)
    say("stage_started", stage="verify")
    write_checkpoint(done, checkpoint)
    say("stage_finished", stage="verify", seconds=CHILD_SECONDS)
    say("result", **sizes, seconds=1.0, peak_memory_bytes=1, layers=[], checkpoint="checkpoint")
    shutil.rmtree(layers)


def main() -> None:
    """Run the script, or become the real engine."""
    pace, arguments = float(sys.argv[1]), sys.argv[2:]
    spec = Path(arguments[1])
    if json.loads(spec.read_bytes())["model"] == MODEL:
        run(spec, Path(arguments[2]), pace, resume="--resume" in arguments)
    else:
        os.execv(sys.executable, [sys.executable, "-m", "slimgpt", *arguments])


if __name__ == "__main__":
    main()

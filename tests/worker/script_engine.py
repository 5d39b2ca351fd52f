"""An engine for tests: speaks the protocol, prunes nothing, misbehaves as told.

    python script_engine.py BEHAVIOUR [GATE] run SPEC WORKDIR …

Between two layers it waits for the file GATE (or, if that is a folder, for the file in it that
has the job's id as its name), if one is named. The behaviour `as-named` is the first word of the
model's name. Asked for a `plan` or `models`, it answers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

LAYERS = 3
MARKUP = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"


def say(kind: str, **values: object) -> None:
    sys.stdout.write(json.dumps({"type": kind, **values}) + "\n")
    sys.stdout.flush()


def layer(number: int, *, resumed: bool = False) -> None:
    counts = {"heads_before": 4, "heads": 2, "kv_heads_before": 2, "kv_heads": 1}
    sizes = {"channels_before": 64, "channels": 32, "parameters_before": 900, "parameters": 450}
    errors = {"attention_error": 0.1, "ffn_error": 0.2}
    damping = {"attention_damping": 0.01, "ffn_damping": 0.01}
    place = {"layer": number, "layers_total": LAYERS, "seconds": 0.5, "resumed": resumed}
    say("layer_finished", **counts, **sizes, **errors, **damping, **place)


def prune(work: Path, behaviour: str, gate: Path | None) -> None:
    say("stage_started", stage="prune")
    done = work / "layers"
    done.mkdir(exist_ok=True)
    if behaviour == "picky" and (done / "job").exists():
        refuse_another_job((done / "job").read_text())
    (done / "job").write_text("fingerprint")
    for number in range(LAYERS):
        if (done / f"layer-{number}").exists():
            layer(number, resumed=True)
            continue
        misbehave(behaviour, number)
        while number > 0 and gate is not None and not gate.exists():
            time.sleep(0.01)
        (done / f"layer-{number}").write_text(str(number))
        layer(number)
    say("stage_finished", stage="prune", seconds=1.5)


def refuse_another_job(mark: str) -> None:
    if mark != "fingerprint":
        say("failed", code="resume-error", message="the layers of another job", hint="")
        sys.exit(1)


def write_garbage() -> None:
    sys.stdout.write('Downloading: 100%\n{"type": "no such event"}\n{"half": \n\n')
    sys.stdout.buffer.write(b"\xff\xfe\x00\n")


def write_a_lot() -> None:
    sys.stderr.write("a line of a progress bar\r" * 100_000)


def crash() -> None:
    raise RuntimeError("boom in layer 1")


def fail() -> None:
    say("failed", code="calibration-error", message="the text is too short", hint="add more")
    sys.exit(1)


def fill_the_disk() -> None:
    """Its owner is shown what it says: the path of the worker's disk among it."""
    here = os.getcwd()
    say("warning", message=f"'{here}/layers/a b.bin' was slow, as file://{here}/x", layer=None)
    say("progress", stage="prune", done=1, total=2, what=f"{here}/layers")
    message = f"{here}/layers/layer-1: No space left on device"
    say("failed", code="storage-error", message=message, hint=f"free space in {here} and resume")
    sys.exit(1)


def fail_in_markup() -> None:
    say("warning", message=f"warned {MARKUP}", layer=0)
    say("failed", code="calibration-error", message=f"failed {MARKUP}", hint=f"hint {MARKUP}")
    sys.exit(1)


def be_killed_once() -> None:
    """The first time: as when memory ran out beside a neighbour that is gone by now."""
    mark = Path("killed")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def turn_deaf() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("warning", message="deaf", layer=None)
    time.sleep(1000)


def start_a_family() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    say("warning", message=f"child {child.pid}", layer=None)
    time.sleep(1000)


def fall_silent() -> None:
    os.close(1)
    time.sleep(1000)


ALWAYS: dict[str, Callable[[], object]] = {"garbage": write_garbage, "chatty": write_a_lot}
IN_LAYER_1: dict[str, Callable[[], object]] = {
    "crash": crash,
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "killed-once": be_killed_once,
    "silent-exit": lambda: sys.exit(0),
    "fail": fail,
    "full": fill_the_disk,
    "markup": fail_in_markup,
    "hang": lambda: time.sleep(1000),
    "closed": fall_silent,
    "told": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "stubborn": turn_deaf,
    "family": start_a_family,
}


def misbehave(behaviour: str, number: int) -> None:
    ALWAYS.get(behaviour, lambda: None)()
    if number == 1:
        IN_LAYER_1.get(behaviour, lambda: None)()


def write_checkpoint(work: Path, behaviour: str) -> None:
    checkpoint = work / "checkpoint"
    checkpoint.mkdir(exist_ok=True)
    layers = "".join((work / "layers" / f"layer-{n}").read_text() for n in range(LAYERS))
    (checkpoint / "model.safetensors").write_text(layers)
    (checkpoint / "environment.json").write_text(json.dumps(dict(os.environ)))
    (checkpoint / "argv.json").write_text(json.dumps(sys.argv))
    if behaviour != "no-report":
        (checkpoint / "report.json").write_text('{"verdict": "smaller", "perplexity": NaN}')
    if behaviour == "link":
        (checkpoint / "passwords").symlink_to("/etc/passwd")


def plan() -> None:
    row = {"heads_before": 4, "heads": 2, "kv_heads_before": 2, "kv_heads": 1}
    row |= {"channels_before": 64, "channels": 32, "parameters_before": 900, "parameters": 450}
    sizes = {"parameters_before": 9000, "parameters_after": 4500, "ratio_achieved": 0.5}
    sizes |= {"bytes_before": 18000, "bytes_after": 9000, "channel_multiple": 32}
    memory = {"peak_memory_bytes": 40960, "activation_bytes": 2048}
    layers = [{"layer": number, **row} for number in range(LAYERS)]
    say("plan", **sizes, **memory, provisional=False, layers=layers)


def models() -> None:
    names = json.load(sys.stdin)
    known = {"family": "llama", "parameters": 9000, "bytes": 18000, "prunable": True}
    say("models", items=[{"model": name, **known} for name in names])


def main() -> None:
    for asked, answer in (("plan", plan), ("models", models)):
        if asked in sys.argv:
            answer()
            return
    cut = sys.argv.index("run")
    behaviour, gate = sys.argv[1], Path(sys.argv[2]) if cut == 3 else None
    spec, work = Path(sys.argv[cut + 1]), Path(sys.argv[cut + 2])
    if gate is not None and gate.is_dir():
        gate /= spec.parent.name.split(".")[0]
    model = json.loads(spec.read_text())["model"]
    assert model.startswith("local:")
    if behaviour == "as-named":
        behaviour = model.removeprefix("local:").split()[0]
    say("stage_started", stage="plan")
    sizes = {"parameters_before": 9000, "parameters_after": 4500, "ratio_achieved": 0.5}
    say("planned", **sizes, layers=LAYERS, channel_multiple=32)
    say("warning", message="mind the gap", layer=2)
    prune(work, behaviour, gate)
    write_checkpoint(work, behaviour)
    where = "../../.." if behaviour == "escape" else "checkpoint"
    kept = [{"kept_channels": list(range(28_672))}] * (80 if behaviour == "wide" else 0)
    say("result", **sizes, seconds=2.0, peak_memory_bytes=1, layers=kept, checkpoint=where)
    if behaviour == "late-crash":
        sys.exit(7)


if __name__ == "__main__":
    main()

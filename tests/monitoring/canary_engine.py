"""An engine that tells everything it knows: on both pipes, in events, and in its last words.

    python canary_engine.py run SPEC WORKDIR …

What becomes of it, the spec's seed decides: 0 crashes, 1 fails, 2 succeeds.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def say(kind: str, **values: object) -> None:
    sys.stdout.write(json.dumps({"type": kind, **values}) + "\n")
    sys.stdout.flush()


def main() -> None:
    spec, work = Path(sys.argv[2]), Path(sys.argv[3])
    known = dict(os.environ)
    everything = f"{known} {sys.argv}"
    say("stage_started", stage="plan")
    say("warning", message=everything, layer=None)
    sys.stdout.write(f"no event: {everything}\n")
    for name, value in known.items():
        sys.stderr.write(f"{name}={value}\n")
    sys.stderr.write(everything + "\n")
    seed = json.loads(spec.read_text())["calibration"]["seed"]
    if seed == 0:
        raise RuntimeError(everything)
    if seed == 1:
        say("failed", code="calibration-error", message=everything, hint=everything)
        sys.exit(1)
    checkpoint = work / "checkpoint"
    checkpoint.mkdir(parents=True)
    (checkpoint / "report.json").write_text(json.dumps({"environment": known, "said": everything}))
    sizes = {"parameters_before": 9, "parameters_after": 4, "ratio_achieved": 0.5}
    text = [{"text": everything, "sequence_length": 1, "tokens": 1, "dense": 1.0, "pruned": 1.0}]
    say("result", **sizes, seconds=2.0, peak_memory_bytes=1, layers=[], perplexity=text)


if __name__ == "__main__":
    main()

"""The engine's own time by step, from a profile of one job in this process."""

from __future__ import annotations

import cProfile
import pstats
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.cost import operations as o
from slimgpt.events import StageFinished, StageStarted
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec

STEPS = {
    ("layers/block.py", "attend"): o.FORWARD,
    ("layers/block.py", "feed_forward"): o.FORWARD,
    ("layers/block.py", "attend_from"): o.FORWARD,
    ("layers/block.py", "feed_forward_from"): o.FORWARD,
    ("layers/block.py", "calls_of"): o.FORWARD,
    ("methods/statistics.py", "add_"): o.GRAM,
    ("methods/obs.py", "damp"): o.INVERSE,
    ("methods/obs.py", "invert"): o.INVERSE,
    ("methods/elimination.py", "remove"): o.ELIMINATION,
    ("methods/elimination.py", "copy"): o.ELIMINATION,
    ("methods/obs.py", "refit"): o.REFIT,
    ("methods/obs.py", "quadratic"): o.REFIT,
    ("layers/residual_target.py", "correction"): o.TARGET,
    ("layers/damage_pass.py", "_compare"): o.PROBE,
    ("checkpoints/checkpoint.py", "layer"): o.READ,
    ("output/partial.py", "write_layer"): o.WRITE,
}
"""Functions whose time, with that of all they call, is a step's; none calls another."""
OWN = {("layers/residual_target.py", "gather"): o.TARGET}
"""Functions of which the time in themselves, their operators included, is."""
PROBING = ("layers/block.py", "forward"), "layers/damage_pass.py"
"""What takes a probe through a layer: taken from the forward passes."""


def seconds(spec: PruneSpec, roots: Roots) -> dict[str, dict[str, float]]:
    """Seconds of the stages `plan` and `prune` by step; what no step explains is "other"."""
    from slimgpt.pipeline import run

    found: dict[str, dict[str, float]] = {}
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory() as folder:
        for event in run(spec, Path(folder) / "work", roots, "cpu"):
            if isinstance(event, StageStarted) and event.stage in ("plan", "prune"):
                profile = cProfile.Profile()
                profile.enable()
            if isinstance(event, StageFinished) and event.stage in ("plan", "prune"):
                profile.disable()
                found[event.stage] = _by_step(profile, event.seconds)
    return found


def _by_step(profile: cProfile.Profile, whole: float) -> dict[str, float]:
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    steps = defaultdict[str, float](float)
    for (file, _, name), (_, _, own, total, callers) in stats.items():
        steps[_step(STEPS, file, name)] += total
        steps[_step(OWN, file, name)] += own
        if _is(PROBING[0], file, name):
            probing = sum(row[3] for place, row in callers.items() if place[0].endswith(PROBING[1]))
            steps[o.PROBE] += probing
            steps[o.FORWARD] -= probing
    del steps[""]
    steps["other"] = whole - sum(steps.values())
    return steps


def _step(table: dict[tuple[str, str], str], file: str, name: str) -> str:
    return next((step for place, step in table.items() if _is(place, file, name)), "")


def _is(place: tuple[str, str], file: str, name: str) -> bool:
    return name == place[1] and file.endswith(place[0])

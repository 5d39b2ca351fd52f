"""Operations and bytes of each step of a pruning job, counted from the sizes of the layers.

A product of a (m, k) with a (k, n) matrix is 2·m·k·n operations; of a symmetric product half is
counted. What is left out moves memory only: norms, activations, rotations, masks.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from slimgpt.checkpoints.families import layout
from slimgpt.checkpoints.families.architecture import Architecture, LayerSize
from slimgpt.planning.forecast import FEW_LAYERS, MEASURED, PROBE_TOKENS, PROBES
from slimgpt.spec.recipe import Recipe

Kind = Literal["half", "single", "factor", "disk"]
"""Products of 16-bit numbers; of float32; factorisations and solves; bytes read or written."""
Step = tuple[str, Kind]
WIDTH = 2  # bytes of a weight
FORWARD, GRAM, INVERSE, ELIMINATION, REFIT, TARGET, PROBE, READ, WRITE = (
    "forward passes", "Gram matrices", "inverses", "elimination", "refit and errors",
    "residual target", "probes", "reading", "writing",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What is counted.

    Attributes:
        config: the content of `config.json`.
        after: sizes of the pruned layers.
        samples, length: calibration sequences, and tokens of each.
        cached: a layer is advanced from the inputs of its projections, as on a CPU where these are
            few (`slimgpt.layers.inputs_cache.CACHED_INPUTS`).
    """

    architecture: Architecture
    config: dict[str, object]
    after: tuple[LayerSize, ...]
    samples: int
    length: int
    cached: bool = False

    @property
    def tokens(self) -> int:
        """Of the calibration text."""
        return self.samples * self.length


@dataclass(frozen=True)
class _Half:
    """A layer's attention or FFN at one size.

    Attributes:
        first: parameters of the matrices in front of the output projection.
        rows, columns: of the output projection.
        scores: operations of a token's attention over its sequence, causal.
    """

    first: int
    rows: int
    columns: int
    scores: int

    @property
    def inputs(self) -> float:
        """Operations of a token up to the output projection."""
        return 2 * self.first + self.scores

    @property
    def whole(self) -> float:
        """Operations of a token."""
        return self.inputs + 2 * self.rows * self.columns


def of(job: Job, recipe: Recipe) -> dict[str, dict[Step, float]]:
    """Operations of the stages `plan` and `prune`, by step and kind."""
    stages: dict[str, dict[Step, float]] = {"plan": defaultdict(float), "prune": defaultdict(float)}
    count = len(job.after)
    for index, (before, after) in enumerate(zip(job.architecture.sizes, job.after, strict=True)):
        if recipe == "measured":
            measured = index % 2 == 0 or index == count - 1 or count <= FEW_LAYERS
            for step, amount in _survey(job, before, count - index - 1, measured):
                stages["plan"][step] += amount
        for dense, pruned in zip(_halves(job, before), _halves(job, after), strict=True):
            for step, amount in _pruned(job, dense, pruned, recipe):
                stages["prune"][step] += amount
        stages["prune"][READ, "disk"] += _bytes(job, before)
        stages["prune"][WRITE, "disk"] += _bytes(job, after)
    return stages


def _pruned(job: Job, dense: _Half, pruned: _Half, recipe: Recipe) -> Iterator[tuple[Step, float]]:
    """One half that is pruned: gathered on, solved, and run as it is left."""
    n, kept, tokens = dense.columns, pruned.columns, job.tokens
    towards = recipe == "measured"
    gathered = 2 * dense.whole if towards else dense.inputs  # own stream and the dense model's
    advanced = 2 * pruned.rows * pruned.columns if job.cached else pruned.whole
    yield (FORWARD, "half"), tokens * (gathered + advanced)
    yield (GRAM, "single"), tokens * n * n
    if towards:
        yield (TARGET, "single"), 2 * tokens * dense.rows * n
    yield (INVERSE, "factor"), n**3
    yield (ELIMINATION, "factor"), 2 * n * (n + dense.rows) * (n - kept)
    yield (REFIT, "factor"), kept**3 / 3 + 2 * dense.rows * kept * (n + kept)
    yield (REFIT, "factor"), 4 * dense.rows * n * n


def _survey(job: Job, size: LayerSize, behind: int, measured: bool) -> Iterator[tuple[Step, float]]:
    """Both modules of a dense layer, and their probes' way through the layers behind it."""
    halves = _halves(job, size)
    for half in halves:
        n = half.columns
        yield (FORWARD, "half"), job.tokens * half.whole
        yield (GRAM, "single"), job.tokens * n * n
        yield (INVERSE, "factor"), n**3
        yield (ELIMINATION, "factor"), 2 / 3 * n**3 + half.rows * n * n
        if measured:
            yield (REFIT, "factor"), len(MEASURED) * (n**3 / 3 + 2 * half.rows * n * n)
    yield (READ, "disk"), _bytes(job, size)
    if not measured:
        return
    probes = len(halves) * len(MEASURED) * min(PROBES, job.samples) * min(PROBE_TOKENS, job.length)
    layer = sum(half.whole for half in halves)
    head = 2 * job.architecture.vocabulary * job.architecture.hidden
    yield (PROBE, "half"), probes * (behind * layer + head)


def _halves(job: Job, size: LayerSize) -> tuple[_Half, _Half]:
    """Attention and FFN (all experts of a token taken for one FFN) of a layer."""
    shapes, family = layout.layer(job.architecture, job.config, size), job.architecture.family
    counts = {
        name.removesuffix(".weight"): math.prod(shape)
        for name, shape in shapes.items()
        if len(shape) == 2
    }
    wide = sum(count for name, count in counts.items() if name in family.wide)
    first = sum(counts.values()) - wide - counts[family.output] - counts[family.down]
    heads, hidden = size.heads * job.architecture.head_dim, job.architecture.hidden
    return (
        _Half(first, hidden, heads, 2 * job.length * heads),
        _Half(wide, hidden, size.channels, 0),
    )


def _bytes(job: Job, size: LayerSize) -> int:
    shapes = layout.layer(job.architecture, job.config, size)
    return WIDTH * sum(map(math.prod, shapes.values()))

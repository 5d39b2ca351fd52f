"""`InputsCache`: a pruned layer is advanced from the inputs of its projections, on a CPU.

Pruning changes only the output projection of a half, not its inputs: what was computed for the
Hessian need not be computed again to advance the residual stream.

Names end in their shape: B batch, S sequence, D d_model, T tokens, I inputs (d_in), K kept columns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from torch import Tensor

from slimgpt.layers.block import Call, HalfPass, Step
from slimgpt.layers.stack import Stack
from slimgpt.methods.problem import Kind

RestOfHalf = Callable[[Tensor, Tensor, Call], Tensor]
CACHED_INPUTS = 2 << 30
"""On a CPU the inputs of a projection are kept until the layer advances if they take at most so
many bytes on all calibration tokens; otherwise they are computed again, as on a GPU, where that is
faster than copying them to host memory and back.
"""


class InputsCache:
    """Inputs of one projection on all batches, kept until the layer advances if they are few.

    Args:
        batches: residual stream, (B, S, D) each.
        columns: number of the projection's inputs, I.
    """

    def __init__(self, stack: Stack, batches: list[Tensor], kind: Kind, columns: int) -> None:
        self._keeps = can_keep(stack, batches, kind, columns)
        self._batches: deque[Tensor] = deque()

    def add(self, inputs: Tensor) -> None:
        """Keep the inputs of the next batch, (…, I)."""
        if self._keeps:
            self._batches.append(inputs)

    def watching(self, half: Callable[[Tensor, Call], HalfPass]) -> Callable[..., HalfPass]:
        """The same pass, which also keeps its inputs."""

        def watch(hidden_BSD: Tensor, call: Call) -> HalfPass:
            seen = half(hidden_BSD, call)
            self.add(seen.inputs)
            return seen

        return watch

    def step(self, half: Step, rest: RestOfHalf, kept_K: Tensor | None) -> Step:
        """The pruned half, for all batches in their order.

        Args:
            half: `Block.attend` or `Block.feed_forward`.
            rest: `Block.attend_from` or `Block.feed_forward_from`.
            kept_K: kept columns of the projection; None if the half was not pruned.
        """
        if kept_K is None or not self._batches:
            return half
        return from_inputs(lambda *_: self._batches.popleft(), kept_K, rest)


def from_inputs(inputs_of: Step, kept_K: Tensor, rest: RestOfHalf) -> Step:
    """The pruned half from the inputs of its projection.

    Args:
        inputs_of: inputs of the dense projection, (…, I).
        kept_K: its kept columns.
        rest: `Block.attend_from` or `Block.feed_forward_from`.
    """

    def step(hidden_BSD: Tensor, call: Call) -> Tensor:
        inputs_TK = inputs_of(hidden_BSD, call).flatten(0, -2)[:, kept_K]
        return rest(inputs_TK, hidden_BSD, call)

    return step


def can_keep(stack: Stack, batches: list[Tensor], kind: Kind, columns: int) -> bool:
    """Whether the inputs of a projection are kept until the layer advances.

    Never those of attention with a norm across all heads, which pruning changes.
    """
    if kind == "attention" and stack.architecture.family.span_norms:
        return False
    size = sum(batch[..., 0].numel() * batch.element_size() for batch in batches) * columns
    return stack.device.type == "cpu" and size <= CACHED_INPUTS

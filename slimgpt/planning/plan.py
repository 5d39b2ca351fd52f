"""The plan: heads and channels to keep in each layer, so that the parameter target is met.

The target is a share of all parameters to remove, a parameter count or a size in bytes. The free
parameter of the schedule is solved for so that the real-valued allocation meets the target. Heads
are rounded with their total preserved; FFN widths are scaled to remove the remaining parameters and
rounded (`planning.rounding`). Schedule `measured` is a knapsack over damage curves instead.

Imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.errors import SpecError, UnreachableTargetError
from slimgpt.planning import rounding, schedule, uniform
from slimgpt.planning.costs import Costs
from slimgpt.planning.damage import Damage, allocation
from slimgpt.spec.prune import PruneSpec
from slimgpt.spec.sizes import short_size

TOLERANCE = 0.002  # largest deviation, as a share of the target's parameters
MULTIPLES = (32, 16, 8, 4, 2, 1)
FINENESS = 32
"""Least width of the narrowest FFN, in channel multiples, for schedule `measured`."""


@dataclass(frozen=True)
class Plan:
    """The sizes of every layer and of the model.

    Attributes:
        before, after: sizes of the layers, dense and pruned.
        parameters_before, parameters_after: of the whole model, tied tensors counted once.
        channel_multiple: pruned FFN widths are multiples of this.
    """

    before: tuple[LayerSize, ...]
    after: tuple[LayerSize, ...]
    parameters_before: int
    parameters_after: int
    channel_multiple: int

    @property
    def ratio_achieved(self) -> float:
        """Share of all parameters that is removed."""
        return 1 - self.parameters_after / self.parameters_before


@dataclass(frozen=True)
class Allocation:
    """What a schedule or a method removes from each layer, before rounding.

    Attributes:
        heads: removal units of attention per layer (KV groups, or query heads of every group).
        channels: FFN channels per layer.
    """

    heads: tuple[float, ...]
    channels: tuple[float, ...]


def make(spec: PruneSpec, costs: Costs) -> Plan:
    """The plan of a schedule.

    For schedules `global` and `measured` it is provisional, because their layers' ratios depend on
    the calibration text: for `global` the uniform plan, for `measured` a plan by assumed curves,
    which reaches the same targets.

    Raises:
        UnreachableTargetError: no plan meets the target; names the nearest.
        SpecError: an explicit list of ratios does not fit the model.
    """
    if spec.schedule.shape == "measured":
        return measured(Damage.assumed(costs), spec, costs)
    curve = schedule.curve(spec.schedule, len(costs.layers))
    return fit(lambda x: _allocation(curve(x), costs), spec, costs)


def fit(allocate: Callable[[float], Allocation], spec: PruneSpec, costs: Costs) -> Plan:
    """The plan nearest to one of a family of allocations that meets the parameter target.

    Args:
        allocate: x in [0, 1] → allocation, which removes more parameters the larger x is.

    Raises:
        UnreachableTargetError: no plan meets the target; names the nearest.
    """
    target = target_of(spec, costs)
    multiples = _multiples(spec, costs)
    if spec.layers_alike:
        return _fit_uniform(target, multiples, spec, costs)
    plans = (_rounded(allocate, target, multiple, costs) for multiple in multiples)
    return _first_within(plans, target, spec)


def measured(damage: Damage, spec: PruneSpec, costs: Costs) -> Plan:
    """The plan of least damage that meets the parameter target (schedule `measured`).

    Raises:
        UnreachableTargetError: no plan meets the target; names the nearest.
        SpecError: the curves belong to another model, or the schedule is not `measured`.
    """
    if spec.schedule.shape != "measured":
        raise SpecError(
            f"damage curves go with schedule `measured`, not `{spec.schedule.shape}`",
            hint="leave the curves out, or the schedule",
        )
    damage.check(costs)
    target = target_of(spec, costs)
    remove = costs.parameters - target
    # A knapsack stays below its budget: the second budget finds a plan just above the target.
    budgets = (remove, remove + int(TOLERANCE * target)) if remove else (0,)
    plans = (
        _sized(allocation(damage, costs, budget, multiple), multiple, costs)
        for multiple, budget in product(_fine(_multiples(spec, costs), costs), budgets)
    )
    return _first_within(plans, target, spec)


def _first_within(plans: Iterable[Plan], target: int, spec: PruneSpec) -> Plan:
    """The first plan that meets the target within `TOLERANCE`.

    Raises:
        UnreachableTargetError: none does; names the nearest.
    """
    missed = []
    for plan in plans:
        if abs(plan.parameters_after - target) <= TOLERANCE * target:
            return plan
        missed.append(plan)
    raise _unreachable(spec, min(missed, key=lambda plan: abs(plan.parameters_after - target)))


def _fit_uniform(target: int, multiples: Sequence[int], spec: PruneSpec, costs: Costs) -> Plan:
    """The plan with layers of equal size that is nearest to the target.

    It may miss the target by up to one step of all layers: the smallest multiple of FFN channels.
    """
    plans, count = [], len(costs.layers)
    for reach in (1, costs.layers[0].units):  # prefer finer widths to other proportions of heads
        for multiple in multiples:
            for units, width in uniform.sizes(costs, target, multiple, reach):
                plan = _plan([units] * count, [width] * count, multiple, costs)
                if abs(plan.parameters_after - target) <= TOLERANCE * target:
                    return plan
                plans.append(plan)
    nearest = min(plans, key=lambda plan: abs(plan.parameters_after - target))
    if abs(nearest.parameters_after - target) <= uniform.step(costs, multiples[-1]):
        return nearest
    raise _unreachable(spec, nearest)


def _fine(multiples: tuple[int, ...], costs: Costs) -> tuple[int, ...]:
    """The multiples that are small enough for the narrowest FFN; else the smallest."""
    narrowest = min(layer.size.channels for layer in costs.layers)
    return tuple(one for one in multiples if one * FINENESS <= narrowest) or multiples[-1:]


def _multiples(spec: PruneSpec, costs: Costs) -> tuple[int, ...]:
    """Channel multiples to try, largest first.

    Raises:
        SpecError: the requested multiple is not a multiple of the least legal one.
    """
    least = costs.least_multiple
    if spec.channel_multiple is None:
        return tuple(multiple for multiple in MULTIPLES if multiple % least == 0) or (least,)
    if spec.channel_multiple % least:
        raise SpecError(
            f"channel_multiple {spec.channel_multiple}: with experts or tensor_parallel, the FFN "
            f"widths of this model must be multiples of {least}",
            hint=f"leave channel_multiple out, or use a multiple of {least}",
        )
    return (spec.channel_multiple,)


def target_of(spec: PruneSpec, costs: Costs) -> int:
    """Number of parameters of the whole model after pruning.

    Raises:
        UnreachableTargetError: the model is smaller than the target.
    """
    if spec.ratio is not None:
        return round(costs.parameters * (1 - spec.ratio))
    if spec.parameters is not None:
        target = spec.parameters
    else:
        assert spec.memory is not None, "a sweep is planned point by point"
        target = int(spec.memory / costs.bytes_per_parameter)
    if target > costs.parameters:
        size = round(costs.parameters * costs.bytes_per_parameter)
        raise UnreachableTargetError(
            f"{spec.target}: the model has only {costs.parameters:,} parameters, "
            f"{short_size(size)} of weights",
            hint="ask for less than that",
        )
    return target


def _unreachable(spec: PruneSpec, nearest: Plan) -> UnreachableTargetError:
    ways = ["that ratio"]
    if spec.schedule.shape not in ("uniform", "measured"):
        ways.append("schedule `uniform`, which reaches a little further")
    if spec.channel_multiple not in (None, 1):
        ways.append("a smaller channel_multiple")
    return UnreachableTargetError(
        f"{spec.target} cannot be met within {TOLERANCE:.1%} with schedule "
        f"`{spec.schedule.shape}`: the nearest plan removes {nearest.ratio_achieved:.4f} of the "
        "parameters",
        hint=f"ask for {', or '.join(ways)}",
    )


def _allocation(ratios: Sequence[float], costs: Costs) -> Allocation:
    """The allocation that removes the same ratio of heads and channels, by layer."""
    heads = tuple(r * layer.units for r, layer in zip(ratios, costs.layers, strict=True))
    channels = tuple(r * layer.size.channels for r, layer in zip(ratios, costs.layers, strict=True))
    return Allocation(heads, channels)


def _rounded(
    allocate: Callable[[float], Allocation], target: int, multiple: int, costs: Costs
) -> Plan:
    """The plan nearest to the allocation that meets the target, with widths in `multiple`s."""
    remove = costs.parameters - target
    if remove == 0:
        return _plan([0] * len(costs.layers), [x.size.channels for x in costs.layers], 1, costs)
    x = _bisect(lambda x: _continuous(allocate(x), multiple, costs) - remove)
    wanted = allocate(x)
    heads = rounding.heads(wanted.heads, costs)
    left = remove - sum(n * layer.unit for n, layer in zip(heads, costs.layers, strict=True))

    def cut(scale: float) -> list[float]:
        return [
            min(scale * c, layer.size.channels - layer.least_width(multiple))
            for c, layer in zip(wanted.channels, costs.layers, strict=True)
        ]

    def removed(scale: float) -> float:
        return sum(c * layer.channel for c, layer in zip(cut(scale), costs.layers, strict=True))

    scale = _bisect(lambda s: removed(s) - left, high=1e3)
    widths = rounding.ffn_widths(cut(scale), left, multiple, costs)
    return _plan(heads, widths, multiple, costs)


def _continuous(wanted: Allocation, multiple: int, costs: Costs) -> float:
    """Number of parameters that an allocation removes, limited to the smallest legal sizes."""
    total = 0.0
    for heads, channels, layer in zip(wanted.heads, wanted.channels, costs.layers, strict=True):
        total += min(heads, layer.units - 1) * layer.unit
        total += min(channels, layer.size.channels - layer.least_width(multiple)) * layer.channel
    return total


def _bisect(excess: Callable[[float], float], high: float = 1.0) -> float:
    """The root of an increasing function in [0, high] by bisection; an end if there is none."""
    low = 0.0
    for _ in range(200):
        middle = (low + high) / 2
        if excess(middle) < 0:
            low = middle
        else:
            high = middle
    return high


def _plan(heads: Sequence[int], widths: Sequence[int], multiple: int, costs: Costs) -> Plan:
    sizes = [layer.without(n, w) for n, w, layer in zip(heads, widths, costs.layers, strict=True)]
    return _sized(sizes, multiple, costs)


def _sized(sizes: Sequence[LayerSize], multiple: int, costs: Costs) -> Plan:
    removed = sum(layer.removed(size) for layer, size in zip(costs.layers, sizes, strict=True))
    return Plan(
        before=tuple(layer.size for layer in costs.layers),
        after=tuple(sizes),
        parameters_before=costs.parameters,
        parameters_after=costs.parameters - removed,
        channel_multiple=multiple,
    )

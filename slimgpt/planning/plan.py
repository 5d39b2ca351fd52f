"""The plan: heads and channels to keep in each layer, so that the parameter target is met.

The user gives the share of all the model's parameters to remove, or what shall be left. The
schedule's free number is solved for so that the share is met on paper, heads are rounded so that
their total is right, FFN widths take up what the heads left over, and single widths move until the
rest is gone. Imports neither torch nor transformers.
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

TOLERANCE = 0.002  # share of the target's parameters
MULTIPLES = (32, 16, 8, 4, 2, 1)
FINENESS = 32
"""Multiples that an FFN's width holds at least, by schedule `measured`."""


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
    """What a schedule or a method removes from each layer before rounding, real numbers.

    Attributes:
        heads: removal units of attention per layer (KV groups, or query heads of a group).
        channels: FFN channels per layer.
    """

    heads: tuple[float, ...]
    channels: tuple[float, ...]


def make(spec: PruneSpec, costs: Costs) -> Plan:
    """The plan of a schedule.

    The layers' own shares of schedules `global` and `measured` are known only once the dense model
    has been surveyed: for `global` this is the uniform plan, for `measured` one of the same reach,
    by curves that are assumed.

    Raises:
        UnreachableTargetError: no x meets the target; says what is reachable.
        SpecError: an explicit list of ratios does not fit the model.
    """
    if spec.schedule.shape == "measured":
        return measured(Damage.assumed(costs), spec, costs)
    curve = schedule.curve(spec.schedule, len(costs.layers))
    return fit(lambda x: _allocation(curve(x), costs), spec, costs)


def fit(allocate: Callable[[float], Allocation], spec: PruneSpec, costs: Costs) -> Plan:
    """The integer plan nearest to a family of allocations that meets the parameter target.

    Args:
        allocate: the allocation as a function of a number in [0, 1]; removes more as it grows.
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
        UnreachableTargetError: no plan meets the target; says what is reachable.
        SpecError: the curves are another model's, or the schedule is another.
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
    """Plan layers of equal size; one step of all layers bounds the distance to the target."""
    plans, count = [], len(costs.layers)
    for reach in (1, costs.layers[0].units):  # rather finer widths than heads out of proportion
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
    """The multiples of which the narrowest FFN holds enough, or the only ones that may be tried."""
    narrowest = min(layer.size.channels for layer in costs.layers)
    return tuple(one for one in multiples if one * FINENESS <= narrowest) or multiples[-1:]


def _multiples(spec: PruneSpec, costs: Costs) -> tuple[int, ...]:
    """Multiples of channels to try, coarse ones first.

    Raises:
        SpecError: the requested multiple is not a multiple of the least one.
    """
    least = costs.least_multiple
    if spec.channel_multiple is None:
        return tuple(multiple for multiple in MULTIPLES if multiple % least == 0) or (least,)
    if spec.channel_multiple % least:
        raise SpecError(
            f"channel_multiple {spec.channel_multiple}: experts that run together, and devices "
            f"that share a layer, take only widths that are multiples of {least}",
            hint=f"leave channel_multiple out, or use a multiple of {least}",
        )
    return (spec.channel_multiple,)


def target_of(spec: PruneSpec, costs: Costs) -> int:
    """Number of parameters of the whole model after pruning.

    Raises:
        UnreachableTargetError: the model is already smaller.
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
    heads = tuple(r * layer.units for r, layer in zip(ratios, costs.layers, strict=True))
    channels = tuple(r * layer.size.channels for r, layer in zip(ratios, costs.layers, strict=True))
    return Allocation(heads, channels)


def _rounded(
    allocate: Callable[[float], Allocation], target: int, multiple: int, costs: Costs
) -> Plan:
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
    """Number of parameters that an allocation removes, within each layer's least size."""
    total = 0.0
    for heads, channels, layer in zip(wanted.heads, wanted.channels, costs.layers, strict=True):
        total += min(heads, layer.units - 1) * layer.unit
        total += min(channels, layer.size.channels - layer.least_width(multiple)) * layer.channel
    return total


def _bisect(excess: Callable[[float], float], high: float = 1.0) -> float:
    """The root of an increasing function in [0, high], in double precision; else an end."""
    low = 0.0
    for _ in range(200):
        middle = (low + high) / 2
        if excess(middle) < 0:
            low = middle
        else:
            high = middle
    return high


def _plan(heads: Sequence[int], widths: Sequence[int], multiple: int, costs: Costs) -> Plan:
    sizes = [layer.left(n, w) for n, w, layer in zip(heads, widths, costs.layers, strict=True)]
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

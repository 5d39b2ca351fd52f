"""Rounding of real-valued allocations to whole heads and legal FFN widths."""

from __future__ import annotations

from collections.abc import Sequence

from slimgpt.planning.costs import Costs


def heads(wanted: Sequence[float], costs: Costs) -> list[int]:
    """Removal units of attention per layer, rounded by the largest-remainder method.

    Every layer keeps at least one unit; within that, the total is the rounded total of `wanted`.

    Args:
        wanted: real-valued number of units to remove from each layer.
    """
    capped = [min(w, layer.units - 1) for w, layer in zip(wanted, costs.layers, strict=True)]
    whole = [int(w) for w in capped]
    missing = round(sum(capped)) - sum(whole)
    by_fraction = sorted(range(len(whole)), key=lambda i: (whole[i] - capped[i], -i))
    for index in by_fraction[:missing]:
        whole[index] += 1
    return [min(n, layer.units - 1) for n, layer in zip(whole, costs.layers, strict=True)]


def ffn_widths(cut: Sequence[float], left: float, multiple: int, costs: Costs) -> list[int]:
    """Legal FFN widths near the wanted ones that together remove about `left` parameters.

    Every layer starts at the legal width above its wanted one. Layers then step down once, those
    furthest above their wanted width first, as long as the total comes nearer to `left`. Finally
    the best single steps, up or down, are made until none brings the total nearer.

    Args:
        cut: real-valued number of channels to remove from each layer.
        left: number of parameters to remove from all FFNs.
        multiple: legal widths are multiples of this.
    """
    wanted = [layer.size.channels - c for c, layer in zip(cut, costs.layers, strict=True)]
    widths = [layer.width_above(w, multiple) for w, layer in zip(wanted, costs.layers, strict=True)]
    order = sorted(range(len(widths)), key=lambda i: (wanted[i] - widths[i], -i))
    for index in order:
        _step(widths, [(index, -1)], left, multiple, costs)
    moves = [(index, direction) for direction in (-1, 1) for index in reversed(range(len(widths)))]
    while _step(widths, moves, left, multiple, costs):
        pass
    return widths


def _step(
    widths: list[int],
    moves: Sequence[tuple[int, int]],
    left: float,
    multiple: int,
    costs: Costs,
) -> bool:
    """Make the single step that brings the removed parameters nearest to `left`, if one does."""
    removed = sum(
        (layer.size.channels - w) * layer.channel
        for w, layer in zip(widths, costs.layers, strict=True)
    )
    best, gap = None, abs(removed - left)
    for index, direction in moves:
        layer = costs.layers[index]
        width = layer.next_width(widths[index], direction, multiple)
        moved = abs(removed + (widths[index] - width) * layer.channel - left)
        if moved < gap:
            best, gap = (index, width), moved
    if best is None:
        return False
    widths[best[0]] = best[1]
    return True

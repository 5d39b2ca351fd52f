"""`Damage`: what it costs to cut each module of a model to each of its levels, and the best plan.

Kept with a job, so that any other target is planned without a pass over the model. Imports neither
torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.errors import SpecError
from slimgpt.machine import disk
from slimgpt.planning import knapsack
from slimgpt.planning.costs import Costs, LayerCosts

FILE = "damage.json"


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class AttentionLevel(_Document):
    """Attention cut to so many heads, and what that costs: KL divergence in nats a token."""

    heads: int
    kv_heads: int
    damage: float


class FfnLevel(_Document):
    """An FFN cut to so many channels, and what that costs: KL divergence in nats a token."""

    channels: int
    damage: float


class LayerDamage(_Document):
    """The curves of one layer; the first level of each is the dense one and costs nothing."""

    attention: list[AttentionLevel] = Field(min_length=1)
    ffn: list[FfnLevel] = Field(min_length=1)


class Damage(_Document):
    """The curves of all modules.

    `measured_tokens`: on how many tokens the output was compared with the dense one.
    """

    schema_version: Literal[1] = 1
    unit: str = "KL divergence of the output, nats a token"
    measured_tokens: int = Field(ge=1)
    layers: list[LayerDamage]

    def save(self, folder: Path) -> None:
        """Write `damage.json`.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        disk.write_text(folder / FILE, self.model_dump_json() + "\n")

    @classmethod
    def read(cls, file: Path) -> Damage:
        """The curves of an earlier job.

        Raises:
            SpecError: the file cannot be read, or is no `damage.json`.
        """
        try:
            return cls.model_validate_json(file.read_bytes())
        except (OSError, ValueError) as error:
            raise SpecError(
                f"{file} holds no damage curves: {str(error).splitlines()[0]}",
                hint=f"use the {FILE} that a job with schedule `measured` has published",
            ) from error

    def check(self, costs: Costs) -> None:
        """Refuse the curves of another model.

        Raises:
            SpecError: the model has other layers.
        """
        sizes = [
            LayerSize(one.attention[0].heads, one.attention[0].kv_heads, one.ffn[0].channels)
            for one in self.layers
        ]
        if sizes != [layer.size for layer in costs.layers]:
            raise SpecError(
                "the damage curves were measured on a model of other sizes",
                hint="measure this model: run a job with schedule `measured`",
            )

    @classmethod
    def load(cls, folder: Path) -> Damage | None:
        """The folder's curves, if it holds whole ones."""
        try:
            return cls.model_validate_json((folder / FILE).read_bytes())
        except (OSError, ValueError):
            return None


def allocation(damage: Damage, costs: Costs, remove: int, multiple: int) -> list[LayerSize]:
    """The sizes of all layers at which the damages add up to the least.

    Args:
        remove: parameters.
        multiple: of FFN widths that are cut.
    """
    options = []
    for layer, curves in zip(costs.layers, damage.layers, strict=True):
        options += [_attention(layer, curves), _ffn(layer, curves, multiple)]
    picks = knapsack.solve(
        [[cost for _, cost, _ in levels] for levels in options],
        [[loss for _, _, loss in levels] for levels in options],
        remove,
    )
    chosen = [levels[pick][0] for levels, pick in zip(options, picks, strict=True)]
    return [
        LayerSize(heads.heads, heads.kv_heads, width.channels)
        for heads, width in zip(chosen[0::2], chosen[1::2], strict=True)
    ]


_Options = Sequence[tuple[LayerSize, int, float]]  # size, parameters removed, damage


def _attention(layer: LayerCosts, curves: LayerDamage) -> _Options:
    sizes = [LayerSize(one.heads, one.kv_heads, layer.size.channels) for one in curves.attention]
    return [
        (size, layer.removed(size), one.damage)
        for size, one in zip(sizes, curves.attention, strict=True)
    ]


def _ffn(layer: LayerCosts, curves: LayerDamage, multiple: int) -> _Options:
    """Every legal width, its damage interpolated between those of the curve."""
    full = layer.size.channels
    legal = range(layer.least_width(multiple), full, multiple)
    widths = [full, *reversed(legal)]
    known = sorted((one.channels, one.damage) for one in curves.ffn)
    losses = np.interp(widths, [width for width, _ in known], [loss for _, loss in known])
    sizes = [LayerSize(layer.size.heads, layer.size.kv_heads, width) for width in widths]
    return [
        (size, layer.removed(size), float(loss)) for size, loss in zip(sizes, losses, strict=True)
    ]

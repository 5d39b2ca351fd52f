"""`Damage`: the damage curves of a model's modules, and the allocation with the least damage.

A module is the attention or the FFN of a layer. The curves are saved with a job, so that other
targets can be planned without measuring again. Imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slimgpt.checkpoints.families.architecture import LayerSize
from slimgpt.errors import ResumeError, SpecError
from slimgpt.planning import knapsack
from slimgpt.planning.costs import Costs, LayerCosts

FILE = "damage.json"
Loss = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class AttentionLevel(_Document):
    """Attention pruned to `heads` and `kv_heads`; `damage`: KL divergence, nats per token."""

    heads: int
    kv_heads: int
    damage: Loss


class FfnLevel(_Document):
    """An FFN pruned to `channels`; `damage`: KL divergence, nats per token."""

    channels: int = Field(ge=1)
    damage: Loss


class LayerDamage(_Document):
    """The curves of one layer; the first level of each is the dense module, with damage 0."""

    attention: list[AttentionLevel] = Field(min_length=1)
    ffn: list[FfnLevel] = Field(min_length=1)


class Damage(_Document):
    """The curves of all modules: the content of `damage.json`.

    `measured_tokens`: number of tokens on which outputs were compared with the dense model's.
    `job`: fingerprint of the job that may resume with them; only in the working folder.
    """

    schema_version: Literal[1] = 1
    unit: str = "KL divergence of the output, nats a token"
    measured_tokens: int = Field(ge=1)
    layers: list[LayerDamage]
    job: str | None = None

    def save(self, folder: Path) -> None:
        """Write `damage.json`.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        from slimgpt.machine import disk  # needs safetensors, which the API's image lacks

        disk.write_text(folder / FILE, self.model_dump_json(exclude_none=True) + "\n")

    @classmethod
    def read(cls, file: Path) -> Damage:
        """Read the curves of an earlier job.

        Raises:
            SpecError: the file cannot be read, or is not a `damage.json`.
        """
        try:
            return cls.model_validate_json(file.read_bytes())
        except (OSError, ValueError) as error:
            raise SpecError(
                f"{file} holds no damage curves: {_reason(error)}",
                hint=f"use the {FILE} that a job with schedule `measured` has published",
            ) from error

    def check(self, costs: Costs) -> None:
        """Check that the curves belong to this model and to its removal units.

        Raises:
            SpecError: they were measured on other layer sizes or with other levels of attention, or
                the widths of an FFN are not in descending order.
        """
        sizes = [
            LayerSize(one.attention[0].heads, one.attention[0].kv_heads, one.ffn[0].channels)
            for one in self.layers
        ]
        if sizes != [layer.size for layer in costs.layers]:
            raise SpecError(
                "the damage curves were measured on a model with other layer sizes",
                hint="measure this model: run a job with schedule `measured`",
            )
        for one, layer in zip(self.layers, costs.layers, strict=True):
            own = [(level.heads, level.kv_heads) for level in one.attention]
            widths = [level.channels for level in one.ffn]
            if own != [(level.heads, level.kv_heads) for level in layer.attention_levels()]:
                raise SpecError(
                    "the damage curves were measured with another head_unit or tensor_parallel",
                    hint="give that of the job that has published them",
                )
            if widths != sorted(set(widths), reverse=True):
                raise SpecError(
                    "the damage curves of an FFN do not go from wide to narrow",
                    hint=f"use the {FILE} that a job has published, as it is",
                )

    @classmethod
    def load(cls, folder: Path, job: str) -> Damage | None:
        """The curves in a job's working folder; None if there are none or the file is incomplete.

        Args:
            job: the job's fingerprint.

        Raises:
            ResumeError: they belong to another job.
        """
        try:
            found = cls.model_validate_json((folder / FILE).read_bytes())
        except (OSError, ValueError):
            return None
        if found.job != job:
            raise ResumeError(
                f"{folder / FILE} was measured by another job (another model, specification or "
                "calibration text)",
                hint="choose another working folder, or remove this one",
            )
        return found

    @classmethod
    def assumed(cls, costs: Costs) -> Damage:
        """Placeholder curves for plans before the measurement: convex, by one formula for all.

        The legal sizes, and so the reachable targets, are those of measured curves.
        """
        layers = []
        for layer in costs.layers:
            dense = layer.size
            attention = [
                AttentionLevel(
                    heads=size.heads, kv_heads=size.kv_heads, damage=_assumed(layer, size)
                )
                for size in layer.attention_levels()
            ]
            widths = range(1, dense.channels, 1 + dense.channels // 64)
            ffn = [
                FfnLevel(
                    channels=width,
                    damage=_assumed(layer, LayerSize(dense.heads, dense.kv_heads, width)),
                )
                for width in (dense.channels, *reversed(widths))
            ]
            layers.append(LayerDamage(attention=attention, ffn=ffn))
        return cls(measured_tokens=1, layers=layers)


def allocation(damage: Damage, costs: Costs, remove: int, multiple: int) -> list[LayerSize]:
    """The sizes of all layers with the least sum of damages: a multiple-choice knapsack.

    Args:
        damage: curves that `Damage.check` accepts for these costs.
        remove: number of parameters to remove.
        multiple: pruned FFN widths are multiples of this.
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


def _assumed(layer: LayerCosts, size: LayerSize) -> float:
    """(removed parameters)² / (parameters of the module), for a size that prunes one module."""
    removed = layer.removed(size)
    is_attention = size.channels == layer.size.channels
    none = LayerSize(0, 0, size.channels) if is_attention else replace(size, channels=0)
    return removed**2 / max(1, layer.removed(none))


def _reason(error: Exception) -> str:
    """The error of reading a file, in one line."""
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}"
    return str(error).splitlines()[0]


_Options = Sequence[tuple[LayerSize, int, float]]  # size, parameters removed, damage


def _attention(layer: LayerCosts, curves: LayerDamage) -> _Options:
    """Every level of the curve."""
    sizes = [LayerSize(one.heads, one.kv_heads, layer.size.channels) for one in curves.attention]
    return [
        (size, layer.removed(size), one.damage)
        for size, one in zip(sizes, curves.attention, strict=True)
    ]


def _ffn(layer: LayerCosts, curves: LayerDamage, multiple: int) -> _Options:
    """Every legal width, with its damage interpolated from the curve."""
    full = layer.size.channels
    legal = range(layer.least_width(multiple), full, multiple)
    widths = [full, *reversed(legal)]
    known = sorted((one.channels, one.damage) for one in curves.ffn)
    losses = np.interp(widths, [width for width, _ in known], [loss for _, loss in known])
    sizes = [LayerSize(layer.size.heads, layer.size.kv_heads, width) for width in widths]
    return [
        (size, layer.removed(size), float(loss)) for size, loss in zip(sizes, losses, strict=True)
    ]

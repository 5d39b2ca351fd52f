"""Options of a pruning job, and the specification made from them.

Options not given are omitted, so the specification's defaults apply.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options.evaluation import Evaluation
from cli.options.groups import Fields, Names, given, option
from cli.options.recovery import Recovery
from cli.options.specification import SHAPES, read_ratios
from slimgpt.spec.prune import (
    DEFAULT_SHAPES,
    CalibrationSpec,
    GgufType,
    HeadScore,
    HeadUnit,
    Method,
    PruneSpec,
    Recipe,
)

DEFAULTS = PruneSpec.model_construct(model="", ratio=0.0)
CALIBRATION = CalibrationSpec()
GgufPrecision = Annotated[
    GgufType | None,
    option(
        "--gguf-type",
        "Precision of a GGUF file's matrices: f32, f16, bf16 or q8_0.",
        "the model's own",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The pruning schedule."""

    shape: Annotated[
        str | None,
        option(
            "--schedule",
            "How the ratio grows with depth: log, linear, uniform, log-decrease, "
            "linear-decrease, global (FLAP's), measured (by what each cut costs the model's "
            "output), or a file with one ratio per layer, as a JSON list or one per line.",
            "the recipe's or the method's own",
        ),
    ] = None
    first_ratio: Annotated[
        float | None, option("--first-ratio", "Ratio of the first layer.", "a quarter of the last")
    ] = None
    last_ratio: Annotated[
        float | None, option("--last-ratio", "Ratio of the last layer; instead of --first-ratio.")
    ] = None

    def fields(self, method: str | None = None, base: Any = None) -> Fields:
        """The part of a specification: a shape, or a file's ratios.

        Args:
            method: gives the default shape.
            base: this part in the file of `--spec`.

        Raises:
            typer.BadParameter: the file cannot be read or contains other things than numbers.
        """
        if not given(self):
            return {}
        ends = {"first_ratio": self.first_ratio, "last_ratio": self.last_ratio}
        if self.shape is None:
            own = {"shape": DEFAULT_SHAPES.get(method or DEFAULTS.method, "log")}
            return ends if isinstance(base, dict) and "shape" in base else own | ends
        if self.shape not in SHAPES and Path(self.shape).is_file():
            return {"shape": "explicit", "ratios": read_ratios(Path(self.shape)), **ends}
        if self.shape not in SHAPES:
            raise typer.BadParameter(
                f"{self.shape!r} is none of {', '.join(SHAPES)}, and there is no such file of "
                "ratios",
                param_hint="--schedule",
            )
        return {"shape": self.shape, "ratios": None, **ends}


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Amount of calibration text."""

    samples: Annotated[
        int | None, option("--samples", "Number of calibration sequences.", CALIBRATION.samples)
    ] = None
    sequence_length: Annotated[
        int | None,
        option("--seq-len", "Tokens in a calibration sequence.", CALIBRATION.sequence_length),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Calibration(Sequences):
    """The calibration text."""

    source: Annotated[
        str | None,
        option(
            "--calibration",
            "Text to calibrate on: c4, alpaca, gpt4-alpaca, wikitext2, hf:NAME, or a file (JSON "
            "lines or array, CSV, TSV, Parquet, plain text).",
            CALIBRATION.source,
        ),
    ] = None
    config: Annotated[
        str | None, option("--calibration-config", "Configuration of an hf: data set.")
    ] = None
    split: Annotated[
        str | None, option("--calibration-split", "Split of an hf: data set.", CALIBRATION.split)
    ] = None
    text_field: Annotated[
        str | None, option("--text-field", "Field that contains the text.", "found automatically")
    ] = None
    seed: Annotated[
        int | None, option("--seed", "Seed of the calibration samples.", CALIBRATION.seed)
    ] = None


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Options that determine the pruned sizes and the memory needed."""

    ratios: Annotated[
        list[float] | None,
        option(
            "--ratio",
            "Share of all parameters to remove, 0 ≤ ratio < 1; if given several times, "
            "each makes a model of its own, and they are compared.",
        ),
    ] = None
    parameters: Annotated[
        str | None, option("--parameters", "Instead of --ratio: parameters to leave, such as 5.4B.")
    ] = None
    memory: Annotated[
        str | None,
        option("--memory", "Instead of --ratio: bytes of weights to leave, such as 10GiB."),
    ] = None
    schedule: Schedule
    method: Annotated[
        Method | None,
        option(
            "--method", "What chooses the weights to remove and corrects the rest.", DEFAULTS.method
        ),
    ] = None
    recipe: Annotated[
        Recipe | None,
        option(
            "--recipe",
            "Settings that go together: paper, the published method; measured, sizes by measured "
            "damage and weights fitted towards the dense model.",
            "measured, unless --schedule, --format uniform or another --method is given",
        ),
    ] = None
    head_unit: Annotated[
        HeadUnit | None,
        option(
            "--head-unit",
            "What is removed together: a KV head with its query heads, the same number of query "
            "heads in every group, or mixed: both, as schedule measured finds best.",
            "the recipe's, else kv_group",
        ),
    ] = None
    channel_multiple: Annotated[
        int | None,
        option(
            "--channel-multiple",
            "FFN widths are multiples of this.",
            "the largest of 32, 16, 8, 4, 2, 1 that meets the ratio",
        ),
    ] = None
    tensor_parallel: Annotated[
        int | None,
        option(
            "--tensor-parallel",
            "Heads, KV heads and FFN widths of every layer divide by this number of "
            "devices: 1, 2, 4, 8, 16 or 32.",
            DEFAULTS.tensor_parallel,
        ),
    ] = None
    formats: Annotated[
        list[str] | None,
        option(
            "--format",
            "Publish this format, too: padded, gguf, or uniform, which replaces exact unless "
            "exact is given as well; may be given several times.",
            "exact alone",
        ),
    ] = None
    gguf_type: GgufPrecision = None
    calibration: Sequences

    def fields(self, names: Names | None = None, base: Fields | None = None) -> Fields:
        """The fields of a specification; None removes a field of the `--spec` file.

        Args:
            names: of texts and folders, in the engine's vocabulary; others are unchanged.
            base: the file of `--spec`, which the options override.

        Raises:
            typer.BadParameter: options contradict each other, or a file cannot be used.
        """
        fields = given(self)
        ratios = fields.pop("ratios", [])
        if ratios or "parameters" in fields or "memory" in fields:
            one = ratios[0] if len(ratios) == 1 else None
            targets = {"ratio": one, "ratios": ratios if len(ratios) > 1 else None}
            fields = targets | {"parameters": None, "memory": None} | fields
        parts = self._parts(names or {}, base or {})
        return fields | {name: part for name, part in parts.items() if part}

    def _parts(self, names: Names, base: Fields) -> Fields:
        calibration = given(self.calibration)
        if "source" in calibration:
            calibration["source"] = names.get(calibration["source"], calibration["source"])
        schedule = self.schedule.fields(self.method or base.get("method"), base.get("schedule"))
        return {"schedule": schedule, "calibration": calibration}


@dataclass(frozen=True, kw_only=True)
class Job(PlanOptions):
    """All options of a pruning job."""

    head_score: Annotated[
        HeadScore | None,
        option("--head-score", "Score by which heads are removed.", "the recipe's, else exact"),
    ] = None
    group_size: Annotated[
        str | None,
        option(
            "--group-size",
            "Channels removed between two scorings: dynamic or a number.",
            DEFAULTS.group_size,
        ),
    ] = None
    residual_target: Annotated[
        float | None,
        option(
            "--residual-target",
            "Share of the way from the pruned model's residual stream to the dense one's that the "
            "kept weights are fitted to make up for, 0 to 1.",
            "the recipe's, else 0",
        ),
    ] = None
    damping: Annotated[
        float | None,
        option(
            "--damping",
            "Added to the Hessian's diagonal, as a share of its mean.",
            DEFAULTS.damping,
        ),
    ] = None
    devices: Annotated[
        int | None,
        option(
            "--devices",
            "GPUs that compute together, each on a share of the calibration and evaluation text.",
            DEFAULTS.devices,
        ),
    ] = None
    calibration: Calibration
    evaluation: Evaluation
    recovery: Recovery

    @property
    def texts(self) -> list[str]:
        """The given texts: names, or files of this machine."""
        sources = (self.calibration.source, self.recovery.source)
        return [*filter(None, sources), *self.evaluation.measured]

    def _parts(self, names: Names, base: Fields) -> Fields:
        parts = super()._parts(names, base)
        if self.evaluation.bos is not None:
            parts["calibration"] |= {"bos": self.evaluation.bos}
        return parts | {
            "evaluation": self.evaluation.fields(names, base.get("evaluation")),
            "recovery": self.recovery.fields(names, base.get("recovery")),
        }

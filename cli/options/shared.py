"""Options that engine commands share, and the specification's own defaults for them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from slimgpt.spec.prune import Bos, GgufType, HeadScore, HeadUnit, Method, PruneSpec

Fields = dict[str, Any]
# An option that is not given means what a job means that does not say it.
DEFAULTS = PruneSpec.model_construct(model="", ratio=0.0)

Json = Annotated[bool, typer.Option("--json", help="Write JSON and nothing else to stdout.")]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="Folder of the model, or org/name[@revision].")
]
Ratios = Annotated[
    list[float] | None,
    typer.Option(
        "--ratio",
        help="Share of all parameters to remove, 0 ≤ ratio < 1; given several times, each makes a "
        "model of its own, and they are compared.",
    ),
]
Parameters = Annotated[
    str | None, typer.Option(help="Instead of --ratio: parameters to leave, such as 5.4B.")
]
Memory = Annotated[
    str | None, typer.Option(help="Instead of --ratio: bytes of weights to leave, such as 10GiB.")
]
Schedule = Annotated[
    str | None,
    typer.Option(
        help="How the ratio grows with depth: log, linear, uniform, log-decrease, "
        "linear-decrease, global (FLAP's), or a file with one ratio a layer, as a JSON list or "
        "one a line.  [default: the method's own, log for slimgpt]"
    ),
]
FirstRatio = Annotated[
    float | None, typer.Option(help="Ratio of the first layer.  [default: a quarter of the last]")
]
LastRatio = Annotated[
    float | None, typer.Option(help="Ratio of the last layer; instead of --first-ratio.")
]
Calibration = Annotated[
    str,
    typer.Option(
        help="Text to calibrate on: c4, alpaca, gpt4-alpaca, wikitext2, hf:NAME, or a file "
        "(JSON lines or array, CSV, TSV, Parquet, plain text)."
    ),
]
CalibrationConfig = Annotated[str | None, typer.Option(help="Configuration of an hf: data set.")]
CalibrationSplit = Annotated[str, typer.Option(help="Split of an hf: data set.")]
TextField = Annotated[
    str | None, typer.Option(help="Field that holds the text; found by itself if not said.")
]
Samples = Annotated[int, typer.Option(help="Number of calibration sequences.")]
SequenceLength = Annotated[int, typer.Option(help="Tokens in a calibration sequence.")]
Seed = Annotated[int, typer.Option(help="Seed of the calibration samples.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
PruningMethod = Annotated[Method, typer.Option(help="What chooses and repairs.")]
Score = Annotated[HeadScore, typer.Option(help="Score by which heads leave.")]
Unit = Annotated[
    HeadUnit,
    typer.Option(
        help="What leaves together: a KV head with its query heads, or the same number of query "
        "heads in every group."
    ),
]
GroupSize = Annotated[
    str, typer.Option(help="Channels removed between two scorings: dynamic or a number.")
]
ChannelMultiple = Annotated[
    int | None,
    typer.Option(
        help="FFN widths are multiples of this.  [default: the largest of 32, 16, 8, 4, 2, 1 that "
        "meets the ratio]"
    ),
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        help="Publish this format, too: uniform, padded or gguf; may be given several times.  "
        "[default: exact alone]",
    ),
]
TensorParallel = Annotated[
    int | None,
    typer.Option(
        help="Heads, KV heads and FFN widths of every layer divide by this number of devices: 1, "
        "2, 4, 8, 16 or 32.  [default: 1]"
    ),
]
GgufPrecision = Annotated[
    GgufType | None,
    typer.Option(
        "--gguf-type",
        help="Precision of a GGUF file's matrices: f32, f16, bf16 or q8_0.  [default: the model's "
        "own]",
    ),
]
Damping = Annotated[
    float, typer.Option(help="Added to the Hessian's diagonal, as a share of its mean.")
]
EvaluationTexts = Annotated[
    list[str] | None,
    typer.Option(
        help="Text to measure perplexity on: wikitext2, c4, hf:NAME, a file, held-out (what "
        "calibration did not use), or none; may be given several times.  [default: held-out]"
    ),
]
EvaluationLengths = Annotated[
    list[int] | None,
    typer.Option(help="Tokens in a window of it; may be given several times.  [default: 128]"),
]
MaxTokens = Annotated[
    int | None,
    typer.Option(help="Use only so many tokens of each evaluation text.  [default: all]"),
]
Begin = Annotated[
    Bos | None,
    typer.Option(
        "--bos",
        help="What every window begins with, of calibration and evaluation: tokenizer, what the "
        "tokenizer puts before a text; none, windows as papers cut them for Llama.  [default: "
        "tokenizer]",
    ),
]
Timing = Annotated[
    bool, typer.Option("--timing", help="Time generation, dense and pruned model in turn.")
]
TimingBatches = Annotated[
    list[int] | None,
    typer.Option(help="Sequences at once; may be given several times.  [default: 1 and 8]"),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on from the last finished layer in OUT.work.")
]


def begin(bos: Bos | None) -> Fields:
    """What calibration and evaluation are told of a window's first token."""
    return {} if bos is None else {"bos": bos}


def loading(formats: list[str] | None, gguf_type: str | None, parallel: int | None) -> Fields:
    """What a specification is told of formats and loaders; what was not given is left out."""
    given = {"formats": formats or None, "gguf_type": gguf_type, "tensor_parallel": parallel}
    return {name: value for name, value in given.items() if value is not None}


def targets(ratios: list[float] | None) -> dict[str, Any]:
    """What a specification is told of ratios: one is a target, several are a sweep."""
    if ratios and len(ratios) > 1:
        return {"ratio": None, "ratios": ratios}
    return {"ratio": ratios[0] if ratios else None, "ratios": None}


def inference_part(timing: bool, batches: list[int] | None) -> dict[str, Any] | None:
    """What the evaluation is told of timing; None where none is asked for.

    Raises:
        typer.BadParameter: batch sizes without timing.
    """
    if batches and not timing:
        raise typer.BadParameter("ask for --timing as well", param_hint="--timing-batch")
    return ({"batch_sizes": batches} if batches else {}) if timing else None

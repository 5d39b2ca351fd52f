"""Recovery options, and the `recovery` part of the specification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from slimgpt.spec.prune import RecoverySpec

DEFAULTS = RecoverySpec()
SOURCES = "alpaca, gpt4-alpaca, c4, wikitext2, hf:NAME, or a file with rows of instruction and "

Recover = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help=f"Train adapters on TEXT after pruning and merge them: {SOURCES}output, of messages, "
        "or of text.  [default: no recovery]",
    ),
]
Kind = Literal["lora", "distillation"]
KINDS = (
    "lora: learn the answers; distillation: learn a dense model's distribution over them.  "
    "[default: lora]"
)
ROWS = "Rows to learn from; one of plain text may fill several sequences.  [default: all]"
CUT = f"Tokens at which rows are cut.  [default: {DEFAULTS.sequence_length}]"
Method = Annotated[Kind | None, typer.Option(help=KINDS)]
Samples = Annotated[int | None, typer.Option(help=ROWS)]
SequenceLength = Annotated[int | None, typer.Option(help=CUT)]
Epochs = Annotated[
    float | None, typer.Option(help=f"Passes over the rows.  [default: {DEFAULTS.epochs:g}]")
]
LearningRate = Annotated[
    float | None,
    typer.Option(help=f"Of AdamW, at the start.  [default: {DEFAULTS.learning_rate:g}]"),
]
BatchSize = Annotated[
    int | None,
    typer.Option(help=f"Rows a step, through accumulation.  [default: {DEFAULTS.batch_size}]"),
]
Rank = Annotated[int | None, typer.Option(help=f"Of the adapters.  [default: {DEFAULTS.rank}]")]
PublishRecovered = Annotated[
    bool,
    typer.Option(
        "--publish-recovered",
        help="Publish the recovered model even where held-out text says that it is worse.",
    ),
]


OPTIONS = {
    "recover_method": "method",
    "recover_samples": "samples",
    "recover_seq_len": "sequence_length",
    "epochs": "epochs",
    "learning_rate": "learning_rate",
    "batch_size": "batch_size",
    "lora_rank": "rank",
}


def fields_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recovery among a command's options, those that were given.

    Args:
        options: values of the command's parameters by their names.
    """
    given = {
        field: options[option] for option, field in OPTIONS.items() if options[option] is not None
    }
    return given | ({"publish": "recovered"} if options["publish_recovered"] else {})


def part(source: str | None, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """The recovery's part of a specification; None where none is asked for.

    Args:
        source: in the engine's vocabulary.

    Raises:
        typer.BadParameter: an option of a recovery without a recovery.
    """
    if source is None and fields:
        raise typer.BadParameter(
            f"{', '.join(fields)} belong to a recovery: ask for one with --recover TEXT",
            param_hint="--recover",
        )
    return None if source is None else {"source": source, **fields}

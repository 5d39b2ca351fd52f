"""Recovery options, and the `recovery` part of the specification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from cli.options.groups import Fields, Names, given, option, option_names
from slimgpt.spec.recovery import Method, RecoverySpec, Weights

DEFAULTS = RecoverySpec()
SOURCES = (
    "alpaca, gpt4-alpaca, c4, wikitext2, hf:NAME, or a file with rows of instruction and output, "
    "of messages, or of text."
)
KINDS = (
    "lora: learn the answers; distillation: learn a dense model's distribution over them.  "
    f"[default: {DEFAULTS.method}]"
)
LIMIT = (
    "Minutes for the recovery: as many steps as fit, and the learning rate falls to their end.  "
    "[default: no limit]"
)
LEARNING = (
    "What learns: adapters of low rank, or all weights of the decoder layers.  "
    f"[default: {DEFAULTS.weights}]"
)
ROWS = "Rows to learn from; one of plain text may fill several sequences.  [default: all]"
CUT = f"Tokens at which rows are cut.  [default: {DEFAULTS.sequence_length}]"


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """Whether and how a pruned model is trained again."""

    source: Annotated[
        str | None,
        option(
            "--recover",
            f"Train on TEXT after pruning: {SOURCES}",
            "no recovery",
            metavar="TEXT",
        ),
    ] = None
    method: Annotated[Method | None, option("--recover-method", KINDS)] = None
    samples: Annotated[int | None, option("--recover-samples", ROWS)] = None
    sequence_length: Annotated[int | None, option("--recover-seq-len", CUT)] = None
    minutes: Annotated[float | None, option("--recover-minutes", LIMIT)] = None
    epochs: Annotated[
        float | None,
        option("--epochs", "Passes over the rows at most.", "1, and 4 within minutes"),
    ] = None
    learning_rate: Annotated[
        float | None,
        option("--learning-rate", "Of AdamW, at the start.", "a short probe chooses"),
    ] = None
    batch_size: Annotated[
        int | None,
        option(
            "--batch-size",
            "Rows per step, through accumulation.",
            "64, and within minutes 4 to 64 so that 256 steps fit",
        ),
    ] = None
    weights: Annotated[Weights | None, option("--recover-weights", LEARNING)] = None
    rank: Annotated[int | None, option("--lora-rank", "Of the adapters.", DEFAULTS.rank)] = None
    publish: Annotated[
        bool,
        option(
            "--publish-recovered",
            "Publish the recovered model even where held-out text says that it is worse.",
        ),
    ] = False

    def fields(self, names: Names, base: Any = None) -> Fields:
        """The part of a specification.

        Args:
            names: of texts, in the engine's vocabulary.
            base: what a file of `--spec` says of recovery.

        Raises:
            typer.BadParameter: an option of a recovery without a recovery.
        """
        fields = given(self)
        if fields and self.source is None and base is None:
            options = option_names(type(self))
            raise typer.BadParameter(
                f"only a recovery uses {', '.join(options[name,] for name in fields)}: ask for one "
                "with --recover TEXT",
                param_hint="--recover",
            )
        if self.source is not None:
            fields["source"] = names.get(self.source, self.source)
        return fields | ({"publish": "recovered"} if self.publish else {})

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
    "lora: train on the answers; distillation: on a dense model's distribution over them.  "
    f"[default: {DEFAULTS.method}]"
)
LIMIT = (
    "Time limit in minutes: as many steps as fit, with the learning rate decaying to zero.  "
    "[default: no limit]"
)
LEARNING = (
    "Trained weights: LoRA adapters, or all weights of the decoder layers.  "
    f"[default: {DEFAULTS.weights}]"
)
ROWS = "Training rows; a row of plain text may give several sequences.  [default: all]"
CUT = f"Maximum tokens of a sequence.  [default: {DEFAULTS.sequence_length}]"


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """Training after pruning."""

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
        option("--epochs", "Maximum epochs over the rows.", "1, and 4 within minutes"),
    ] = None
    learning_rate: Annotated[
        float | None,
        option("--learning-rate", "AdamW's peak learning rate.", "chosen by a short probe"),
    ] = None
    batch_size: Annotated[
        int | None,
        option(
            "--batch-size",
            "Sequences per step, by gradient accumulation.",
            "64, and within minutes 4 to 64 so that 256 steps fit",
        ),
    ] = None
    weights: Annotated[Weights | None, option("--recover-weights", LEARNING)] = None
    rank: Annotated[int | None, option("--lora-rank", "Adapters' rank.", DEFAULTS.rank)] = None
    publish: Annotated[
        bool,
        option(
            "--publish-recovered",
            "Publish the recovered model even if it is worse on held-out text.",
        ),
    ] = False

    def fields(self, names: Names, base: Any = None) -> Fields:
        """The part of a specification.

        Args:
            names: of texts, in the engine's vocabulary.
            base: this part in the file of `--spec`.

        Raises:
            typer.BadParameter: a recovery option without a recovery.
        """
        fields = given(self)
        if fields and self.source is None and base is None:
            options = option_names(type(self))
            raise typer.BadParameter(
                f"{', '.join(options[name,] for name in fields)} apply to a recovery only: add "
                "--recover TEXT",
                param_hint="--recover",
            )
        if self.source is not None:
            fields["source"] = names.get(self.source, self.source)
        return fields | ({"publish": "recovered"} if self.publish else {})

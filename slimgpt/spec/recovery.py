"""`RecoverySpec`: LoRA or distillation after pruning.

Imports neither torch nor transformers.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from slimgpt.spec.names import MAX_COUNT, Spec, model_name, text_source

Method = Literal["lora", "distillation"]
Weights = Literal["adapters", "layers"]


class RecoverySpec(Spec):
    """How the pruned model learns again (ALGORITHM 8).

    The defaults are the paper's (section 4.1), except that a probe chooses the learning rate (the
    paper's is 1e-4); rank, alpha and dropout are those of LLM-Pruner, which the paper follows.
    """

    method: Method = Field(
        "lora",
        description="`lora` learns the answers; `distillation` learns the dense model's "
        "distribution over them, which is written to disk before.",
    )
    source: str = Field(
        "alpaca",
        max_length=256,
        description="Rows with `instruction` and `output`, with `messages`, or with text.",
        examples=["alpaca", "local:instructions.jsonl"],
    )
    config: str | None = Field(None, max_length=128, description="Configuration of a hub data set.")
    split: str = Field("train", max_length=64, description="Split of a hub data set.")
    text_field: str | None = Field(
        None, max_length=128, description="Field of text or messages; found by itself if unset."
    )
    samples: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="Use only so many rows; unset: all."
    )
    sequence_length: int = Field(256, ge=8, le=131072, description="Tokens; longer rows are cut.")
    minutes: float | None = Field(
        None,
        gt=0,
        le=100_000,
        description="Time for the recovery; steps are counted, and the learning rate falls, to "
        "its end.",
    )
    epochs: float | None = Field(
        None,
        gt=0,
        le=100,
        description="Passes over the rows at most; unset: 1, and 4 where `minutes` is set.",
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Of AdamW; falls as a cosine. Unset: a short probe on the first rows chooses.",
    )
    warmup_steps: int = Field(0, ge=0, le=MAX_COUNT)
    weight_decay: float = Field(0.0, ge=0, le=1)
    batch_size: int | None = Field(
        None,
        ge=1,
        le=65536,
        description="Rows a step, through accumulation; unset: 64, and where `minutes` is set a "
        "power of two from 4 to 64 that leaves 256 steps.",
    )
    weights: Weights = Field(
        "adapters",
        description="What learns: low-rank `adapters`, or all weights of the decoder `layers`, "
        "with 16 bytes of memory for each.",
    )
    rank: int = Field(8, ge=1, le=1024)
    alpha: float = Field(16.0, gt=0, le=1e6)
    dropout: float = Field(0.05, ge=0, lt=1)
    temperature: float = Field(1.0, gt=0, le=100, description="Of `distillation`.")
    top_k: int = Field(
        64,
        ge=1,
        le=MAX_COUNT,
        description="Of `distillation`: so many of the teacher's largest probabilities are kept "
        "for each token, and the rest as one.",
    )
    teacher: str | None = Field(
        None,
        max_length=256,
        description="Whom `distillation` learns from, named as `model` is; unset: the model as it "
        "was before pruning. Both must share a vocabulary.",
    )
    seed: int = Field(0, ge=0, lt=2**32)
    publish: Literal["better", "recovered"] = Field(
        "better",
        description="What is published where recovery made held-out text worse, or nothing was "
        "held out: the `better` of the two, which is the one before; or the `recovered` one all "
        "the same.",
    )

    _source = field_validator("source")(text_source)

    @model_validator(mode="after")
    def _teaches(self) -> RecoverySpec:
        if self.teacher is not None:
            model_name(self.teacher)
            if self.method != "distillation":
                raise ValueError("`teacher` needs method `distillation`")
        return self

"""`EvaluationSpec`: perplexity texts, tasks and timing of a job.

Imports neither torch nor transformers.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from slimgpt.spec.names import (
    BOS,
    HELD_OUT,
    MAX_COUNT,
    Bos,
    Named,
    Several,
    Spec,
    repeated,
    text_source,
)

MAX_TEXTS, MAX_TASKS = 8, 32
TASK = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")


class InferenceSpec(Spec):
    """What generation is timed with (paper, Table 4: 512 new tokens, 50 trials)."""

    batch_sizes: Several[Annotated[int, Field(ge=1, le=4096)]] = Field(
        (1, 8), min_length=1, max_length=8
    )
    prompt_tokens: int = Field(128, ge=1, le=131072)
    new_tokens: int = Field(64, ge=2, le=131072)
    repeats: int = Field(10, ge=2, le=1000, description="Timed rounds; medians are told.")
    warmup: int = Field(2, ge=0, le=100, description="Rounds before them that do not count.")


class SampleSpec(Spec):
    """Texts that dense and pruned model write from the same beginnings and random numbers."""

    prompts: int = Field(3, ge=1, le=16, description="Beginnings, from the first evaluation text.")
    prompt_tokens: int = Field(24, ge=1, le=1024)
    new_tokens: int = Field(48, ge=1, le=1024)
    temperature: float = Field(0.8, gt=0, le=10)
    seed: int = Field(0, ge=0, lt=2**32)


class TaskSpec(Spec):
    """A task of lm-evaluation-harness, or a group of them, with its stock prompts and metrics."""

    name: str = Field(
        max_length=128,
        pattern=TASK.pattern,
        description="Name in the harness, or `commonsense`: the seven tasks of the paper.",
        examples=["commonsense", "mmlu", "arc_easy"],
    )
    shots: int | None = Field(
        None, ge=0, le=64, description="Examples before each question; unset: the task's own."
    )
    limit: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="Ask only so many questions of each task."
    )
    source: str | None = Field(
        None,
        max_length=256,
        description="`local:FILE` or `upload:ID` with the questions, columns as in the hub's data "
        "set; unset: `tasks_source`, or the hub.",
    )

    @field_validator("source")
    @classmethod
    def _is_file(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("local:", "upload:")):
            raise ValueError(f"{value!r} is not a file: use local:FILE or upload:ID")
        return None if value is None else text_source(value)


def _task(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


TaskName = Annotated[str, Field(max_length=128, pattern=TASK.pattern)]
NamedTask = Annotated[TaskSpec, BeforeValidator(_task, json_schema_input_type=TaskSpec | TaskName)]


class EvaluationSpec(Spec):
    """What the pruned model is measured on, beside the dense one."""

    texts: Several[Named] = Field(
        (HELD_OUT,),
        max_length=MAX_TEXTS,
        description="`wikitext2`, `c4`, `hf:NAME`, `local:FILE`, `upload:ID`, or `held-out`: "
        "windows of the calibration source that calibration did not use.",
    )
    sequence_lengths: Several[Annotated[int, Field(ge=8, le=131072)]] = Field(
        (128,), min_length=1, max_length=4
    )
    max_tokens: int | None = Field(
        None, ge=8, le=MAX_COUNT, description="Cut each text after so many tokens."
    )
    bos: Bos = Field("tokenizer", description=BOS)
    inference: InferenceSpec | None = Field(
        None, description="Time generation, dense and pruned in turn; unset: not. `{}`: defaults."
    )

    samples: SampleSpec | None = Field(
        None, description="Let each model continue a few texts; unset: not. `{}`: defaults."
    )
    tasks: Several[NamedTask] = Field(
        (), max_length=MAX_TASKS, description="Questions to ask each model: names, or objects."
    )
    tasks_source: str | None = Field(
        None,
        max_length=256,
        description="`local:FOLDER` below the texts root with a file for each task, in place of "
        "the hub.",
        examples=["local:zeroshot"],
    )

    @property
    def generated_lengths(self) -> dict[str, int]:
        """Lengths in tokens of the sequences that are generated, by JSON pointer."""
        lengths = {}
        if (timed := self.inference) is not None:
            lengths["/evaluation/inference"] = timed.prompt_tokens + timed.new_tokens
        if (sampled := self.samples) is not None:
            lengths["/evaluation/samples"] = sampled.prompt_tokens + sampled.new_tokens
        return lengths

    @field_validator("tasks_source")
    @classmethod
    def _is_folder(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("local:"):
            raise ValueError(f"{value!r} is not a folder: use local:FOLDER")
        return None if value is None else text_source(value)

    @model_validator(mode="after")
    def _tasks_once(self) -> EvaluationSpec:
        if twice := repeated(one.name for one in self.tasks):
            raise ValueError(f"`tasks` names {twice} more than once")
        if self.tasks_source is not None and not self.tasks:
            raise ValueError("`tasks_source` needs `tasks`")
        return self

    @field_validator("texts")
    @classmethod
    def _known_texts(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(v if v == HELD_OUT else text_source(v) for v in values)

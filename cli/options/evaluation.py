"""Options of evaluation, and the `evaluation` part of the specification."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options.groups import Fields, Names, given, option
from cli.options.specification import NO_TEXT
from slimgpt.spec.names import Bos

FILE = re.compile(r"\.(jsonl|ndjson|json)(\.gz)?$")
OF_SERVICE = ("local:", "upload:")


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """Evaluation tasks.

    Attributes:
        source: a path of this machine, or `local:NAME` or `upload:ID` of the service, where the
            suffix of a name distinguishes files from folders.
    """

    name: Annotated[
        list[str] | None,
        option(
            "--task",
            "Task of lm-evaluation-harness to score, such as arc_easy, mmlu, or "
            "commonsense (the seven of the paper); may be given several times.",
            "none",
            metavar="NAME",
        ),
    ] = None
    shots: Annotated[
        int | None,
        option("--shots", "Examples before each question.", "the task's own; 5 for mmlu"),
    ] = None
    limit: Annotated[
        int | None, option("--limit", "Ask only this many questions of each task.", "all")
    ] = None
    source: Annotated[
        str | None,
        option(
            "--task-source",
            "Folder with a file of questions for each task, or the file of the one task.",
            "the hub",
            metavar="PATH",
        ),
    ] = None

    @property
    def folders(self) -> list[str]:
        """The source, if it is a folder."""
        if self.source is None:
            return []
        if self.source.startswith(OF_SERVICE):
            is_folder = self.source.startswith("local:") and not FILE.search(self.source)
        else:
            is_folder = Path(self.source).expanduser().is_dir()
        return [self.source] if is_folder else []

    @property
    def files(self) -> list[str]:
        """The source, if it is a file."""
        return [] if self.source is None or self.folders else [self.source]

    def fields(self, names: Names) -> Fields:
        """Fields of the specification's evaluation.

        Raises:
            typer.BadParameter: a task option without a task, or one file for several tasks.
        """
        asked = given(self)
        tasks, source = asked.pop("name", []), asked.pop("source", None)
        if not tasks and (asked or source):
            raise typer.BadParameter(
                "--shots, --limit and --task-source need a task: name one with --task NAME",
                param_hint="--task",
            )
        if len(tasks) > 1 and self.files:
            raise typer.BadParameter(
                f"{source} is one file for {len(tasks)} tasks: name a folder",
                param_hint="--task-source",
            )
        place = names.get(source, source)
        if self.files:
            asked["source"] = place
        fields: Fields = {"tasks": [{"name": name, **asked} for name in tasks]} if tasks else {}
        return fields | ({"tasks_source": place} if self.folders else {})


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Inference timing."""

    timing: Annotated[
        bool, option("--timing", "Time generation, dense and pruned model in turn.")
    ] = False
    batch_sizes: Annotated[
        list[int] | None,
        option("--timing-batch", "Sequences at once; may be given several times.", "1 and 8"),
    ] = None

    def fields(self, base: Any) -> Fields:
        """Fields of the specification's evaluation.

        Raises:
            typer.BadParameter: batch sizes without timing.
        """
        timed = self.timing or (isinstance(base, dict) and base.get("inference") is not None)
        if self.batch_sizes and not timed:
            raise typer.BadParameter("give --timing as well", param_hint="--timing-batch")
        sizes = {"batch_sizes": self.batch_sizes} if self.batch_sizes else {}
        return {"inference": sizes} if self.timing or sizes else {}


@dataclass(frozen=True, kw_only=True)
class SampleTexts:
    """Whether the models continue a few texts, for people to read."""

    prompts: Annotated[
        int | None,
        option("--sample-texts", "Let each model continue so many texts, to read side by side."),
    ] = None
    seed: Annotated[int | None, option("--sample-seed", "Seed of their random numbers.", "0")] = (
        None
    )

    def fields(self) -> Fields:
        """Fields of the specification's evaluation.

        Raises:
            typer.BadParameter: a seed without samples.
        """
        if self.prompts is None and self.seed is not None:
            raise typer.BadParameter("give --sample-texts as well", param_hint="--sample-seed")
        return {} if self.prompts is None else {"samples": given(self)}


Begin = Annotated[
    Bos | None,
    option(
        "--bos",
        "What every window begins with, of calibration and evaluation: tokenizer, what the "
        "tokenizer puts before a text; none, windows as papers cut them for Llama.",
        "tokenizer",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Evaluation texts, tasks and timing."""

    texts: Annotated[
        list[str] | None,
        option(
            "--eval-text",
            "Text to measure perplexity on: wikitext2, c4, hf:NAME, a file, held-out "
            "(what calibration did not use), or none; may be given several times.",
            "held-out",
        ),
    ] = None
    sequence_lengths: Annotated[
        list[int] | None,
        option(
            "--eval-seq-len", "Tokens in an evaluation window; may be given several times.", "128"
        ),
    ] = None
    max_tokens: Annotated[
        int | None,
        option("--max-tokens", "Use only this many tokens of each evaluation text.", "all"),
    ] = None
    bos: Begin = None
    tasks: Tasks
    inference: Timing
    samples: SampleTexts

    @property
    def measured(self) -> list[str]:
        """The given texts, without `none`."""
        return [text for text in self.texts or () if text != NO_TEXT]

    def fields(self, names: Names, base: Any = None) -> Fields:
        """The part of a specification.

        Args:
            names: of texts and folders, in the engine's vocabulary.
            base: this part in the file of `--spec`.

        Raises:
            typer.BadParameter: as `Tasks.fields` and `Timing.fields`.
        """
        fields = given(self) | self.tasks.fields(names) | self.inference.fields(base)
        fields |= self.samples.fields()
        if self.texts:
            fields["texts"] = [names.get(text, text) for text in self.measured]
        return fields

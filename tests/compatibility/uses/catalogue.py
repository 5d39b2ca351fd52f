"""Every use that is tried, and how one ends."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from tests.compatibility.uses import generation, loading, training
from tests.compatibility.uses.expectations import NotInstalledError
from tests.compatibility.uses.model import Model

WORKS, FAILS, NOT_TRIED = "✓", "✗", "n/a"
LONGEST = 160  # characters of an error


@dataclass(frozen=True)
class Use:
    """What one does with a model, and another way to the same end where there is one."""

    title: str
    run: Callable[[Model], object]
    instead: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a use ended, and why unless it worked."""

    mark: str
    reason: str = ""


USES = (
    Use("`generate`, greedy, dynamic cache", generation.dynamic_cache),
    Use("`generate`, static cache", generation.static_cache),
    Use("`generate`, beam search", generation.beam_search),
    Use("`generate`, an assistant model", generation.assistant),
    Use("`generate`, prompt lookup", generation.prompt_lookup),
    Use("`generate`, left-padded batch", generation.left_padding),
    Use("`generate_batch`, continuous batching", generation.continuous_batching),
    Use('`pipeline("text-generation")`', generation.text_pipeline),
    Use("`AutoModel`, mean of hidden states as an embedding", loading.embeddings),
    Use("`AutoModelForSequenceClassification`", loading.sequence_classification),
    Use("`AutoModelForTokenClassification`", loading.token_classification),
    Use("`save_pretrained`, loading again", loading.saving),
    Use("`resize_token_embeddings`", loading.resizing),
    Use('`attn_implementation="eager"`', loading.eager_attention),
    Use("`dtype=torch.bfloat16`", loading.bfloat16),
    Use('`device_map="auto"`', loading.placed),
    Use("`torch.compile` (graphs, not kernels)", loading.compiled),
    Use("`torch.export`", loading.exported),
    Use("`torch.onnx.export`", loading.onnx),
    Use("int8 weights, torchao", loading.torchao),
    Use("int8 weights, optimum-quanto", loading.quanto),
    Use("int8 weights, bitsandbytes", loading.bitsandbytes),
    Use("`Trainer`", training.trainer),
    Use("gradient checkpointing", training.checkpointing),
    Use("PEFT: LoRA, merged", training.lora),
    Use("PEFT: DoRA, merged", training.dora),
    Use("PEFT: IA³, merged", training.ia3),
    Use("PEFT: LoRA of a sequence classifier", training.lora_of_a_classifier),
    Use("PEFT: prompt tuning", training.prompt_tuning),
    Use("PEFT: p-tuning", training.p_tuning),
    Use("PEFT: prefix tuning", training.prefix_tuning, instead="LoRA"),
)


def attempt(use: Use, given: Model) -> Outcome:
    """Try a use; whatever it raises is how it ended."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            use.run(given)
    except NotInstalledError as error:
        return Outcome(NOT_TRIED, str(error))
    except Exception as error:
        return Outcome(FAILS, short(error))
    return Outcome(WORKS)


def short(error: Exception) -> str:
    """An error's class and first line, without the folders of a machine."""
    line = next((line for line in str(error).splitlines() if line.strip()), "")
    line = re.sub(r"(?:/[\w.+-]+)+/([\w.+-]+)", r"\1", line.strip())
    cut = line if len(line) <= LONGEST else line[:LONGEST].rpartition(" ")[0] + " …"
    return f"{type(error).__name__}: {cut}".rstrip(": ")

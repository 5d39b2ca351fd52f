"""Training: whole models, and adapters of PEFT."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

from tests.compatibility.uses.expectations import logits, near, need, require
from tests.compatibility.uses.model import Model

PAD = 0


def trainer(given: Model) -> None:
    """One step of `Trainer`."""
    need("accelerate")
    model, folder = given.load(), given.scratch()
    before = logits(model, given.prompt)
    rows = [{"input_ids": row, "labels": row} for row in given.prompt]
    options = TrainingArguments(
        output_dir=str(folder), max_steps=1, report_to=[], use_cpu=True, disable_tqdm=True
    )
    Trainer(model, options, train_dataset=rows).train()
    require(not torch.equal(logits(model, given.prompt), before), "left the model as it was")


def checkpointing(given: Model) -> None:
    """Gradient checkpointing gives the gradients that training without it gives."""
    model, ids = given.load().train(), given.prompt
    plain = gradients(model, ids)
    model.gradient_checkpointing_enable()
    near(gradients(model, ids), plain)


def gradients(model: Any, ids: Tensor) -> Tensor:
    """All gradients of a model's loss in one vector."""
    model.zero_grad()
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def lora(given: Model) -> None:
    """LoRA on all linear layers: trained, saved, loaded, merged."""
    from peft import LoraConfig

    merged(given, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))


def dora(given: Model) -> None:
    """The same with DoRA."""
    from peft import LoraConfig

    how = LoraConfig(r=2, use_dora=True, target_modules="all-linear", task_type="CAUSAL_LM")
    merged(given, how)


def ia3(given: Model) -> None:
    """IA³."""
    from peft import IA3Config

    merged(given, IA3Config(task_type="CAUSAL_LM"))


def prompt_tuning(given: Model) -> None:
    """Trained tokens before the prompt."""
    from peft import PromptTuningConfig

    adapted(given, PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"))


def p_tuning(given: Model) -> None:
    """The same, made by a small network."""
    from peft import PromptEncoderConfig

    how = PromptEncoderConfig(num_virtual_tokens=3, encoder_hidden_size=8, task_type="CAUSAL_LM")
    adapted(given, how)


def prefix_tuning(given: Model) -> None:
    """Trained keys and values in every layer's cache."""
    from peft import PrefixTuningConfig

    adapted(given, PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"))


def lora_of_a_classifier(given: Model) -> None:
    """LoRA below a head for labels, which is trained with it."""
    from peft import LoraConfig

    options = {"num_labels": 3, "pad_token_id": PAD}
    adapted(
        given,
        LoraConfig(r=2, target_modules="all-linear", exclude_modules="score", task_type="SEQ_CLS"),
        labels=torch.tensor([0, 2]),
        load=lambda: given.load(AutoModelForSequenceClassification, **options),
    )


def merged(given: Model, how: Any) -> None:
    """Train, save and load an adapter; then merge it into the weights."""
    model = adapted(given, how)
    before = answers(model, given.prompt)
    near(logits(model.merge_and_unload(), given.prompt), before, share=1e-3)


def adapted(given: Model, how: Any, labels: Tensor | None = None, load: Any = None) -> Any:
    """Train an adapter for a step, save it, and load it upon a fresh model: which is returned."""
    from peft import PeftModel, get_peft_model

    load, ids = load or given.load, given.prompt
    model = get_peft_model(load(), how)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.05)
    before = answers(model, ids)
    for _ in range(2):  # LoRA's first step moves one of its factors alone
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids if labels is None else labels).loss.backward()
        optimizer.step()
    after = answers(model, ids)
    require(not torch.equal(after, before), "left the model as it was")
    folder = given.scratch()
    model.save_pretrained(folder)
    again = PeftModel.from_pretrained(load(), folder).eval()
    near(answers(again, ids), after)
    return again


@torch.no_grad()
def answers(model: Any, ids: Tensor) -> Tensor:
    """Logits in evaluation mode, by the model's own choice of a cache: prefixes live in it."""
    values: Tensor = model.eval()(input_ids=ids).logits
    return values

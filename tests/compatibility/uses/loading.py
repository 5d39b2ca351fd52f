"""Other classes, devices, precisions and graphs than plain `AutoModelForCausalLM`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from tests.compatibility.uses.expectations import logits, near, need, require
from tests.compatibility.uses.model import Model

PAD = 0


@torch.no_grad()
def hidden(given: Model, ids: Tensor) -> Tensor:
    """The body's last hidden states by the language model, (batch, seq, d_model)."""
    body = given.load().model
    states: Tensor = body(input_ids=ids, use_cache=False).last_hidden_state
    return states


@torch.no_grad()
def embeddings(given: Model) -> None:
    """Mean of `AutoModel`'s hidden states, as sentence embeddings are taken."""
    states = given.load(AutoModel)(given.prompt, use_cache=False).last_hidden_state
    near(states.mean(1), hidden(given, given.prompt).mean(1))


def sequence_classification(given: Model) -> None:
    """Labels of texts by the last token."""
    model = given.load(AutoModelForSequenceClassification, num_labels=3, pad_token_id=PAD)
    expected = model.score(hidden(given, given.prompt))[:, -1]
    near(logits(model, given.prompt), expected.detach())


def token_classification(given: Model) -> None:
    """A label for each token."""
    model = given.load(AutoModelForTokenClassification, num_labels=3)
    near(logits(model, given.prompt), model.score(hidden(given, given.prompt)).detach())


def saving(given: Model) -> None:
    """`save_pretrained`, and loading what it has written."""
    model, folder = given.load(), given.scratch()
    model.save_pretrained(folder)
    again = Model(given.form, folder).load()
    near(logits(again, given.prompt), logits(model, given.prompt), share=0.0)


def resizing(given: Model) -> None:
    """Room for new tokens."""
    model = given.load()
    before = logits(model, given.prompt)
    model.resize_token_embeddings(before.shape[-1] + 5)
    near(logits(model, given.prompt)[..., : before.shape[-1]], before)


def eager_attention(given: Model) -> None:
    """`attn_implementation="eager"` against the default."""
    model = given.load(attn_implementation="eager")
    near(logits(model, given.prompt), logits(given.load(), given.prompt))


def bfloat16(given: Model) -> None:
    """`dtype=torch.bfloat16`."""
    model = given.load(dtype=torch.bfloat16)
    near(logits(model, given.prompt), logits(given.load(), given.prompt), share=0.1)


def placed(given: Model) -> None:
    """`device_map="auto"`."""
    need("accelerate")
    model = given.load(device_map="auto")
    near(logits(model, given.prompt), logits(given.load(), given.prompt))


def compiled(given: Model) -> None:
    """The forward pass as graphs of torch.compile, run as they are."""
    model = given.load()
    expected = logits(model, given.prompt)
    torch._dynamo.reset()
    near(logits(torch.compile(model, backend="eager"), given.prompt), expected)


def exported(given: Model) -> None:
    """`torch.export` of the forward pass."""
    model = given.load()
    inputs = {"input_ids": given.prompt, "use_cache": False}
    program = torch.export.export(model, (), inputs, strict=False)
    near(program.module()(**inputs).logits, logits(model, given.prompt))


def onnx(given: Model) -> None:
    """`torch.onnx.export`, and the file's outputs in ONNX Runtime."""
    need("onnxscript", "onnxruntime")
    model = given.load()
    inputs = {"input_ids": given.prompt, "use_cache": False}
    program: Any = torch.onnx.export(model, (), kwargs=inputs, dynamo=True, verbose=False)
    near(program(input_ids=given.prompt)[0], logits(model, given.prompt), share=1e-3)


def torchao(given: Model) -> None:
    """int8 weights of torchao."""
    need("torchao")
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    quantised(given, TorchAoConfig(Int8WeightOnlyConfig()))


def quanto(given: Model) -> None:
    """int8 weights of optimum-quanto."""
    need("optimum")
    from transformers import QuantoConfig

    quantised(given, QuantoConfig(weights="int8"))


def bitsandbytes(given: Model) -> None:
    """int8 weights of bitsandbytes."""
    need("bitsandbytes")
    from transformers import BitsAndBytesConfig

    quantised(given, BitsAndBytesConfig(load_in_8bit=True))


def quantised(given: Model, how: Any) -> None:
    """Logits of quantised weights, near those of whole ones; some weights must be quantised."""
    model = given.load(quantization_config=how)
    stored = {type(parameter.data).__name__ for parameter in model.parameters()}
    kinds = {parameter.dtype for parameter in model.parameters()}
    require(len(stored) + len(kinds) > 2, "left every weight as it was")
    near(logits(model, given.prompt), logits(given.load(), given.prompt), share=0.1)

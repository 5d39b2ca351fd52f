"""GGUF metadata of the model and its tokenizer, written before the tensors.

Names and meanings: the specification of GGUF in ggml, `docs/gguf.md`. Imports neither torch nor
transformers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from slimgpt.checkpoints.families.architecture import Architecture
from slimgpt.formats.gguf.hyperparameters import Hyperparameters
from slimgpt.formats.gguf.vocabulary import Vocabulary
from slimgpt.spec.prune import GgufType

if TYPE_CHECKING:
    import gguf


def describe(
    writer: gguf.GGUFWriter, architecture: Architecture, plan: Hyperparameters, stored: GgufType
) -> None:
    """Write the hyperparameters; per-layer sizes are lists unless the architecture has one size.

    Args:
        stored: the type of most weights.
    """
    import gguf

    sizes = architecture.sizes
    one = plan.build.one_size
    writer.add_file_type(_file_type(stored))
    writer.add_context_length(plan.context)
    writer.add_embedding_length(architecture.hidden)
    writer.add_block_count(architecture.layers)
    writer.add_vocab_size(architecture.vocabulary)
    writer.add_head_count(sizes[0].heads if one else [size.heads for size in sizes])
    writer.add_head_count_kv(sizes[0].kv_heads if one else [size.kv_heads for size in sizes])
    writer.add_feed_forward_length(sizes[0].channels if one else [size.channels for size in sizes])
    writer.add_key_length(architecture.head_dim)
    writer.add_value_length(architecture.head_dim)
    writer.add_rope_dimension_count(architecture.head_dim)
    writer.add_rope_freq_base(float(plan.rope["rope_theta"]))
    writer.add_layer_norm_rms_eps(plan.epsilon)
    if plan.rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(plan.rope["factor"]))
    _describe_own(writer, architecture, plan)


def _describe_own(
    writer: gguf.GGUFWriter, architecture: Architecture, plan: Hyperparameters
) -> None:
    """Write hyperparameters that only some architectures have."""
    if plan.chosen:
        writer.add_expert_count(architecture.experts)
        writer.add_expert_used_count(plan.chosen)
        writer.add_expert_feed_forward_length(architecture.sizes[0].channels)
    if plan.windows:
        writer.add_sliding_window(plan.windows.width)
        writer.add_sliding_window_pattern(plan.windows.layers)
        writer.add_rope_freq_base_swa(plan.windows.theta)
    attention, head = plan.caps
    if attention:
        writer.add_attn_logit_softcapping(attention)
    if head:
        writer.add_final_logit_softcapping(head)


def add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    """Write the tokenizer and the chat templates."""
    import gguf

    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.model == "llama":
        writer.add_token_scores(vocabulary.scores)
        writer.add_add_space_prefix(vocabulary.add_space)
    else:
        writer.add_token_merges(vocabulary.merges)
    for name, number in vocabulary.special.items():
        getattr(writer, f"add_{name}_token_id")(number)
    writer.add_add_bos_token(vocabulary.add_begin)
    writer.add_add_eos_token(vocabulary.add_end)
    if vocabulary.chat_template:
        writer.add_chat_template(vocabulary.chat_template)
    named = {re.sub(r"[^A-Za-z0-9]", "_", n): t for n, t in vocabulary.named_templates.items()}
    for name, template in sorted(named.items()):
        writer.add_string(gguf.Keys.Tokenizer.CHAT_TEMPLATE_N.format(name=name), template)
    if named:
        writer.add_array(gguf.Keys.Tokenizer.CHAT_TEMPLATES, sorted(named))


def _file_type(stored: GgufType) -> int:
    import gguf

    names: Mapping[GgufType, str] = {
        "f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"
    }  # fmt: skip
    return int(gguf.LlamaFileType[names[stored]])

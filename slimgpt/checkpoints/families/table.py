"""The supported model families, one row of data each.

A row names a family's transformers classes and tensors; everything else (head counts, biases, rope,
tied embeddings) comes from the model's config and tensors. `docs/adding-a-family.md` shows how to
add a family. Imports neither torch nor transformers.
"""

from __future__ import annotations

from slimgpt.checkpoints.families import defaults
from slimgpt.checkpoints.families.family import Config, Family, Keys, RopeKeys, on

QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
AFTER_NORMS = ("post_attention_layernorm", "post_feedforward_layernorm")
CAUSAL_MASKS = (".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias")
BIDIRECTIONAL = (on("use_bidirectional_attention"), "its attention is not causal")


def _two_norms(config: Config) -> bool:
    """Falcon 40B and 180B: a norm for each half."""
    given = config.get("num_ln_in_parallel_attn")
    return bool(config.get("new_decoder_architecture")) and given in (None, 2)


def _multi_query(config: Config) -> bool:
    """Falcon 7B: one KV head."""
    return bool(config.get("multi_query")) and not config.get("new_decoder_architecture")


FAMILIES = {
    family.model_type: family
    for family in (
        # Llama 1, 2, 3.x, Vicuna
        Family(
            "llama",
            "Llama",
            bias_switches=("attention_bias", "mlp_bias"),
            defaults=defaults.LLAMA,
        ),
        Family(
            "mistral",
            "Mistral",
            defaults=defaults.MISTRAL,
        ),
        # Qwen2 and Qwen2.5
        Family("qwen2", "Qwen2", biased=QKV, defaults=defaults.QWEN),
        Family(
            "qwen3",
            "Qwen3",
            bias_switches=("attention_bias",),
            head_norms=("self_attn.q_norm", "self_attn.k_norm"),
            defaults=defaults.QWEN,
        ),
        Family(
            "mixtral",
            "Mixtral",
            experts=("num_local_experts",),
            router="block_sparse_moe.gate",
            wide=("block_sparse_moe.experts.{}.w1", "block_sparse_moe.experts.{}.w3"),
            down="block_sparse_moe.experts.{}.w2",
            defaults=defaults.MIXTRAL,
        ),
        Family(
            "qwen3_moe",
            "Qwen3Moe",
            experts=("num_experts", "num_local_experts"),  # in 4.57, in 5
            router="mlp.gate",
            wide=("mlp.experts.{}.gate_proj", "mlp.experts.{}.up_proj"),
            down="mlp.experts.{}.down_proj",
            keys=Keys(channels="moe_intermediate_size"),
            bias_switches=("attention_bias",),
            head_norms=("self_attn.q_norm", "self_attn.k_norm"),
            defaults=defaults.QWEN3_MOE,
            refusals=(
                (
                    lambda config: (
                        bool(config.get("mlp_only_layers")) or config["decoder_sparse_step"] != 1
                    ),
                    "some of its layers have experts and others have none (mlp_only_layers, "
                    "decoder_sparse_step)",
                ),
            ),
        ),
        # Granite 3: multipliers of embeddings, attention, residuals and logits
        Family(
            "granite",
            "Granite",
            task_suffixes=(),
            bias_switches=("attention_bias", "mlp_bias"),
            defaults=defaults.LLAMA,
        ),
        Family(
            "olmo2",
            "Olmo2",
            task_suffixes=("ForSequenceClassification",),  # from transformers 5 on
            attention_norm="",
            ffn_norm="",
            after_norms=AFTER_NORMS,
            span_norms=("self_attn.q_norm", "self_attn.k_norm"),
            bias_switches=("attention_bias",),
        ),
        Family(
            "gemma2",
            "Gemma2",
            soft_caps=True,
            ffn_norm="pre_feedforward_layernorm",
            after_norms=AFTER_NORMS,
            bias_switches=("attention_bias",),
            defaults=defaults.GEMMA2,
            refusals=(BIDIRECTIONAL,),
        ),
        # Gemma 3 without its vision tower: 270M and 1B as they are
        Family(
            "gemma3_text",
            "Gemma3",
            task_suffixes=("TextForSequenceClassification",),
            package="gemma3",
            model_suffix="TextModel",
            ffn_norm="pre_feedforward_layernorm",
            after_norms=AFTER_NORMS,
            head_norms=("self_attn.q_norm", "self_attn.k_norm"),
            bias_switches=("attention_bias",),
            defaults=defaults.GEMMA3,
            rope=RopeKeys("by layer type", local="rope_local_base_freq"),
            refusals=(BIDIRECTIONAL,),
        ),
        # Phi-3 and Phi-4
        Family(
            "phi3",
            "Phi3",
            query="self_attn.qkv_proj",
            key="self_attn.qkv_proj",
            value="self_attn.qkv_proj",
            fused="stacked",
            wide=("mlp.gate_up_proj",),
            wide_parts=2,
            own_config=True,
            rope=RopeKeys(partial="partial_rotary_factor"),
            defaults=defaults.PHI3,
        ),
        Family(
            "stablelm",
            "StableLm",
            norm_bias=True,
            norms_if=((on("use_parallel_residual"), ("input_layernorm",)),),
            numbered_norms=("self_attn.q_layernorm.norms", "self_attn.k_layernorm.norms"),
            norms_if_on="qk_layernorm",
            bias_switches=("use_qkv_bias",),
            parallel=("use_parallel_residual",),
            spanning=True,
            rope=RopeKeys(partial="partial_rotary_factor"),
        ),
        # GPT-NeoX and Pythia
        Family(
            "gpt_neox",
            "GPTNeoX",
            query="attention.query_key_value",
            key="attention.query_key_value",
            value="attention.query_key_value",
            fused="grouped",
            output="attention.dense",
            wide=("mlp.dense_h_to_4h",),
            down="mlp.dense_4h_to_h",
            attention="attention",
            layers="gpt_neox.layers",
            embedding="gpt_neox.embed_in",
            final_norm="gpt_neox.final_layer_norm",
            head="embed_out",
            norm_bias=True,
            biased=("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
            bias_switches=("attention_bias",),
            parallel=("use_parallel_residual",),
            spanning=True,
            keys=Keys(kv_heads=None),
            rope=RopeKeys(theta="rotary_emb_base", partial="rotary_pct"),
            defaults={"attention_bias": True, "use_parallel_residual": True},
            buffers=CAUSAL_MASKS,
            layer_suffix="Layer",
        ),
        Family(
            "gpt2",
            "GPT2",
            query="attn.c_attn",
            key="attn.c_attn",
            value="attn.c_attn",
            fused="stacked",
            transposed=True,
            output="attn.c_proj",
            wide=("mlp.c_fc",),
            down="mlp.c_proj",
            attention="attn",
            attention_norm="ln_1",
            ffn_norm="ln_2",
            layers="transformer.h",
            embedding="transformer.wte",
            positions="transformer.wpe",
            final_norm="transformer.ln_f",
            norm_bias=True,
            biased=("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
            spanning=True,
            keys=Keys("n_embd", "n_head", None, "n_inner", 4, "n_layer", "n_positions"),
            rope=RopeKeys("none"),
            defaults=defaults.TIED,
            buffers=CAUSAL_MASKS,
            refusals=((on("add_cross_attention"), "it attends to an encoder"),),
            layer_suffix="Block",
            causal_suffix="LMHeadModel",
        ),
        Family(
            "opt",
            "OPT",
            task_suffixes=("ForSequenceClassification",),
            output="self_attn.out_proj",
            wide=("fc1",),
            down="fc2",
            ffn="fc1",
            attention_norm="self_attn_layer_norm",
            ffn_norm="final_layer_norm",
            layers="model.decoder.layers",
            embedding="model.decoder.embed_tokens",
            positions="model.decoder.embed_positions",
            positions_offset=2,
            final_norm="model.decoder.final_layer_norm",
            norm_bias=True,
            bias_switches=("enable_bias",),
            spanning=True,
            keys=Keys(kv_heads=None, channels="ffn_dim"),
            rope=RopeKeys("none"),
            defaults=defaults.TIED
            | {
                "enable_bias": True,
                "do_layer_norm_before": True,
                "layer_norm_elementwise_affine": True,
            },
            refusals=(
                (
                    lambda config: not config["do_layer_norm_before"],
                    "its norms come after the residual sum (do_layer_norm_before is false, as in "
                    "OPT-350m), so that attention and FFN cannot be run separately",
                ),
                (
                    lambda config: (
                        config.get("word_embed_proj_dim") not in (None, config.get("hidden_size"))
                    ),
                    "its embeddings are projected to the hidden size (word_embed_proj_dim)",
                ),
                (on("_remove_final_layer_norm"), "it has no final norm (_remove_final_layer_norm)"),
                (
                    lambda config: not config["layer_norm_elementwise_affine"],
                    "its norms have no weights (layer_norm_elementwise_affine is false)",
                ),
            ),
        ),
        Family(
            "falcon",
            "Falcon",
            query="self_attention.query_key_value",
            key="self_attention.query_key_value",
            value="self_attention.query_key_value",
            fused="grouped",
            output="self_attention.dense",
            wide=("mlp.dense_h_to_4h",),
            down="mlp.dense_4h_to_h",
            attention="self_attention",
            layers="transformer.h",
            embedding="transformer.word_embeddings",
            final_norm="transformer.ln_f",
            norm_bias=True,
            norms_if=(
                (_two_norms, ("ln_attn", "ln_mlp")),
                (on("parallel_attn", "new_decoder_architecture"), ("input_layernorm",)),
            ),
            bias_switches=("bias",),
            parallel=("parallel_attn", "new_decoder_architecture"),
            spanning=True,
            one_kv_head=_multi_query,
            keys=Keys(kv_heads="num_kv_heads", channels="ffn_hidden_size", times_hidden=4),
            defaults=defaults.TIED | {"multi_query": True, "parallel_attn": True},
            refusals=(
                (
                    on("alibi"),
                    "its positions are ALiBi slopes, which depend on the index of the head "
                    "(alibi is true); stock classes would give the remaining heads wrong slopes",
                ),
            ),
        ),
    )
}

READ_AS_ANOTHER = ("baichuan",)
"""Families that are read and written as another family (see `slimgpt.checkpoints.name_mapping`)."""

OTHERS = {
    "gemma3": "it has a vision tower; text-only Gemma 3 is `gemma3_text`",
}
"""Reasons why some families are not supported."""

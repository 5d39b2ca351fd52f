"""The model families that can be pruned, each a row of data.

A row says which transformers classes build a family's decoder layer and what its tensors are
called; everything else (head counts, biases, rope, tied embeddings) comes from the model's own
config and tensors. `docs/adding-a-family.md` shows how to add one. Imports neither torch nor
transformers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """One row: `model_type` of the config, class prefix in transformers, names within a layer."""

    model_type: str
    prefix: str
    query: str = "self_attn.q_proj"
    key: str = "self_attn.k_proj"
    value: str = "self_attn.v_proj"
    output: str = "self_attn.o_proj"
    wide: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj")
    down: str = "mlp.down_proj"
    attention: str = "self_attn"
    attention_norm: str = "input_layernorm"
    ffn: str = "mlp"
    ffn_norm: str = "post_attention_layernorm"
    layers: str = "model.layers"
    embedding: str = "model.embed_tokens"
    final_norm: str = "model.norm"
    head: str = "lm_head"
    biased: tuple[str, ...] = ()  # projections that have a bias whatever the config says
    bias_switches: tuple[str, ...] = ()  # config keys that turn further biases on
    head_norms: tuple[str, ...] = ()  # norms over one head's queries or keys

    @property
    def module(self) -> str:
        """Module of transformers that holds the family's classes."""
        return f"transformers.models.{self.model_type}.modeling_{self.model_type}"


FAMILIES = {
    family.model_type: family
    for family in (
        # Llama 1, 2, 3.x, Vicuna
        Family("llama", "Llama", bias_switches=("attention_bias", "mlp_bias")),
        Family("mistral", "Mistral"),
        # Qwen2 and Qwen2.5
        Family(
            "qwen2", "Qwen2", biased=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
        ),
        Family(
            "qwen3",
            "Qwen3",
            bias_switches=("attention_bias",),
            head_norms=("self_attn.q_norm", "self_attn.k_norm"),
        ),
    )
}

"""Default values of absent `config.json` keys, as transformers defines them.

Only keys that the engine or a format reads. Imports neither torch nor transformers.
"""

from __future__ import annotations

TIED = {"tie_word_embeddings": True}
RMS = {"rms_norm_eps": 1e-6, "hidden_act": "silu"}
LLAMA = RMS | {"max_position_embeddings": 2048}
MISTRAL = RMS | {"max_position_embeddings": 131072, "sliding_window": 4096}
QWEN = RMS | {"max_position_embeddings": 32768, "use_sliding_window": False}
PHI3 = RMS | {"rms_norm_eps": 1e-5, "max_position_embeddings": 4096}
MIXTRAL = RMS | {
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 131072,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
QWEN3_MOE = QWEN | {"decoder_sparse_step": 1, "num_experts_per_tok": 8, "norm_topk_prob": False}
GEMMA = TIED | {
    "rms_norm_eps": 1e-6,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
}
GEMMA2 = GEMMA | {
    "max_position_embeddings": 8192,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}
GEMMA3 = GEMMA | {"max_position_embeddings": 131072}

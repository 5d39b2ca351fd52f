"""The engine's environment: an allowlist of variables, without secrets.

The engine opens untrusted models. It gets paths, devices, proxies and the hub's settings, but no
secrets of the database, the broker or the API.
"""

from __future__ import annotations

from collections.abc import Mapping

NAMES = frozenset(
    {
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "PATH",
        "PYTHONPATH",
        "TEMP",
        "TMP",
        "TMPDIR",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
        "XDG_CACHE_HOME",
        # Networks: how the hub is reached.
        "ALL_PROXY",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "NO_PROXY",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        # Numbers: threads, allocators, determinism.
        "TOKENIZERS_PARALLELISM",
    }
)
PREFIXES = (
    "LC_",
    "CUBLAS_",
    "CUDA_",
    "HF_",  # with the token that opens gated models: the engine downloads them
    "HUGGINGFACE_",
    "KMP_",
    "MALLOC_",
    "MKL_",
    "NCCL_",
    "NVIDIA_",
    "OMP_",
    "OPENBLAS_",
    "PYTORCH_",
    "TORCH_",
    "TRANSFORMERS_",
)


def engine_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The engine's environment, taken from this process's."""
    kept = {
        name: value
        for name, value in environment.items()
        if name.upper() in NAMES or name.startswith(PREFIXES)
    }
    # Send events without buffering; do not import `json.py` from the working folder.
    return kept | {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}

"""Subprocess: loads a GGUF file with llama.cpp and writes next-token log-probabilities.

    python -m slimgpt.verification.processes.llama_cpp_logprobs \\
        PARENT_PID FILE PROBE OUT ROWS THREADS

ROWS is the vocabulary size. PROBE holds `tokens` (batch, seq), `places` (n), and `text`, UTF-8
bytes. OUT will hold, for every sequence and place, the most probable tokens `ids` (batch, n, k)
with their `logprobs` (batch, n, k) float32, and `cut`, the token ids of the text. If llama.cpp
crashes on the file, only this process ends.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xllamacpp
from safetensors.numpy import load_file, save_file

MOST = 8192  # most probable tokens that are compared


class Loaded:
    """A model in llama.cpp, on the CPU, its KV cache in float32.

    Args:
        positions: tokens of the longest sequence.

    Raises:
        RuntimeError: llama.cpp does not load the file.
    """

    def __init__(self, file: Path, positions: int, threads: int) -> None:
        options = xllamacpp.CommonParams()
        options.model.path = str(file)
        options.n_ctx, options.n_parallel = max(positions + 1, 64), 1
        options.n_batch = options.n_ubatch = options.n_ctx
        options.cpuparams.n_threads = options.cpuparams_batch.n_threads = threads
        options.n_gpu_layers = 0
        options.cache_type_k = options.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        options.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        options.warmup = options.fit_params = options.ui = False
        options.verbosity = 1  # errors only
        self._server = xllamacpp.Server(options)
        self._plain = self.cut("a")[-1]

    def next(self, tokens: Sequence[int], count: int) -> list[tuple[int, float]]:
        """The most probable next tokens with the natural logarithms of their probabilities."""
        asked: dict[str, Any] = {"prompt": list(tokens), "n_predict": 1, "n_probs": count}
        # The server omits the probabilities of a generated token that is the end token or half a
        # character. A logit bias selects a plain token; it does not change the probabilities.
        asked |= {"temperature": 0, "cache_prompt": False, "logit_bias": [[self._plain, 1e4]]}
        answer: dict[str, Any] = self._server.handle_completions(asked)
        first = answer["choices"][0]["logprobs"]["content"][0]
        return [(one["id"], one["logprob"]) for one in first["top_logprobs"]]

    def cut(self, text: str) -> list[int]:
        """Token ids of a text, with the special tokens that the tokenizer adds."""
        ids: list[int] = self.ask("tokenize", content=text, add_special=True)["tokens"]
        return ids

    def ask(self, what: str, **content: Any) -> dict[str, Any]:
        """The answer of llama.cpp's server to a request."""
        request = urllib.request.Request(
            f"{self._server.listening_address}/{what}",
            data=json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            answer: dict[str, Any] = json.load(response)
        return answer


def main(arguments: Sequence[str]) -> None:
    """Run the probe through the file's model."""
    file, probe, out, rows, threads = arguments
    asked = load_file(probe)
    tokens, count = asked["tokens"], min(int(rows), MOST)
    model = Loaded(Path(file), tokens.shape[1], int(threads))
    answers = np.array(
        [
            [model.next(sequence[: place + 1].tolist(), count) for place in asked["places"]]
            for sequence in tokens
        ],
        dtype=np.float64,
    )
    cut = np.array(model.cut(asked["text"].tobytes().decode()), dtype=np.int64)
    ids, logprobs = answers[..., 0].astype(np.int64), answers[..., 1].astype(np.float32)
    contiguous = map(np.ascontiguousarray, (ids, logprobs))
    save_file({**dict(zip(("ids", "logprobs"), contiguous, strict=True)), "cut": cut}, out)


if __name__ == "__main__":
    from slimgpt.machine.child_process import exit_with_parent

    exit_with_parent(int(sys.argv[1]))
    sys.stdin.readline()  # there is a probe now, and the file or folder is complete
    main(sys.argv[2:])

"""Writes a model in an output format and verifies it with the format's own loader."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import SpecError, VerificationError
from slimgpt.events import Verified
from slimgpt.formats import stock
from slimgpt.formats.gguf import architectures, writer
from slimgpt.layers.stack import Stack
from slimgpt.spec.prune import Format, GgufType
from slimgpt.texts.tokenization import sandbox
from slimgpt.verification.reload import fresh_process, in_places, require_finite, tail, verify

PLACES = 8  # positions of a sequence at which next-token probabilities are compared
TEXT = "Once upon a time, there was a girl named Lily. She had 12 books; it's größer:\n\tx = 3.5\n"
EXTRA = ("gguf", "xllamacpp")
# Largest difference allowed, relative to the largest log-probability. f32: a different summation
# order. The other types round weights, and llama.cpp also rounds the activations multiplied with
# them: to 11 bits, to 8 bits, to 255 steps of the block's maximum.
SHARES: dict[GgufType, float] = {"f32": 2e-5, "f16": 0.01, "bf16": 0.02, "q8_0": 0.05}
GELU_SHARE = 0.005  # llama.cpp on the CPU reads GELU from a float16 table
OWN: dict[torch.dtype, GgufType] = {
    torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"
}  # fmt: skip
# Padding with zeros changes no sum, but a longer inner dimension can change the summation order.
# In units of the largest logit's last place.
PADDED_PLACES = 256


@dataclass(frozen=True)
class Probe:
    """Tokens, and the logits that a loader must reproduce.

    Attributes:
        tokens: (batch, seq) int64.
        logits: (batch, seq, vocab), of the model in memory on these tokens.
        device: the device on which the logits were computed.

    Raises:
        NumericalError: the logits are not all finite.
    """

    tokens: Tensor
    logits: Tensor
    device: torch.device

    def __post_init__(self) -> None:
        require_finite(self.logits)


def require(form: Format) -> None:
    """Check that the libraries that write and verify a format are installed.

    Raises:
        SpecError: a library is missing; the message names it and how to install it.
    """
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if form == "gguf" and missing:
        raise SpecError(
            f"format `gguf` needs {' and '.join(missing)}, not installed here, to write the file "
            "or to load it with llama.cpp",
            hint="pip install 'slimgpt-service[gguf]', or remove `gguf` from the formats",
        )


def write(
    form: Format,
    checkpoint: Checkpoint,
    folder: Path,
    probe: Probe,
    stored: GgufType | None,
    name: str = "",
) -> Verified:
    """Write a checkpoint in a format and verify it.

    Args:
        checkpoint: dense or pruned, in a folder that transformers loads.
        folder: an existing, empty folder.
        stored: type of a GGUF file's matrices; the model's own precision if None.
        name: the model's name in a GGUF file; the checkpoint folder's name if empty.

    Raises:
        SpecError, UnsupportedModelError: the format cannot hold the model.
        VerificationError: the loader fails, or its results differ.
        StorageError: the disk is full.
    """
    if form == "gguf":
        kind = writer.type_of(checkpoint, stored)
        file = folder / f"model-{kind}.gguf"
        writer.write(checkpoint, file, kind, name or "")
        return prove_gguf(checkpoint, file, kind, probe)
    bound = None
    if form == "padded":
        stock.write_padded(checkpoint, folder)
        bound = padded_bound(probe.logits)
    else:
        stock.write_uniform(checkpoint, folder)
    return verify(folder, probe.tokens, probe.logits, probe.device, form, bound)


def padded_bound(logits: Tensor) -> tuple[float, str]:
    """The largest difference of logits that padding may cause, and why in words."""
    places = PADDED_PLACES if logits.dtype == torch.float32 else 16
    return in_places(logits, places, "padding with zeros changes the order of summation")


def prove_gguf(checkpoint: Checkpoint, file: Path, kind: GgufType, probe: Probe) -> Verified:
    """Compare next-token log-probabilities and tokenization with llama.cpp in a fresh process.

    Raises:
        VerificationError: llama.cpp does not load the file, its log-probabilities differ by more
            than the type allows, or it tokenizes text differently.
    """
    tokens = probe.tokens[:2]
    step = max(tokens.shape[1] // PLACES, 1)
    places = torch.arange(step - 1, tokens.shape[1], step)
    found = _ask(file, tokens, places, probe.logits.shape[-1])
    expected = probe.logits[:2, places].double().log_softmax(-1)
    wanted = expected.gather(-1, found["ids"])
    apart = (found["logprobs"].double() - wanted).abs().amax(-1)
    share = _share(checkpoint, kind, probe)
    # Rounded router logits select other experts at some positions, so the median is compared.
    routed = bool(checkpoint.architecture.experts) and share > SHARES["f32"]
    difference = float(apart.median() if routed else apart.max())
    bound = share * float(expected.abs().max())
    if not difference <= bound:
        raise VerificationError(
            f"the GGUF file differs from the model in memory: log-probabilities in llama.cpp "
            f"differ by up to {difference:g}, at most {bound:g} is allowed in {kind}",
            hint="nothing was written; remove `gguf` from the formats, or choose a more precise "
            "GGUF type",
        )
    with sandbox.opened(checkpoint.folder) as tokenizer:
        ours = tokenizer.encode(TEXT)
    if ours != found["cut"].tolist():
        raise VerificationError(
            f"llama.cpp tokenizes text differently from transformers: {found['cut'].tolist()}, "
            f"expected {ours}",
            hint="remove `gguf` from the formats, and report the model's tokenizer",
        )
    return Verified(
        format="gguf",
        loader=f"llama.cpp (xllamacpp {metadata.version('xllamacpp')}), {kind}"
        + (f", the median of {apart.numel()} places" if routed else ""),
        max_difference=difference,
        bound=bound,
        bound_is=f"{share:.3g} of the largest log-probability: llama.cpp rounds to {kind}",
        tokens=tokens.numel(),
        bytes=file.stat().st_size,
    )


def _share(checkpoint: Checkpoint, kind: GgufType, probe: Probe) -> float:
    share = max(SHARES[kind], SHARES[OWN[probe.logits.dtype]])
    gelu = architectures.of(checkpoint.architecture).activations is architectures.GELU
    return max(share, GELU_SHARE) if gelu else share


def probe_of(checkpoint: Checkpoint, device: torch.device) -> Probe:
    """The same random tokens each time, and the checkpoint's logits, computed layer by layer."""
    generator = torch.Generator().manual_seed(0)
    length = min(64, int(checkpoint.config.get(checkpoint.architecture.family.keys.positions, 64)))
    tokens = torch.randint(0, checkpoint.architecture.vocabulary, (2, length), generator=generator)
    return Probe(tokens, Stack(checkpoint, device).logits(tokens), device)


def _ask(file: Path, tokens: Tensor, places: Tensor, rows: int) -> dict[str, Tensor]:
    text = torch.frombuffer(bytearray(TEXT.encode()), dtype=torch.uint8)
    probe = {"tokens": tokens.cpu().contiguous(), "places": places, "text": text}
    threads = str(torch.get_num_threads())
    found, done = fresh_process("llama_cpp_logprobs", file, probe, str(rows), threads)
    if found is None:
        raise VerificationError(
            f"llama.cpp cannot load the written file {tail(done)}",
            hint="nothing was written; exit status -9: something killed it, perhaps for memory",
        )
    return found

"""Proof of load for each output format: fresh process, own loader, same tokens."""

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
from slimgpt.formats.gguf import architectures
from slimgpt.formats.gguf import writer as gguf_file
from slimgpt.layers.stack import Stack
from slimgpt.spec.prune import Format, GgufType
from slimgpt.texts.tokenization import sandbox as tokenizer_process
from slimgpt.verification.reload import fresh_process, require_finite, tail, verify

PLACES = 8  # in a sequence, at which the next token is asked for
TEXT = "Once upon a time, there was a girl named Lily. She had 12 books; it's größer:\n\tx = 3.5\n"
EXTRA = ("gguf", "xllamacpp")
# Shares of the largest logarithm of a probability. f32 sums in another order, as any two libraries
# do. The others round every weight, and llama.cpp rounds the activations that meet it as well:
# to 11 bits, to 8 bits, to one of 255 steps of a block's largest.
SHARES: dict[GgufType, float] = {"f32": 2e-5, "f16": 0.01, "bf16": 0.02, "q8_0": 0.05}
GELU_SHARE = 0.005  # llama.cpp on the CPU looks GELU up in a table of half precision
OWN: dict[torch.dtype, GgufType] = {
    torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"
}  # fmt: skip
# Zeros change no sum, but where a product's inner dimension is another, it is summed in another
# order: units in the last place of the largest logit.
PADDED_PLACES = 256


@dataclass(frozen=True)
class Probe:
    """What a loader is asked, and what it should answer.

    Attributes:
        tokens: (batch, seq) int64.
        logits: of the model in memory on these tokens (batch, seq, vocab).
        device: where they were computed.

    Raises:
        NumericalError: the logits are not all finite.
    """

    tokens: Tensor
    logits: Tensor
    device: torch.device

    def __post_init__(self) -> None:
        require_finite(self.logits)


def require(form: Format) -> None:
    """See that a format can be written and proved here.

    Raises:
        SpecError: a library is not installed; says which, and how to get it.
    """
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if form == "gguf" and missing:
        raise SpecError(
            f"format `gguf` wants {' and '.join(missing)}, which writes the file or proves that "
            "llama.cpp loads it",
            hint="pip install 'slimgpt-service[gguf]', or leave format `gguf` out",
        )


def write(
    form: Format,
    checkpoint: Checkpoint,
    folder: Path,
    probe: Probe,
    stored: GgufType | None,
    name: str = "",
) -> Verified:
    """Write a checkpoint in a format and prove it.

    Args:
        checkpoint: dense or pruned, in a folder that transformers loads.
        folder: is there, and empty.
        stored: type of a GGUF file's matrices; the model's own precision if None.
        name: of the model in a GGUF file; the checkpoint folder's if empty.

    Raises:
        SpecError, UnsupportedModelError: the format cannot hold the model.
        VerificationError: the loader does not load it, or computes something else.
        StorageError: the disk is full.
    """
    if form == "gguf":
        kind = gguf_file.type_of(checkpoint, stored)
        file = folder / f"model-{kind}.gguf"
        gguf_file.write(checkpoint, file, kind, name or "")
        return prove_gguf(checkpoint, file, kind, probe)
    bound = None
    if form == "padded":
        stock.write_padded(checkpoint, folder)
        bound = padded_bound(probe.logits)
    else:
        stock.write_uniform(checkpoint, folder)
    return verify(folder, probe.tokens, probe.logits, probe.device, form, bound)


def padded_bound(logits: Tensor) -> float:
    """The largest difference that zeros may make, by summing in another order."""
    bound = PADDED_PLACES * torch.finfo(logits.dtype).eps * float(logits.abs().max())
    return bound if logits.dtype == torch.float32 else bound / (PADDED_PLACES / 16)


def prove_gguf(checkpoint: Checkpoint, file: Path, kind: GgufType, probe: Probe) -> Verified:
    """Ask llama.cpp, in a fresh process, how probable it finds the next tokens.

    Raises:
        VerificationError: it does not load the file, differs by more than the type's share, or
            cuts text into other tokens.
    """
    tokens = probe.tokens[:2]
    step = max(tokens.shape[1] // PLACES, 1)
    places = torch.arange(step - 1, tokens.shape[1], step)
    found = _ask(file, tokens, places, probe.logits.shape[-1])
    expected = probe.logits[:2, places].double().log_softmax(-1)
    wanted = expected.gather(-1, found["ids"])
    apart = (found["logprobs"].double() - wanted).abs().amax(-1)
    share = _share(checkpoint, kind, probe)
    # A router whose numbers are rounded chooses other experts at some places; the loader says so.
    routed = bool(checkpoint.architecture.experts) and share > SHARES["f32"]
    difference = float(apart.median() if routed else apart.max())
    bound = share * float(expected.abs().max())
    if not difference <= bound:
        raise VerificationError(
            f"llama.cpp differs from the model in memory: log-probabilities by up to "
            f"{difference:g}, at most {bound:g} is allowed in {kind}",
            hint="nothing was written; leave format `gguf` out, or choose a finer type",
        )
    with tokenizer_process.opened(checkpoint.folder) as tokenizer:
        ours = tokenizer.encode(TEXT)
    if ours != found["cut"].tolist():
        raise VerificationError(
            f"llama.cpp cuts text into other tokens than transformers: {found['cut'].tolist()}, "
            f"not {ours}",
            hint="leave format `gguf` out, and report the model's tokenizer",
        )
    return Verified(
        format="gguf",
        loader=f"llama.cpp (xllamacpp {metadata.version('xllamacpp')}), {kind}"
        + (f", the median of {apart.numel()} places" if routed else ""),
        max_difference=difference,
        bound=bound,
        tokens=tokens.numel(),
        bytes=file.stat().st_size,
    )


def _share(checkpoint: Checkpoint, kind: GgufType, probe: Probe) -> float:
    share = max(SHARES[kind], SHARES[OWN[probe.logits.dtype]])
    gelu = architectures.of(checkpoint.architecture).activations is architectures.GELU
    return max(share, GELU_SHARE) if gelu else share


def probe_of(checkpoint: Checkpoint, device: torch.device) -> Probe:
    """Random tokens, always the same, and the checkpoint's logits, layer by layer."""
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
            f"llama.cpp does not load the written file {tail(done)}",
            hint="nothing was written; exit status -9 means that memory ran out",
        )
    return found

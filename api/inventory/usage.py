"""Snippets that use a finished job's files: transformers, vLLM, llama.cpp, `curl` for each file.

Each is complete: it runs as it stands, in a shell or in Python, once the files are in a folder
named after the job.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from posixpath import dirname
from typing import Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, Field

from api.schemas.paths import VERSION

CONFIG = "config.json"
MODELING = "modeling_slimgpt.py"
GGUF = ".gguf"
MOST_FILES = 200
"""Files that are fetched one by one; more are fetched by `slimgpt download`."""
PROMPT = "Once upon a time"


class Snippet(BaseModel):
    """Code that uses the files of a job."""

    tool: Literal["curl", "transformers", "vllm", "llama.cpp"] = Field(examples=["transformers"])
    format: str = Field(description="exact, uniform, padded or gguf; all for curl.")
    folder: str = Field(description="Of a sweep's model, `ratio-0.5`; empty for a single model.")
    language: Literal["sh", "python"]
    code: str
    proved_by: str = Field(
        description="The loader that has loaded these files in the job, with its version; empty if "
        "none has."
    )


@dataclass(frozen=True)
class Published:
    """The files of a job, and what they are asked for by.

    Attributes:
        job_id: names the folder on the user's machine.
        paths: relative, with slashes.
        url: address of the service, without a slash at its end.
        with_key: whether requests need an API key.
        proofs: by model folder, the `verified` entries of its report.
    """

    job_id: str
    paths: Sequence[str]
    url: str
    with_key: bool
    proofs: Mapping[str, Sequence[Mapping[str, Any]]]


def snippets(published: Published) -> list[Snippet]:
    """The snippets for all folders that hold a model, the plain checkpoint first."""
    made = [_curl(published)]
    there = set(published.paths)
    for place in sorted({dirname(path) for path in there}):
        if f"{place}/{CONFIG}".removeprefix("/") in there:
            made += _of_folder(published, place, remote=f"{place}/{MODELING}".strip("/") in there)
        made += [_llama_cpp(published, path) for path in _ggufs(published.paths, place)]
    return made


def _ggufs(paths: Iterable[str], place: str) -> list[str]:
    return sorted(path for path in paths if dirname(path) == place and path.endswith(GGUF))


def _of_folder(published: Published, place: str, *, remote: bool) -> list[Snippet]:
    if place.rpartition("/")[2] in ("adapters", "unrecovered"):
        return []  # parts of a recovery, not the published model
    folder, form = _model_of(published, place)
    here = f"{published.job_id}/{place}".rstrip("/")
    trust = ", trust_remote_code=True" if remote else ""
    python = f"""\
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = {here!r}
model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto"{trust})
tokenizer = AutoTokenizer.from_pretrained(folder)
prompt = tokenizer({PROMPT!r}, return_tensors="pt").input_ids
print(tokenizer.decode(model.generate(prompt, max_new_tokens=32)[0]))
"""
    flags = " --trust-remote-code" if remote else ""
    name = published.job_id
    serving = f"""\
vllm serve {shlex.quote(here)}{flags} --served-model-name {name} --port 8001
# in another terminal:
curl -f http://localhost:8001/v1/completions -H "Content-Type: application/json" \\
  -d '{{"model": "{name}", "prompt": "{PROMPT}", "max_tokens": 32}}'
"""
    shared = {"format": form, "folder": folder}
    proofs = published.proofs.get(folder, ())
    return [
        Snippet(
            tool="transformers",
            language="python",
            code=python,
            proved_by=_proof(proofs, form, "transformers"),
            **shared,
        ),
        Snippet(
            tool="vllm",
            language="sh",
            code=serving,
            proved_by=_proof(proofs, form, "vllm"),
            **shared,
        ),
    ]


def _llama_cpp(published: Published, path: str) -> Snippet:
    folder, form = _model_of(published, dirname(path))
    file = shlex.quote(f"{published.job_id}/{path}")
    code = f"""\
llama-server -m {file} --port 8080
# in another terminal:
curl -f http://localhost:8080/completion -H "Content-Type: application/json" \\
  -d '{{"prompt": "{PROMPT}", "n_predict": 32}}'
"""
    return Snippet(
        tool="llama.cpp",
        format="gguf" if form == "exact" else form,
        folder=folder,
        language="sh",
        code=code,
        proved_by=_proof(published.proofs.get(folder, ()), "gguf", ""),
    )


def _curl(published: Published) -> Snippet:
    """One command for each file; of very many files, the command that fetches them all."""
    if len(published.paths) > MOST_FILES:
        name = published.job_id
        code = f"slimgpt download {name} {name} --url {shlex.quote(published.url)}\n"
    else:
        code = "".join(_fetch(published, path) for path in published.paths)
    return Snippet(tool="curl", format="all", folder="", language="sh", code=code, proved_by="")


def _fetch(published: Published, path: str) -> str:
    key = ' -H "Authorization: Bearer $SLIMGPT_API_KEY"' if published.with_key else ""
    address = f"{published.url}{VERSION}/jobs/{published.job_id}/artifacts/{quote(path)}"
    target = shlex.quote(f"{published.job_id}/{path}")
    return f"curl -fL{key} --create-dirs -o {target} {shlex.quote(address)}\n"


def _model_of(published: Published, place: str) -> tuple[str, str]:
    """The folder of a sweep's model that a place belongs to, and the format that lies there."""
    first, _, rest = place.partition("/")
    if first in published.proofs and first:
        return first, rest or "exact"
    return "", place or "exact"


def _proof(proofs: Sequence[Mapping[str, Any]], form: str, loader: str) -> str:
    """The loader of a format, with its version, if a proof of the job names it."""
    for proof in proofs:
        said = str(proof.get("loader", ""))
        if proof.get("format", "exact") == form and said.lower().startswith(loader):
            return said
    return ""

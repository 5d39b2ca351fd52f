"""The modelling file that is published with pruned weights (`trust_remote_code`).

There is one template, written for Llama; for other families its names are replaced. The engine
builds its layers with the same file, so that it computes the same as the published folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import resources
from types import ModuleType

from slimgpt.checkpoints.families.family import Family

MODELING = "modeling_slimgpt.py"


def source(family: Family) -> str:
    """The family's modelling file."""
    text = resources.files(__name__).joinpath(MODELING).read_text(encoding="utf-8")
    for name, value in _settings(family).items():
        line = rf"(?m)^{re.escape(name)} = [^#\n]*?(?=  #|$)"
        text, found = re.subn(line, f"{name} = {value}", text)
        assert found == 1, name
    for suffix, own in (
        ("DecoderLayer", family.layer_suffix),
        ("ForCausalLM", family.causal_suffix),
        ("Model", family.model_suffix),
    ):
        text = re.sub(rf"\bLlama{suffix}\b", family.prefix + own, text)
    text = text.replace("llama.modeling_llama", family.module.removeprefix("transformers.models."))
    return text.replace("Llama", family.prefix)


def causal_class(family: Family) -> str:
    """Class name of the language model in the modelling file."""
    return f"SlimGPT{family.prefix}ForCausalLM"


def auto_map(family: Family) -> dict[str, str]:
    """What `AutoModel` and its like find in the file; the first is the one that vLLM takes."""
    module = MODELING.removesuffix(".py")
    body, causal = f"SlimGPT{family.prefix}Model", causal_class(family)
    classes = {"AutoModel": body, "AutoModelForCausalLM": causal}
    for suffix in family.task_suffixes:
        _, marker, task = suffix.partition("For")
        classes[f"AutoModel{marker}{task}"] = f"SlimGPT{family.prefix}{suffix}"
    return {auto: f"{module}.{name}" for auto, name in classes.items()}


def load(family: Family) -> ModuleType:
    """The family's modelling file as a module; imports transformers."""
    module = ModuleType(f"slimgpt_modeling_{family.model_type}")
    exec(compile(source(family), f"{MODELING} for {family.model_type}", "exec"), module.__dict__)
    return module


def _settings(family: Family) -> dict[str, str]:
    def within(name: str) -> str:
        return name.removeprefix(family.attention + ".")

    projections = dict.fromkeys(map(within, (family.query, family.key, family.value)))
    keys, layers = family.keys, family.layers.partition(".")[2]
    names = ", ".join(f'"{name}"' for name in (keys.hidden, keys.heads, keys.channels))
    return {
        "HEAD": f'"{family.head}"',
        "LAYERS": f'"{layers}"',
        "ATTENTION": f'"{family.attention}"',
        "PROJECTIONS": _quoted(projections),
        "OUTPUT": f'"{within(family.output)}"',
        "HIDDEN, HEADS, CHANNELS": names,
        "TASKS": _quoted(family.task_suffixes),
        "EXPERTS": f'"{family.model_type}"' if family.experts else "None",
        "SPANNING": str(family.spanning),
        "SOFT_CAPS": str(family.soft_caps),
        "OWN_CONFIG": str(family.own_config),
    }


def _quoted(names: Iterable[str]) -> str:
    """A tuple of strings as ruff formats it."""
    inner = ", ".join(f'"{name}"' for name in names)
    return f"({inner},)" if inner and "," not in inner else f"({inner})"

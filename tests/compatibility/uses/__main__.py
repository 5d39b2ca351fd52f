"""What can a published model be used for, in which format? Writes `docs/uses.md`.

    python -m tests.compatibility.uses

A tiny random Llama is pruned by lot and written in every format that transformers loads; every use
of the catalogue is tried on each, and its result compared with what it must be. A use that fails
is a row with its error, not an error of the run. A use whose package is not installed is not
tried: install torchao, optimum-quanto, bitsandbytes, onnxscript and onnxruntime for those. Exits
with 1, and writes nothing, if `exact` gave a wrong result. Not part of the default test run: it
takes minutes.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from rich.console import Console
from transformers import dynamic_module_utils

from slimgpt.spec.prune import Format
from tests.compatibility.uses import page
from tests.compatibility.uses.catalogue import USES, Outcome, attempt
from tests.compatibility.uses.expectations import WrongResultError
from tests.compatibility.uses.model import FORMATS, models

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Try all, and write the page; the exit status."""
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)  # whole tracebacks
    torch.set_num_threads(1)
    outcomes: dict[tuple[str, Format], Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="slimgpt-uses-") as name:
        home = Path(name)
        dynamic_module_utils.HF_MODULES_CACHE = str(home / "modules")
        given = models(home)
        for use in USES:
            for form in FORMATS:
                outcome = outcomes[use.title, form] = attempt(use, given[form])
                console.print(f"{use.title}, {form}: {outcome.mark} {outcome.reason}")
    wrong = any(_is_wrong(outcomes[use.title, "exact"]) for use in USES)
    if not wrong:
        page.PAGE.write_text(page.text(outcomes), encoding="utf-8")
    return 1 if wrong else 0


def _is_wrong(outcome: Outcome) -> bool:
    return outcome.reason.startswith(WrongResultError.__name__)


if __name__ == "__main__":
    sys.exit(main())

"""`Bench`: one model with its texts, and the measuring of what each method makes of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.quality import commonsense, dense, measures, table, texts
from benchmarks.quality.methods import METHODS, Case, Method, Pruned
from benchmarks.quality.plot import DENSE
from benchmarks.quality.subjects import CACHE, WINDOW, Subject
from benchmarks.quality.table import Row
from slimgpt.errors import SlimGPTError

TOLERANCE = 0.002  # of the dense parameters


class Bench:
    """Measures methods on one model.

    Args:
        subject: the model.
        device: where it computes.
        questions: of each commonsense task; 0: they are not asked.
        cache: where the dense model's measures are kept.
        methods: by the names that rows have.

    Raises:
        SlimGPTError: a text, the model or the tasks are not to be had.
    """

    def __init__(
        self,
        subject: Subject,
        device: torch.device,
        questions: int = 0,
        cache: Path = CACHE,
        methods: Mapping[str, Method] = METHODS,
    ) -> None:
        self._subject = subject
        self._device = device
        self._questions = questions
        self._methods = methods
        self._tasks = commonsense.questions(questions) if questions else None
        self._held_out = texts.held_out(subject)
        self._dense = dense.of(subject, self._held_out, device, cache)

    @property
    def settings(self) -> dict[str, Any]:
        """What must be the same for all rows of a table."""
        return {
            "held-out windows": texts.WINDOWS,
            "window tokens": WINDOW,
            "prompt tokens": texts.PROMPT,
            "continuation tokens": texts.CONTINUATION,
            "device": self._device.type,
            "held-out text": self._held_out.sha256[:12],
        }

    def rows(
        self, cells: Sequence[tuple[float, str]], samples: int, seed: int, known: Sequence[Row]
    ) -> Iterator[Row]:
        """The dense model's row and one for each ratio and method, but for those known.

        A method that cannot do what is asked has a row that says why.
        """
        row = _key(DENSE, 0.0, 0, 0)
        if not self._is_known(row, known):
            yield row | self._dense_row()
        for ratio, method in cells:
            row = _key(method, ratio, samples, seed)
            if not self._is_known(row, known):
                yield row | self._method_row(method, ratio, samples, seed)

    def _is_known(self, row: Row, known: Sequence[Row]) -> bool:
        found = table.find(known, row)
        if found is None or not found["perplexity"]:
            return False
        return self._questions in (0, found["questions"])

    def _dense_row(self) -> Row:
        row = _measures(self._dense.parameters, dict(self._dense.perplexity))
        row |= {"repeated": measures.repeated(self._dense.written)}
        if self._tasks is not None:
            row |= self._asked(dense.load(self._subject.folder, self._device))
        return row

    def _method_row(self, method: str, ratio: float, samples: int, seed: int) -> Row:
        case = Case(self._subject, ratio, samples, seed, self._dense.parameters, self._device)
        try:
            pruned = self._methods[method](case)
        except SlimGPTError as error:
            return _measures(None, {}) | {"note": f"not possible: {error}"}
        row = self._measured(pruned)
        row |= {"seconds": round(pruned.seconds, 1), "note": _note(pruned, case)}
        gc.collect()
        return row

    def _measured(self, pruned: Pruned) -> Row:
        model, perplexity, top1 = pruned.model, {}, {}
        for name, windows in self._held_out.windows.items():
            found = dense.likelihood(model, windows.to(self._device), self._held_out.given)
            perplexity[name], choices = found
            top1[name] = measures.share_equal(choices, self._dense.choices[name])
        prompts = self._held_out.prompts.to(self._device)
        written = measures.continued(model, prompts, texts.CONTINUATION)
        row = _measures(pruned.parameters, perplexity) | {
            "top1": top1,
            "agreed": measures.agreed(self._dense.written, written),
            "repeated": measures.repeated(written),
        }
        return row if self._tasks is None else row | self._asked(model)

    def _asked(self, model: Any) -> Row:
        assert self._tasks is not None
        scores = commonsense.ask(self._tasks, model, self._subject.folder)
        return {"questions": self._questions, "tasks": scores}


def _key(method: str, ratio: float, samples: int, seed: int) -> Row:
    return {"ratio": ratio, "method": method, "samples": samples, "seed": seed}


def _measures(parameters: int | None, perplexity: dict[str, float]) -> Row:
    """A row's measures, those not yet known empty."""
    return {
        "parameters": parameters,
        "perplexity": perplexity,
        "top1": {},
        "agreed": None,
        "repeated": None,
        "questions": 0,
        "tasks": {},
        "seconds": 0.0,
        "note": "",
    }


def _note(pruned: Pruned, case: Case) -> str:
    """The method's own note, and how far from the target it is where that is too far."""
    off = (pruned.parameters - case.target) / case.dense_parameters
    said = [pruned.note] if pruned.note else []
    if abs(off) > TOLERANCE:
        said.append(f"{abs(off):.2%} of all parameters {'above' if off > 0 else 'below'} target")
    return "; ".join(said)

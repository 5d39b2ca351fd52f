"""Inference timing: dense, pruned and recovered model measured in alternating rounds.

Each model has its own process (`slimgpt.verification.processes`). Every round asks each model once,
so that temporary load of the machine affects all models alike; the first rounds only warm up. The
loaders run one after the other.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress

import numpy as np
import torch

from slimgpt.events import Event, Latency, ModelName, Progress, Warned
from slimgpt.spec.prune import InferenceSpec
from slimgpt.verification import loaders, reload
from slimgpt.verification.loaders import Loader, Model
from slimgpt.verification.processes.transformers_timing import GenerationRequest, GenerationTiming

STDERR_BYTES = 2000


class ModelProcessEnded(Exception):  # noqa: N818 - says what is the case
    """The process that holds a model has ended; the message is its last line of output."""


class ModelProcess:
    """A subprocess that holds a model and times generation; a context manager.

    Args:
        arguments: module and arguments, as `Loader.arguments` returns them.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        module, *more = arguments
        self._process = subprocess.Popen(
            [*reload.python_module(module), str(os.getpid()), *more],
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )

    def __enter__(self) -> ModelProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with suppress(BrokenPipeError), self._process, self._stderr:
            pass  # an unread request is discarded

    def generate(self, request: GenerationRequest) -> GenerationTiming:
        """Generate once and return the timing.

        Raises:
            ModelProcessEnded: the process has ended, for example out of memory.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(request.model_dump_json() + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ModelProcessEnded(self._stderr_tail())
        return GenerationTiming.model_validate_json(line)

    def _stderr_tail(self) -> str:
        status = self._process.wait()
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - STDERR_BYTES))
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f"exit status {status}" + (f": {lines[-1]}" if lines else "")


def measure(
    spec: InferenceSpec, models: Mapping[ModelName, Model], device: torch.device
) -> Generator[Event, None, list[Latency]]:
    """Time the models, loader by loader and batch size by batch size.

    A model that cannot be timed gives a warning; the job goes on.
    """
    found = loaders.installed()
    rounds = (spec.warmup + spec.repeats) * len(spec.batch_sizes) * len(models)
    results: list[Latency] = []
    for place, loader in enumerate(found):
        together = _fit_together(loader, models, spec, device)
        for group in [list(models)] if together else [[name] for name in models]:
            mine = {name: models[name] for name in group}
            for event in _interleaved(loader, spec, mine, device):
                if isinstance(event, Progress):
                    before = rounds * place + rounds * list(models).index(group[0]) // len(models)
                    progress = {"done": before + event.done, "total": rounds * len(found)}
                    yield event.model_copy(update=progress)
                elif isinstance(event, Latency):
                    results.append(event.model_copy(update={"interleaved": together}))
                    yield results[-1]
                else:
                    yield event
    return results


def _interleaved(
    loader: Loader, spec: InferenceSpec, models: Mapping[ModelName, Model], device: torch.device
) -> Iterator[Event]:
    """Time models that are in memory at the same time."""
    rounds = (spec.warmup + spec.repeats) * len(spec.batch_sizes) * len(models)
    done = 0
    with ExitStack() as stack:
        watches = {
            name: stack.enter_context(ModelProcess(loader.arguments(model, device, spec)))
            for name, model in models.items()
        }
        for batch in spec.batch_sizes:
            request = GenerationRequest(
                batch=batch, prompt_tokens=spec.prompt_tokens, new_tokens=spec.new_tokens
            )
            timings: dict[ModelName, list[GenerationTiming]] = {name: [] for name in models}
            try:
                for name in list(models) * (spec.warmup + spec.repeats):
                    what = f"timing by {loader.name}, batch {batch}, {name}"
                    yield Progress(stage="evaluate", done=done, total=rounds, what=what)
                    timings[name].append(watches[name].generate(request))
                    done += 1
            except ModelProcessEnded as ended:
                yield Warned(message=f"{what}: not measured, {ended}")
                return
            for name, model in models.items():
                yield summarise(name, model, spec, batch, timings[name][spec.warmup :], loader.name)


def summarise(
    name: ModelName,
    model: Model,
    spec: InferenceSpec,
    batch: int,
    timings: Sequence[GenerationTiming],
    loader: str,
) -> Latency:
    """Medians over the rounds; the spread is the width of the 5th to 95th percentile range."""
    steps = spec.new_tokens - 1
    prefill = np.array([one.prefill for one in timings]) * 1e3
    decode = np.array([one.decode for one in timings]) * 1e3 / steps
    whole = np.array([one.prefill + one.decode for one in timings])
    return Latency(
        model=name,
        loader=loader,
        batch=batch,
        prompt_tokens=spec.prompt_tokens,
        new_tokens=spec.new_tokens,
        prefill_ms=float(np.median(prefill)),
        prefill_spread_ms=_spread(prefill),
        decode_ms_per_token=float(np.median(decode)),
        decode_spread_ms=_spread(decode),
        tokens_per_second=float(batch * spec.new_tokens / np.median(whole)),
        peak_memory_bytes=max(one.peak_memory_bytes for one in timings),
        weights_bytes=model.weights_bytes,
        repeats=len(timings),
        interleaved=True,
    )


def _spread(values: np.ndarray) -> float:
    low, high = np.percentile(values, [5, 95])
    return float(high - low)


def _fit_together(
    loader: Loader,
    models: Mapping[ModelName, Model],
    spec: InferenceSpec,
    device: torch.device,
) -> bool:
    """Whether all models fit the GPU at the same time; host memory is assumed to suffice."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return sum(loader.memory_bytes(model, spec) for model in models.values()) < free

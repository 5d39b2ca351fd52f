"""Checks at the start of a job that the hub answers, if the job needs it.

Without a network, name resolution or a connection may take minutes to fail, after other work is
done. Imports neither torch nor transformers.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import constants, get_session
from huggingface_hub import errors as hub_errors

from slimgpt.errors import CalibrationError
from slimgpt.sources.hub_errors import HubRequest, is_offline, mapped_errors
from slimgpt.sources.resolve import COMMIT
from slimgpt.sources.resolve import INSTEAD as INSTEAD_OF_MODEL
from slimgpt.sources.roots import PREFIX, UPLOAD_PREFIX
from slimgpt.spec.names import HELD_OUT
from slimgpt.spec.prune import PruneSpec

SECONDS = 10.0
"""Time limit for any answer of the hub."""
HERE = (PREFIX, UPLOAD_PREFIX)
INSTEAD = {
    "calibration": "`--calibration FILE` on the command line, `local:FILE` in a specification",
    "recovery": "`--recover FILE` on the command line, `local:FILE` in a specification",
    "evaluation": "`--eval-text FILE` or `none` on the command line, `local:FILE` in a "
    "specification",
    "task": "`--task-source FOLDER` on the command line, `tasks_source` in a specification",
    "model": INSTEAD_OF_MODEL,
}
"""Alternatives that work without a network, by the part of a job."""


def require(spec: PruneSpec) -> None:
    """Check that the hub answers, if the job needs it.

    A model at a commit and the data of tasks may be in a cache; texts from the hub are looked up
    there each time.

    Raises:
        HubUnreachableError: it does not answer, or HF_HUB_OFFLINE is set; the hint names
            alternatives.
    """
    wanted = list(_from_hub(spec))
    if wanted:
        what = ", ".join(f"{part} {name!r}" for part, name in wanted)
        reach(what, "; ".join(dict.fromkeys(INSTEAD[part] for part, _ in wanted)))


def reach(what: str, instead: str) -> None:
    """Check that the hub answers within `SECONDS`.

    Args:
        what: what is needed from the hub, for the message.
        instead: alternatives without a network.

    Raises:
        HubUnreachableError: it does not answer, or HF_HUB_OFFLINE is set.
    """
    with mapped_errors(HubRequest(what, CalibrationError, f"use local data: {instead}")):
        if is_offline():
            raise hub_errors.OfflineModeIsEnabled
        answers: queue.Queue[Exception | None] = queue.Queue()
        # A thread, because the system's resolver has no configurable time limit.
        threading.Thread(target=_ask, args=(answers,), name="hub", daemon=True).start()
        try:
            error = answers.get(timeout=SECONDS)
        except queue.Empty:
            error = TimeoutError(f"no answer in {SECONDS:g} s")
        if error is not None:
            raise error


def _ask(answers: queue.Queue[Exception | None]) -> None:
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
        answers.put(None)
    except Exception as error:
        answers.put(error)


def _from_hub(spec: PruneSpec) -> Iterator[tuple[str, str]]:
    """What the job needs from the hub and no cache has: part of the job, and name."""
    cached = is_offline() or COMMIT.fullmatch(spec.model.partition("@")[2])
    if not spec.model.startswith(PREFIX) and not cached:
        yield "model", spec.model
    for place, source in spec.text_sources.items():
        if not source.startswith(HERE) and source != HELD_OUT:
            yield place.split("/")[1], source
    if spec.evaluation.tasks_source is None and not is_offline() and not _has_data_sets():
        for task in spec.evaluation.tasks:
            if task.source is None:
                yield "task", task.name


def _has_data_sets() -> bool:
    """Whether the library `datasets` has a cache, which it reads if the hub does not answer."""
    cache = os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets"
    return Path(cache).is_dir()

"""What a job needs the hub for, asked before anything else: is it there at all?

Without a network a resolver or a connection may take minutes to say so, and everything that was
made ready until then was for nothing. Imports neither torch nor transformers.
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
"""In which a hub that can be reached says something, whatever it is."""
HERE = (PREFIX, UPLOAD_PREFIX)
INSTEAD = {
    "calibration": "`--calibration FILE` on the command line, `local:FILE` in a specification",
    "recovery": "`--recover FILE` on the command line, `local:FILE` in a specification",
    "evaluation": "`--eval-text FILE` or `none` on the command line, `local:FILE` in a "
    "specification",
    "task": "`--task-source FOLDER` on the command line, `tasks_source` in a specification",
    "model": INSTEAD_OF_MODEL,
}
"""What works without a network, by the part of a job that wants it."""


def require(spec: PruneSpec) -> None:
    """See that the hub answers, if the job cannot do without it.

    A model at a commit, and what tasks ask, may lie in a cache; the texts that are read from the
    hub are looked up there each time.

    Raises:
        HubUnreachableError: it does not, or is switched off; says what works without it.
    """
    wanted = list(_from_hub(spec))
    if wanted:
        what = ", ".join(f"{part} {name!r}" for part, name in wanted)
        reach(what, "; ".join(dict.fromkeys(INSTEAD[part] for part, _ in wanted)))


def reach(what: str, instead: str) -> None:
    """Have any answer from the hub in a few seconds.

    Args:
        what: is wanted, for the message.
        instead: works without a network.

    Raises:
        HubUnreachableError: nothing comes, or the hub is switched off.
    """
    with mapped_errors(HubRequest(what, CalibrationError, f"do without it: {instead}")):
        if is_offline():
            raise hub_errors.OfflineModeIsEnabled
        answers: queue.Queue[Exception | None] = queue.Queue()
        # A thread: the system's resolver has no limit of time that we could set.
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
    """What the job wants of the hub, and no cache has: of which part of the job, and its name."""
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
    """Whether the library `datasets` has a cache, from which it reads where there is no hub."""
    cache = os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets"
    return Path(cache).is_dir()

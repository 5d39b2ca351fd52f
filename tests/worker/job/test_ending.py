"""What a job's owner is told of an engine that broke: the words, not the worker's disk."""

from __future__ import annotations

import pytest

from slimgpt.events import Failed
from worker.job.ending import Broken, Killed, of_exit, reason

WHERE = "stage prune"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("KeyError: 'rope_theta'", "KeyError: 'rope_theta'"),
        ("OSError: /srv/work/job_1/engine/a.bin is torn", "OSError: … is torn"),
        ("OSError: [Errno 2] No such file: '/srv/my models/x.json'", "No such file: '…'"),
        ('FileNotFoundError: "/srv/a b": missing', '"…": missing'),
        ("Error: ~/.cache/huggingface/hub and C:\\Users\\ada\\x differ", "Error: … and … differ"),
        (
            "see https://huggingface.co/docs/x, org/name",
            "see https://huggingface.co/docs/x, org/name",
        ),
        ("ratio 3/4 of 8/8 heads, 5 tokens/s", "ratio 3/4 of 8/8 heads, 5 tokens/s"),
        ("loading (/opt/a/b.so): undefined", "loading (…): undefined"),
        ("path=/etc/shadow", "path=…"),
    ],
)
def test_paths_of_the_worker_are_left_out(written: str, told: str) -> None:
    crashed = of_exit(1, None, WHERE, f"Traceback …\n{written}\n")
    assert isinstance(crashed, Broken)
    assert crashed.message.startswith("the engine exited with status 1 during stage prune: ")
    assert told in crashed.message
    assert "/srv" not in crashed.message
    defect = of_exit(1, Failed(code="internal-error", message=written), WHERE, "")
    assert isinstance(defect, Broken)
    assert told in defect.message
    assert told in reason(RuntimeError(written))


def test_what_the_engine_says_of_the_request_stays_as_it_is() -> None:
    failed = Failed(code="model-not-found", message="local:/a/b is not there", hint="name /x")
    told = of_exit(1, failed, WHERE, "")
    assert isinstance(told, Broken)
    assert (told.message, told.hint) == (failed.message, failed.hint)


@pytest.mark.parametrize(
    ("number", "code", "name"),
    [
        (9, "engine-killed", "SIGKILL"),
        (11, "engine-crashed", "SIGSEGV"),
        (99, "engine-crashed", "unknown"),
    ],
)
def test_a_signal_is_named_with_the_place_and_the_memory(number: int, code: str, name: str) -> None:
    killed = of_exit(-number, None, WHERE, "", 3 << 30)
    assert isinstance(killed, Killed)
    told = killed.broken(twice=True)
    assert told.code == code
    words = f"killed by signal {number} ({name}"
    assert words in told.message
    assert "for the second time during stage prune, having used up to 3.0 GiB" in told.message
    assert words in killed.broken(twice=False).message
    assert "memory" not in Killed(number, WHERE).words()

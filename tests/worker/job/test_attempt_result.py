"""What a job's owner is told of an engine that broke: the words, not the worker's disk."""

from __future__ import annotations

import pytest

from slimgpt.events import Failed
from worker.engine.oom_kills import Finding
from worker.job.attempt_result import Failure, Killed, from_exit, public_message

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
        ("full:/var/lib/x:/usr/lib", "full:…:…"),
        ("file:///tmp/a%20b is torn", "… is torn"),
    ],
)
@pytest.mark.parametrize("code", ["internal-error", "storage-error", "broken-checkpoint"])
def test_paths_of_the_worker_are_left_out_whatever_the_code(
    written: str, told: str, code: str
) -> None:
    failed = Failed(code=code, message=written, hint=written)
    ends = [
        from_exit(1, None, WHERE, f"Traceback …\n{written}\n"),
        from_exit(1, failed, WHERE, ""),
        Failure("worker-error", public_message(RuntimeError(written)), ""),
    ]
    for ended in ends:
        assert isinstance(ended, Failure)
        assert told in ended.error()["message"]
        assert not [root for root in ("/srv", "/etc", "/tmp") if root in str(ended.error())]
        assert told in ended.error()["hint"] or ended.hint != written


def test_what_the_engine_says_of_the_request_stays_as_it_is() -> None:
    words = "local:/a/b is not there, nor /schedule/ratios of GET /jobs/{id}"
    failed = Failed(code="model-not-found", message=words, hint="name /x")
    told = from_exit(1, failed, WHERE, "")
    assert isinstance(told, Failure)
    assert told.error() == {"code": failed.code, "message": failed.message, "hint": "name /x"}


@pytest.mark.parametrize(
    ("number", "code", "name"),
    [
        (9, "engine-killed", "SIGKILL"),
        (11, "engine-crashed", "SIGSEGV"),
        (99, "engine-crashed", "unknown"),
    ],
)
def test_a_signal_is_named_with_the_place_and_the_memory(number: int, code: str, name: str) -> None:
    assert isinstance(from_exit(128 + 9, None, WHERE, ""), Killed)  # as a shell says it
    killed = from_exit(-number, None, WHERE, "", 3 << 30)
    assert isinstance(killed, Killed)
    told = killed.failure(twice=True)
    assert told.code == code
    words = f"killed by signal {number} ({name}"
    assert words in told.message
    assert "for the second time during stage prune, after it used up to 3.0 GiB" in told.message
    assert words in killed.failure(twice=False).message
    assert "it used up to" not in Killed(number, WHERE).message()


@pytest.mark.parametrize(
    ("found", "said", "blamed"),
    [
        ("group", "because memory ran out at the worker's limit of 4.0 GiB", True),
        ("machine", "memory ran out on the machine", True),
        ("none", "the system did not run out of memory", False),
        ("unknown", "the system does not tell whether memory ran out", False),
    ],
)
def test_memory_is_blamed_only_if_the_system_says_so(
    found: Finding, said: str, blamed: bool
) -> None:
    killed = from_exit(-9, None, WHERE, "", 3 << 30, (found, 4 << 30))
    assert isinstance(killed, Killed)
    told = killed.failure(twice=True)
    assert said in told.message
    assert "it used up to 3.0 GiB of memory" in told.message
    assert told.hint.startswith("use fewer or shorter calibration sequences") is blamed
    assert killed.record()["out_of_memory"] == found

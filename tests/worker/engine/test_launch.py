"""What is launched dies with its parent; what is stopped takes its family along."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from jobs.environment import engine_environment
from tests.servers import wait_until
from tests.worker.job.test_supervisor import gone
from worker.engine import launch
from worker.engine.process import EngineProcess, start

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(1000)"]


def test_the_command_gets_its_arguments_and_its_status(tmp_path: Path) -> None:
    code = "import sys; print(sys.argv[1:]); sys.exit(3)"
    done = subprocess.run(
        launch.command([sys.executable, "-c", code, "a b", "-x"]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("['a b', '-x']\n", 3)


def test_a_parent_that_is_gone_already_is_noticed() -> None:
    words = [*launch.command(SLEEP)]
    words[words.index(str(os.getpid()))] = "1"  # nobody's parent here
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "process 1, which started this one, is gone" in done.stderr


def test_it_dies_with_a_parent_that_is_killed() -> None:
    code = (
        "import subprocess, time; from worker.engine import launch\n"
        f"child = subprocess.Popen(launch.command({SLEEP!r}))\n"
        "print(child.pid, flush=True); time.sleep(1000)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    arguments = Path(f"/proc/{child}/cmdline")
    wait_until(lambda: b"launch.py" not in arguments.read_bytes(), "the command runs")
    assert not gone(child)
    parent.kill()
    parent.communicate()
    wait_until(lambda: gone(child), "the child is gone")


def test_what_the_engine_leaves_behind_is_ended(tmp_path: Path) -> None:
    code = f"import subprocess; print(subprocess.Popen({SLEEP!r}).pid, flush=True)"
    command = [sys.executable, "-c", f"{code}; open('pid', 'w').write('done')"]
    process = start(command, folder=tmp_path, environment=engine_environment(os.environ))
    engine = EngineProcess(process)
    assert engine.returncode == 0
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    assert str(engine.pid) not in children
    engine.close()
    assert engine.garbage == 1  # the number that it printed is no event


def test_only_what_is_listed_passes() -> None:
    secrets = {"SLIMGPT_REDIS_URL": "s", "DATABASE_URL": "s", "AWS_SECRET_ACCESS_KEY": "s"}
    wanted = {"PATH": "p", "HF_TOKEN": "t", "CUDA_VISIBLE_DEVICES": "0", "https_proxy": "x"}
    fixed = {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}
    assert engine_environment(secrets | wanted) == wanted | fixed


def test_the_engine_leaves_no_core_and_comes_last(tmp_path: Path) -> None:
    """It goes first when memory is out, and computes when others do not."""
    code = (
        "import os, resource, sys; from pathlib import Path\n"
        "score = Path('/proc/self/oom_score_adj')\n"
        "said = score.read_text().strip() if score.exists() else 'none'\n"
        "sys.exit(f'{resource.getrlimit(resource.RLIMIT_CORE)} {os.nice(0)} {said}')"
    )
    command = [sys.executable, "-S", "-c", code]
    process = start(command, folder=tmp_path, environment=engine_environment(os.environ))
    engine = EngineProcess(process)
    assert engine.returncode == 1
    core, nice, score = engine.tail.strip().rsplit(" ", 2)
    engine.close()
    assert int(nice) == min(19, os.nice(0) + launch.YIELDING)
    assert core in ("(1, 1)", "(0, 0)")
    own = Path("/proc/self/oom_score_adj")
    if own.exists():
        assert int(score) == min(1000, int(own.read_text()) + launch.EXPENDABLE)

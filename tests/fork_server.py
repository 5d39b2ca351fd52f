"""Processes that need not import torch: forked from one that has, and that has never seen a model.

Starting a Python that loads a model takes ten times as long as loading a tiny one. So a server
imports the libraries once for the session, none of the project's own modules, and

    [*server.command("slimgpt.verification.processes.transformers_logits"), ...]

is a command line that runs a module as `python -m` does, in a fork of its own: with the caller's
arguments, environment, working folder and standard files. It ends when the command is killed. The
proofs that such a process asks for in its turn are forks too. So run commands that load a model,
and the engine of services that do whole jobs. Started as users start it is one of each kind: the
first job, `slimgpt prune`, each proof (fixture `cold_start`), and whatever is sent a signal that it
could answer.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
LIBRARIES = (
    "transformers.modeling_utils",
    "transformers.models.llama.modeling_llama",
    "pydantic",
    "typer",
    "rich.progress",
)
PROOFS = "slimgpt.verification.processes"
LENGTH = 4  # bytes of a request's length, and of the exit status that answers it
STANDARD_FILES = (0, 1, 2)


class ForkServer:
    """Where to ask for forks.

    Args:
        path: of the socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, module: str) -> list[str]:
        """A command line that runs a module in a fork; its arguments may follow."""
        if not self._path.exists():
            self._start()
        return [sys.executable, "-I", "-S", __file__, str(self._path), module]

    def engine(self) -> dict[str, str]:
        """Settings of a service whose engine is a fork."""
        return {"SLIMGPT_ENGINE_COMMAND": json.dumps(self.command("slimgpt"))}

    def _start(self) -> None:
        """Listen here and now: who asks before the libraries are imported waits."""
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(self._path))
            listening.listen()
            number = listening.fileno()
            words = [sys.executable, "-m", "tests.fork_server", str(number), str(os.getpid())]
            self._process = subprocess.Popen(
                words, pass_fds=[number], cwd=Path(__file__).parents[1]
            )

    def close(self) -> None:
        """End the server, if it was started here."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def take_proofs(self, put: Callable[[Any, str, Any], None]) -> None:
        """Have this process's proofs of load and timings run in forks, where they are imported.

        Args:
            put: sets an attribute.
        """
        reload = sys.modules.get("slimgpt.verification.reload")
        if reload is not None:
            put(reload, "python_module", self._proof_command)

    def _proof_command(self, name: str) -> list[str]:
        """As `slimgpt.verification.reload.python_module`; llama.cpp does not need the libraries."""
        module = f"{PROOFS}.{name}"
        return [sys.executable, "-m", module] if "llama" in name else self.command(module)


def serve(listening: socket.socket) -> NoReturn:
    """Import the libraries, then fork for everyone who asks."""
    import gc

    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()
    path = Path(listening.getsockname())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who attend
    while True:
        caller, _ = listening.accept()
        with caller:
            if os.fork() == 0:
                listening.close()
                _attend(caller, path)


def _attend(caller: socket.socket, path: Path) -> NoReturn:
    """Run what the caller asks for in one fork more, and tell its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, files, _, _ = socket.recv_fds(caller, LENGTH, len(STANDARD_FILES))
    body = caller.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
    ends, held = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(ends)
        _become(json.loads(body), files, path)
    for file in (*files, held):
        os.close(file)
    ready, _, _ = select.select([caller.fileno(), ends], [], [])
    if ends not in ready:  # the caller is gone
        os.kill(process, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with suppress(OSError):  # the caller is gone
        caller.sendall(status.to_bytes(LENGTH, "big", signed=True))
    os._exit(0)


def _become(request: dict[str, Any], files: list[int], path: Path) -> NoReturn:
    """Be the process that was asked for."""
    for standard, file in zip(STANDARD_FILES, files, strict=True):
        os.dup2(file, standard)
    status = 1
    try:
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        _run(path, *request["words"])
        status = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        else:
            status = int(end.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run(path: Path, module: str, *arguments: str) -> None:
    """As `python -m`, in an environment that was read when the server started."""
    import runpy

    from transformers import dynamic_module_utils

    from slimgpt.machine import child_process

    sys.path[:1] = [os.getcwd(), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    if "HF_MODULES_CACHE" in os.environ:
        dynamic_module_utils.HF_MODULES_CACHE = os.environ["HF_MODULES_CACHE"]
    child_process.exit_with_parent = lambda parent: None  # who attends sees to it
    if not module.startswith("slimgpt.verification"):
        importlib.import_module("slimgpt.verification.reload")
        ForkServer(path).take_proofs(setattr)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def ask(path: str, words: list[str]) -> int:
    """Have a server run a module; its exit status, as a shell tells it."""
    request = {"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}
    body = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [len(body).to_bytes(LENGTH, "big")], list(STANDARD_FILES))
        server.sendall(body)
        answer = server.recv(LENGTH, socket.MSG_WAITALL)
    status = int.from_bytes(answer, "big", signed=True) if answer else 1
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    if sys.argv[1].isdigit():
        from slimgpt.machine.child_process import exit_with_parent

        exit_with_parent(int(sys.argv[2]))
        serve(socket.socket(fileno=int(sys.argv[1])))
    sys.exit(ask(sys.argv[1], sys.argv[2:]))

"""Runs an untrusted tokenizer in a subprocess with limits of time and memory.

A tokenizer can exhaust time or memory: by regular expressions that backtrack, replacements that
expand text, chat templates with nested loops. A process cannot stop this in itself, so a subprocess
runs the tokenizer, with limits in proportion to the text that it was given (`RLIMIT_CPU`,
`RLIMIT_DATA`).

    with opened(folder) as tokenizer:
        ids = tokenizer.encode(text)

The subprocess is started once, does not import torch, and loads one folder after the other.
"""

from __future__ import annotations

import atexit
import math
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

from slimgpt.errors import SlimGPTError, UnsupportedModelError
from slimgpt.machine.child_process import exit_with_parent
from slimgpt.texts.tokenization import samples
from slimgpt.texts.tokenization.messages import read, write
from slimgpt.texts.tokenization.tokenizer import Tokenizer

SECONDS = 30
"""CPU time to load a tokenizer, and again for all texts, in addition to `BYTES_A_SECOND`."""
BYTES_A_SECOND = 50_000  # of text; the slowest tokenizers take ten times as many
MEMORY = 4 << 30
MEMORY_A_BYTE = 256  # of text
ANSWER = 64 << 20
ANSWER_A_BYTE = 256
PATIENCE = 20  # wall-clock limit as a multiple of CPU time, for busy machines and deadlocks
START_SECONDS = 600.0
DESCRIBE = "describe"
HINT = (
    "a pattern or template in the model's folder needs too much time or memory: use the "
    "tokenizer.json and chat templates of the model's authors"
)


@contextmanager
def opened(folder: Path) -> Iterator[Tokenizer]:
    """The tokenizer of a checkpoint folder, running in the subprocess.

    Raises (also by the tokenizer's methods):
        UnsupportedModelError: it exceeded the limits of time or memory, or crashed.
        SlimGPTError: as `Tokenizer`.
    """
    process = _Process.running()
    try:
        process.load(folder)
        yield cast(Tokenizer, _Remote(process))
    finally:
        process.forget()


def start() -> None:
    """Start the subprocess, which imports its libraries, before it is needed."""
    _Process.running()


def describe(tokenizer: Tokenizer) -> dict[str, Any]:
    """Results of a tokenizer of `opened` on samples (`slimgpt.texts.tokenization.samples`).

    Raises:
        UnsupportedModelError: as `opened`.
    """
    described: dict[str, Any] = cast(_Remote, tokenizer).process.ask(DESCRIBE)
    return described


class _Remote:
    """A proxy with the interface of `Tokenizer`."""

    def __init__(self, process: _Process) -> None:
        self.process = process

    def __getattr__(self, name: str) -> Any:
        if name == "inner" or name.startswith("_"):
            raise AttributeError(f"{name} is only available in the subprocess")
        if callable(getattr(Tokenizer, name, None)):
            return partial(self.process.ask, name)
        value = self.process.ask(name)
        setattr(self, name, value)  # attributes are constant
        return value


class _Process:
    """The subprocess; this process has at most one."""

    _one: _Process | None = None

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", __name__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
        )
        self._given = 0
        atexit.register(self._close)

    @classmethod
    def running(cls) -> _Process:
        """The running subprocess, or a new one."""
        if cls._one is None or cls._one._child.poll() is not None:
            cls._one = cls()
        return cls._one

    def load(self, folder: Path) -> None:
        """Load a folder's tokenizer in place of the previous one."""
        self._given = 0
        self._send(("load", (str(folder), SECONDS), {}), "the model's tokenizer")

    def forget(self) -> None:
        """Free the tokenizer's memory."""
        if self._child.poll() is None:
            with suppress(SlimGPTError):
                self._send(("forget", (), {}), "the model's tokenizer")

    def ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """The value of the tokenizer's attribute, or the result of its method."""
        what = "the model's chat template" if "chat" in name else "the model's tokenizer"
        if name == DESCRIBE:
            what += ", or one of its chat templates,"
        return self._send((name, args, kwargs), what)

    def _send(self, request: tuple[str, tuple[Any, ...], dict[str, Any]], what: str) -> Any:
        raw = pickle.dumps(request)
        self._given += len(raw)
        seconds = SECONDS + self._given // BYTES_A_SECOND
        asks, tells = self._child.stdin, self._child.stdout
        assert asks is not None
        assert tells is not None
        try:
            write(asks, raw)
            done, answer = pickle.loads(read(tells, START_SECONDS + PATIENCE * seconds))
        except (EOFError, BrokenPipeError, TimeoutError) as error:
            raise self._ended(what, seconds) from error
        if done:
            return answer
        if isinstance(answer, SlimGPTError):
            raise answer
        raise UnsupportedModelError(f"{what} {answer}", hint=HINT)

    def _close(self) -> int:
        """Kill the process and return its exit status."""
        self._child.kill()
        with self._child:
            pass
        atexit.unregister(self._close)
        return self._child.returncode

    def _ended(self, what: str, seconds: int) -> UnsupportedModelError:
        """The error that explains why the process does not answer."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(1.0)
        waited = self._child.poll() is None
        status = self._close()
        if waited or status == -signal.SIGXCPU:
            return UnsupportedModelError(
                f"{what} took more than {seconds} s of CPU time", hint=HINT
            )
        return UnsupportedModelError(
            f"{what} crashed its process ({_name(status)}): most likely it needs more than "
            f"{MEMORY >> 30} GiB of memory",
            hint=HINT,
        )


def _name(status: int) -> str:
    known = {number.value: number.name for number in signal.Signals}
    return f"exit status {status}" if status >= 0 else known.get(-status, f"signal {-status}")


class _Server:
    """The subprocess's side: holds a tokenizer and sets its own resource limits."""

    def __init__(self) -> None:
        self.tokenizer: Tokenizer | None = None
        self.began = 0.0
        self.seconds = SECONDS
        self.given = 0

    def answer(self, raw: bytes) -> bytes:
        """Handle a request; returns the result or the error."""
        name, args, kwargs = pickle.loads(raw)
        if name in ("load", "forget"):
            self.tokenizer, self.began, self.given = None, time.process_time(), 0
            self.seconds = args[1] if args else SECONDS
        self.given += len(raw)
        self._bound()
        try:
            result = pickle.dumps((True, self._do(name, args, kwargs)))
        except BaseException as error:  # a panic of the library `tokenizers` is not an Exception
            return pickle.dumps((False, _said(error)))
        if len(result) > ANSWER + ANSWER_A_BYTE * self.given:
            made = f"expands {self.given:,} bytes of text to {len(result) >> 20} MiB"
            return pickle.dumps((False, made))
        return result

    def _do(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name == "load":
            self.tokenizer = Tokenizer.load(Path(args[0]))
            # Loading and texts have separate limits of CPU time.
            self.began = time.process_time()
            return None
        if name == "forget":
            return None
        assert self.tokenizer is not None
        if name == DESCRIBE:
            return samples.describe(self.tokenizer)
        attribute = getattr(self.tokenizer, name)
        return attribute(*args, **kwargs) if callable(attribute) else attribute

    def _bound(self) -> None:
        """Set limits of CPU time and memory, in proportion to the bytes given so far."""
        seconds = self.began + self.seconds + self.given // BYTES_A_SECOND
        _limit(resource.RLIMIT_CPU, math.ceil(seconds) + 1)  # below what was used: it ends at once
        _limit(resource.RLIMIT_DATA, MEMORY + MEMORY_A_BYTE * self.given)


def _said(error: BaseException) -> SlimGPTError | str:
    """The engine's error, or a predicate that describes another one."""
    cause: BaseException | None = error
    while cause is not None:  # a MemoryError may be wrapped
        if isinstance(cause, MemoryError):
            return f"needs more than {MEMORY >> 30} GiB of memory"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, SlimGPTError):
        return error
    traceback.print_exception(error)
    return f"fails ({type(error).__name__}: {str(error)[:200]})"


def _limit(kind: int, soft: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def main(parent: int) -> None:
    """Answer requests until standard input ends."""
    exit_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    sys.modules["torch"] = None  # type: ignore[assignment]  # tokenizers do not need torch
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"  # it advises to install torch
    import transformers

    transformers.logging.set_verbosity_error()
    # Import lazily loaded modules now, before CPU time is counted.
    _ = (transformers.AutoTokenizer, transformers.PreTrainedTokenizerFast)
    server = _Server()
    with suppress(EOFError):
        while True:
            write(answers, server.answer(read(sys.stdin.buffer)))


if __name__ == "__main__":
    main(int(sys.argv[1]))

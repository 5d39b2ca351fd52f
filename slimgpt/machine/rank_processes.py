"""The processes of further devices, started and watched by the process of the first.

    python -m slimgpt.machine.rank_processes PARENT RANK SIZE DEVICE PIPE STORE

Each runs the functions that come through its pipe, writes nothing, and dies with its parent. One
that ends early, or fails, is noticed by the parent while it waits for it in a collective. The
processes find each other through a file and talk over the loopback interface, GPUs through NCCL.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Concatenate

import torch
import torch.distributed as dist

from slimgpt.errors import RankError, SlimGPTError, SpecError
from slimgpt.machine import threads
from slimgpt.machine.child_process import exit_with_parent
from slimgpt.machine.precision import device_for
from slimgpt.machine.ranks import POLL_SECONDS, P, R, Ranks, S, T

ENVIRONMENT = {
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "lo",
    # NCCL's errors are raised where they are waited for; its watchdog would abort this process.
    "TORCH_NCCL_BLOCKING_WAIT": "1",
    "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0",
}
MARGIN_SECONDS = 60.0
ABORT_SECONDS = 20.0
BLAME_SECONDS = 5.0
"""From a broken connection to the end of the process at its other side."""
START_SECONDS = 0.05
"""Between two looks at processes that start."""
READY = "ready"


def opened(name: str, devices: int) -> Ranks:
    """The ranks of a job, a context manager; the processes of further devices are starting.

    Args:
        name: of the device: cpu, cuda, cuda:N or auto.
        devices: GPUs 0 to `devices` - 1, or on a CPU processes that share its cores.

    Raises:
        SpecError: this machine has no such device, or fewer devices.
    """
    device = device_for(name)
    if devices == 1:
        return Ranks(device)
    if device.index is not None:
        raise SpecError(
            f"devices: {devices} devices cannot be {name} alone", hint="use device cuda or auto"
        )
    gpu = device.type == "cuda"
    there = torch.cuda.device_count() if gpu else threads.available()
    if devices > there:
        what = f"GPU{'s' * (there != 1)}" if gpu else f"core{'s' * (there != 1)} of a CPU"
        raise SpecError(
            f"devices: {devices} were asked for, this machine has {there} {what}",
            hint=f"ask for at most {there}, or use a machine with more",
        )
    return FirstRank(device, devices)


@dataclass
class _Other:
    """A process of another rank; `ready` when it has imported the libraries."""

    device: str
    process: subprocess.Popen[bytes]
    pipe: Connection
    ready: bool = False

    def error(self) -> BaseException | None:
        """Why it has failed, as it told, or how it ended; None while it runs."""
        status = self.process.poll()
        with suppress(EOFError, OSError):
            while self.pipe.poll():
                said = self.pipe.recv()
                if isinstance(said, BaseException):
                    return said
                self.ready = True
        if status is None:
            return None
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return RankError(
            f"the process of device {self.device} ended ({how})",
            hint="its memory may have run out; what it wrote is in the log; resume the job",
        )


class FirstRank(Ranks):
    """The first rank, which owns the processes of the others.

    Args:
        device: its own; GPUs are numbered from it.
        size: number of processes.
    """

    def __init__(self, device: torch.device, size: int) -> None:
        super().__init__(device, 0, size)
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self._room = tempfile.TemporaryDirectory(prefix="slimgpt-ranks-")
        self._store = str(Path(self._room.name) / "store")
        self._joined = False
        self._others = [self._started(rank) for rank in range(1, size)]

    def together(
        self,
        function: Callable[Concatenate[Ranks, P], Generator[T, S, R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Generator[T, S, R]:
        """Run a generator function in all processes; see `Ranks.together`."""
        task = pickle.dumps((function, args, kwargs))
        if not self._joined:
            self._await_ready()
        for other in self._others:
            with suppress(OSError):  # it has ended: noticed in the first collective
                other.pipe.send_bytes(task)
        with _share_of_cores(self):
            if not self._joined:
                _join(self, self._store)
                self._joined = True
            return (yield from function(self, *args, **kwargs))

    def check(self) -> None:
        """Raise the error of another rank."""
        errors = [error for other in self._others if (error := other.error()) is not None]
        if errors:  # what a process said tells more than how another ended
            raise min(errors, key=lambda error: type(error) is RankError)

    def explain(self, error: RuntimeError) -> None:
        """Raise the error of the rank at the other side of a broken connection."""
        over = time.monotonic() + BLAME_SECONDS
        while time.monotonic() < over:
            self.check()
            time.sleep(POLL_SECONDS)
        super().explain(error)

    def __exit__(self, *_: object) -> None:
        """End the other processes."""
        for other in self._others:
            other.process.kill()
        for other in self._others:
            other.process.wait()
            other.pipe.close()
        if self._joined:
            _leave(self.device)
        self._room.cleanup()

    def _started(self, rank: int) -> _Other:
        mine, its = socket.socketpair()
        device = f"cuda:{rank}" if self.device.type == "cuda" else str(self.device)
        words = [os.getpid(), rank, self.size, device, its.fileno(), self._store]
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=sys.__stderr__ or subprocess.DEVNULL,
            pass_fds=[its.fileno()],
        )
        its.close()
        return _Other(device, process, Connection(mine.detach()))

    def _await_ready(self) -> None:
        """Wait until the others have imported the libraries."""
        over = time.monotonic() + self.patience
        while not all(other.ready for other in self._others):
            self.check()
            if time.monotonic() > over:
                raise RankError(
                    f"a process does not start within {self.patience:g} s",
                    hint="check the devices, and resume the job",
                )
            time.sleep(START_SECONDS)


def _join(ranks: Ranks, store: str) -> None:
    """Connect all processes; each calls this."""
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if ranks.device.type == "cuda" else "gloo",
        store=dist.FileStore(store, ranks.size),  # type: ignore[attr-defined]
        rank=ranks.rank,
        world_size=ranks.size,
        timeout=timedelta(seconds=ranks.patience + MARGIN_SECONDS),
    )
    ranks.sum_(torch.zeros(1, device=ranks.device))  # NCCL connects now, while all are alive


def _leave(device: torch.device) -> None:
    """Give up the connections to processes that are no more."""
    if device.type != "cuda":
        dist.destroy_process_group()
        return
    # A kernel may wait for one of them for ever; NCCL's abort, which ends it, may wait, too.
    abort = threading.Thread(target=dist.distributed_c10d._abort_process_group, daemon=True)
    abort.start()
    abort.join(ABORT_SECONDS)


@contextmanager
def _share_of_cores(ranks: Ranks) -> Iterator[None]:
    """Divide the cores between the processes while all compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // ranks.size))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def main(arguments: list[str]) -> None:
    """Run what the parent asks for until it ends."""
    parent, rank, size, device, pipe, store = arguments
    exit_with_parent(int(parent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    orders = Connection(int(pipe))
    try:
        ranks = Ranks(device_for(device), int(rank), int(size))
        if ranks.device.type == "cuda":
            torch.cuda.set_device(ranks.device)
        import transformers  # noqa: F401 - meanwhile the parent reads texts

        orders.send(READY)
        _work(ranks, orders, store)
    except EOFError:
        return
    except BaseException as error:
        traceback.print_exc()
        if isinstance(error, RankError):  # it follows from the end of another, which says more
            time.sleep(2 * BLAME_SECONDS)
        orders.send(_sendable(error, device))
        raise SystemExit(1) from error


def _work(ranks: Ranks, orders: Connection, store: str) -> None:
    joined = False
    with _share_of_cores(ranks):
        while True:
            task = orders.recv_bytes()
            if not joined:
                _join(ranks, store)
                joined = True
            function, args, kwargs = pickle.loads(task)
            deque(function(ranks, *args, **kwargs), maxlen=0)


def _sendable(error: BaseException, device: str) -> BaseException:
    """The error, if it can be pickled; the parent raises it as its own."""
    if isinstance(error, SlimGPTError | torch.OutOfMemoryError | OSError | MemoryError):
        return error
    return RuntimeError(f"on device {device}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])

"""`Container`: one service of the compose file as a process of this machine.

Command, entrypoint, environment and health check are the file's own; what a container runtime
would give is put in place of names: a service's host and port become 127.0.0.1 and a free port,
a mounted folder becomes its source, an image becomes a program that is installed here.
"""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.servers import free_port, wait_until

HEALTHY_SECONDS = 180.0
DONE_SECONDS = 180.0
PORTS = {
    "postgres": (5432,), "redis": (6379,), "s3": (8333,), "api": (8000,), "reaper": (9100,),
    "worker-cpu": (9100,), "prometheus": (9090,), "alertmanager": (9093,),
}  # fmt: skip
HOME = "/var/lib/slimgpt"
PRIVATELY = ("unshare", "--mount", "--propagation", "private", "sh", "-c")
READ_ONLY = "mount -o remount,bind,ro /"
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Image:
    """What stands for an image here.

    Args:
        programs: folders of the programs that its commands and health checks name.
        env: the environment that it brings.
        user: who runs it; None is this user.
        shares_tmp: it writes to `/tmp` whatever TMPDIR says.
    """

    programs: tuple[Path, ...]
    env: dict[str, str] = field(default_factory=dict)
    user: str | None = None
    shares_tmp: bool = False


class Machine:
    """The places of all containers: ports of this machine, folders for volumes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: {port: free_port() for port in ports} for name, ports in PORTS.items()}

    def at(self, service: str) -> str:
        """`127.0.0.1:PORT` of a service's first port."""
        return f"127.0.0.1:{next(iter(self.ports[service].values()))}"

    def local(self, text: str, service: str, mounts: dict[str, str]) -> str:
        """The text of a service with this machine's names in it."""
        for name, ports in self.ports.items():
            for port, here in ports.items():
                text = re.sub(rf"(?<![\w.-]){name}:{port}(?!\d)", f"127.0.0.1:{here}", text)
        for port, here in self.ports.get(service, {}).items():
            text = re.sub(rf"(?<!\w){port}(?!\w)", str(here), text)
        for target in sorted(mounts, key=len, reverse=True):
            text = re.sub(rf"(?<![\w.:]){re.escape(target)}(?![\w-])", mounts[target], text)
        return text


class Container:
    """A service's process.

    Args:
        name: of the service.
        service: what Compose rendered of it.
        image: what stands for its image.
        machine: where everything is.
    """

    def __init__(self, name: str, service: dict[str, Any], image: Image, machine: Machine) -> None:
        self.name, self.service, self.image, self.machine = name, service, image, machine
        self.folder = machine.folder / "containers" / name
        self.tmp = self.folder / "tmp"
        self.tmp.mkdir(parents=True)
        self.writable = [self.tmp]
        self.mounts = self._mounts()
        self.process: subprocess.Popen[bytes] | None = None
        self.healthy = False

    def _mounts(self) -> dict[str, str]:
        """Where the container's paths are here; `/tmp` goes by TMPDIR."""
        mounts = {HOME: str(self.folder / "home")}
        Path(mounts[HOME]).mkdir()
        for volume in self.service.get("volumes", []):
            named = self.machine.folder / "volumes" / volume["source"].lstrip("/")
            source = named if volume["type"] == "volume" else Path(volume["source"])
            source.mkdir(parents=True, exist_ok=True)
            if not volume.get("read_only"):
                self.writable.append(source)
            target = Path(volume["target"])
            if target.is_relative_to(HOME):
                (Path(mounts[HOME]) / target.relative_to(HOME)).symlink_to(source)
            else:
                mounts[volume["target"]] = str(source)
        for entry in self.service.get("tmpfs", []):
            target = Path(entry.split(":")[0])
            if str(target) != "/tmp":
                place = self.folder / target.relative_to("/")
                place.mkdir(parents=True)
                mounts[str(target)] = str(place)
                self.writable.append(place)
        return mounts

    def _local(self, words: list[str]) -> list[str]:
        return [self.machine.local(word, self.name, self.mounts) for word in words]

    @property
    def command(self) -> list[str]:
        """Entrypoint and command, as they run here."""
        entrypoint, command = self.service.get("entrypoint"), self.service.get("command")
        return self._local([*(entrypoint or []), *(command or [])])

    @property
    def env(self) -> dict[str, str]:
        """The container's whole environment: the image's, then the file's."""
        given = {**self.image.env, **(self.service.get("environment") or {})}
        local = {k: self.machine.local(v or "", self.name, self.mounts) for k, v in given.items()}
        path = os.pathsep.join([*map(str, self.image.programs), "/usr/bin", "/bin"])
        return {**local, "PATH": path, "TMPDIR": str(self.tmp), "HOME": str(self.tmp)}

    def _confined(self) -> list[str]:
        """The command on a read-only file system but for its volumes; where root may do that."""
        free = self.image.user or self.image.shares_tmp or not self.service["read_only"]
        if free or not can_confine():
            return self.command
        places = [shlex.quote(str(place)) for place in self.writable]
        binds = "; ".join(f"mount --bind {place} {place}" for place in places)
        script = f'set -e; {binds}; {READ_ONLY}; cd {places[0]}; exec "$@"'
        return [*PRIVATELY, script, "sh", *self.command]

    def start(self) -> None:
        """Start the process; it dies with the tests."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._confined(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                cwd=self.tmp if not self.image.user else "/",
                user=self.image.user,
                start_new_session=True,
                preexec_fn=lambda: _libc.prctl(1, signal.SIGKILL, 0, 0, 0),  # noqa: PLW1509
            )

    def log(self) -> str:
        """The last of what it wrote."""
        return (self.folder / "log").read_text(errors="replace")[-6000:]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`docker compose exec`: a command beside the process, in its environment."""
        return subprocess.run(
            self._local(list(words)),
            env=self.env,
            cwd=self.tmp,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def await_healthy(self) -> None:
        """Run the health check until it succeeds, once."""
        if self.healthy:
            return
        kind, *words = self.service["healthcheck"]["test"]
        assert kind == "CMD"
        said: list[str] = []

        def healthy() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"{self.name} ended with {self.process.returncode}:\n{self.log()}"
                )
            checked = self.run(*words)
            said.append(checked.stdout + checked.stderr)
            self.healthy = checked.returncode == 0
            if not self.healthy:
                time.sleep(0.5)  # others need the processor, to become healthy
            return self.healthy

        try:
            wait_until(healthy, f"{self.name} is healthy", HEALTHY_SECONDS)
        except TimeoutError as error:
            words = [f"{error}: {said[-1]}", self.log()]
            raise TimeoutError("\n".join(words)) from error

    def await_done(self) -> None:
        """Wait for a one-shot's success."""
        assert self.process is not None
        status = self.process.wait(timeout=DONE_SECONDS)
        assert status == 0, f"{self.name} ended with {status}:\n{self.log()}"

    def stop(self) -> None:
        """Send what the runtime would send."""
        assert self.process is not None
        self.process.send_signal(signal.Signals[self.service.get("stop_signal", "SIGTERM")])

    def await_stopped(self) -> int:
        """Its exit status; what outlives its grace is killed, as a runtime does."""
        assert self.process is not None
        try:
            return self.process.wait(timeout=seconds(self.service["stop_grace_period"]))
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def kill(self) -> None:
        """End it and all that it started, at the end of a test."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@cache
def can_confine() -> bool:
    """Whether this user may make a file system read-only for a process."""
    try:
        done = subprocess.run([*PRIVATELY, READ_ONLY], check=False, capture_output=True, timeout=30)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def seconds(duration: str) -> float:
    """A duration as Compose writes it (`1m30s`), in seconds."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    return sum(float(n) * units[unit] for n, unit in re.findall(r"([\d.]+)([hms])", duration))

"""What stands for the images of the compose file: programs of this machine, in folders of scripts.

A script adds only what the image does by itself, or what a container has to itself and a process
shares with others: data folders, ports.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from cli.service.embedded_redis import find_binary
from tests.deploy import slim
from tests.deploy.compose import ROOT
from tests.deploy.container import Image, Machine
from tests.servers import PostgresServer, free_port

REDIS_CLI = """
import os, sys, redis
host, port = sys.argv[sys.argv.index("-h") + 1], int(os.environ["PORT"])
password = os.environ["REDISCLI_AUTH"]
with redis.Redis(host=host, port=port, password=password, socket_timeout=3) as client:
    print(client.execute_command(sys.argv[-1]))
"""


def script(folder: Path, name: str, *lines: str) -> Path:
    """A shell script of this name; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text("\n".join(["#!/bin/sh", *lines, ""]), encoding="utf-8")
    file.chmod(0o755)
    return folder


def environment_of(target: str) -> dict[str, str]:
    """What the Dockerfile's `ENV` lines give an image, but for PATH and HOME."""
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)
    wanted = [stage for stage in stages if re.match(rf"\S+ AS (runtime|{target})\n", stage)]
    lines = [line for stage in wanted for line in re.findall(r"^ENV (.*)$", stage, re.MULTILINE)]
    pairs = dict(word.split("=", 1) for line in lines for word in line.split())
    return {name: value for name, value in pairs.items() if name not in ("PATH", "HOME")}


def api(machine: Machine) -> Image:
    """The API's: an environment with the group `service` alone, without torch."""
    python = slim.make(machine.folder / "images" / "api")
    script(python.parent, "slimgpt", 'exec python -m cli.main "$@"')
    return Image((python.parent,), environment_of("api"))


def worker(_machine: Machine) -> Image:
    """The worker's: everything that the project requires, as the tests have it."""
    return Image((Path(sys.executable).parent,), environment_of("worker-cpu"))


def redis(machine: Machine) -> Image:
    """A Redis or Valkey server, and the client's `ping`."""
    folder, port = machine.folder / "images" / "redis", machine.ports["redis"][6379]
    script(folder, "redis-server", f'exec {find_binary()} "$@" --port {port} --bind 127.0.0.1')
    (folder / "redis-cli.py").write_text(REDIS_CLI, encoding="utf-8")
    cli = f'exec env PORT={port} {sys.executable} {folder / "redis-cli.py"} "$@"'
    return Image((script(folder, "redis-cli", cli),))


def s3(machine: Machine) -> Image:
    """SeaweedFS; ports that it has to itself in a container are free ones here."""
    inner = ["master", "volume", "filer", "s3"]
    ports = [f"-{part}.port.grpc={free_port()}" for part in inner]
    ports += [f"-{part}.port={free_port()}" for part in inner[:3]]
    binary = Path(sys.executable).with_name("weed")
    return Image((script(machine.folder / "images" / "s3", "weed",
                         f'exec {binary} "$@" {" ".join(ports)}'),), shares_tmp=True)  # fmt: skip


def postgres(machine: Machine, server: PostgresServer, password: str) -> Image:
    """PostgreSQL with the database that the image's entrypoint makes, behind the password."""
    server.start()
    server.execute("CREATE DATABASE slimgpt")
    server.execute(f"ALTER USER slimgpt PASSWORD '{password}'")
    server.stop()
    rule = "host all all 127.0.0.1/32 scram-sha-256\n"
    (server.folder / "data" / "pg_hba.conf").write_text(rule, encoding="utf-8")
    folder = server.folder / "programs"  # its user may not enter the tests' own folders
    port = machine.ports["postgres"][5432]
    alone = f"-D {server.folder / 'data'} -p {port} -c unix_socket_directories="
    script(folder, "postgres", f'exec {server.binaries / "postgres"} "$@" {alone}')
    script(folder, "pg_isready", f'exec {server.binaries / "pg_isready"} "$@" --port={port}')
    return Image((folder,), user=server.user)


def prometheus(machine: Machine) -> Image:
    """Prometheus, where it is installed; names that it asks a DNS server for are told to it."""
    folder = machine.folder / "images" / "prometheus"
    shutil.copytree(ROOT / "deploy" / "prometheus", folder)
    config = yaml.safe_load((folder / "prometheus.yml").read_text(encoding="utf-8"))
    for scrape in config["scrape_configs"]:
        (asked,) = scrape.pop("dns_sd_configs")
        known = [name for name in asked["names"] if name in machine.ports]
        targets = [machine.local(f"{name}:{asked['port']}", name, {}) for name in known]
        scrape["static_configs"] = [{"targets": targets}]
        token = machine.folder / "containers" / "prometheus" / "run/secrets/metrics_token"
        assert scrape["authorization"]["credentials_file"] == "/run/secrets/metrics_token"
        scrape["authorization"] = {"credentials_file": str(token)}
    (alertmanager,) = config["alerting"]["alertmanagers"]
    (asked,) = alertmanager["static_configs"]
    asked["targets"] = [machine.local(one, "prometheus", {}) for one in asked["targets"]]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return Image((Path(shutil.which("prometheus") or "prometheus").parent,))


def alertmanager(machine: Machine) -> Image:
    """Alertmanager, by the name that Debian gives it."""
    program = shutil.which("prometheus-alertmanager") or "prometheus-alertmanager"
    folder = machine.folder / "images" / "alertmanager"
    script(folder, "alertmanager", f'exec {program} "$@"')
    return Image((folder,))


BY_NAME: dict[str, Callable[[Machine], Image]] = {
    "slimgpt-api": api,
    "slimgpt-worker-cpu": worker,
    "redis": redis,
    "chrislusf/seaweedfs": s3,
    "prom/prometheus": prometheus,
    "prom/alertmanager": alertmanager,
}
